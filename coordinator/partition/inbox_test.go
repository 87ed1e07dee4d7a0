package partition_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/internal/natstest"
)

// TestAFullInbox: who asks is told at once that the partition is busy; who has a worker's
// word waits until there is room, or no longer wants to. Nothing that was taken is lost,
// and after a while the partition answers again.
func TestAFullInbox(t *testing.T) {
	f := newFarm(t, natstest.Start(t).JetStream(t), 0)
	defer f.close()
	f.must(func(*partition.Tx) error { return nil }) // it serves
	release, held := make(chan struct{}), make(chan struct{})
	var answered atomic.Int64
	count := func(error) { answered.Add(1) }
	if err := f.Go(t.Context(), func(*partition.Tx) error { close(held); <-release; return nil }, count); err != nil {
		t.Fatal(err)
	}
	<-held
	const room = 4096
	for range room {
		if err := f.Go(t.Context(), func(*partition.Tx) error { return nil }, count); err != nil {
			t.Fatal(err)
		}
	}
	err := f.Do(t.Context(), func(*partition.Tx) error { return nil })
	if !errors.Is(err, partition.ErrBusy) || !strings.Contains(err.Error(), "4096 requests wait for it already, ask again") {
		t.Errorf("the 4097th request: %v, want ErrBusy", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errGaveUp)
	if err := f.Go(ctx, func(*partition.Tx) error { return nil }, count); !errors.Is(err, errGaveUp) {
		t.Errorf("who does not want to wait any more: %v", err)
	}
	waited := make(chan error, 1)
	go func() { waited <- f.Go(t.Context(), func(*partition.Tx) error { return nil }, count) }() // ends below
	close(release)
	if err := <-waited; err != nil {
		t.Errorf("who waited for room: %v", err)
	}
	f.must(func(*partition.Tx) error { return nil })
	if got := answered.Load(); got != room+2 {
		t.Errorf("%d commands were answered, want %d", got, room+2)
	}
}

var errGaveUp = errors.New("gave up")
