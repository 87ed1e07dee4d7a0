package logstore_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/slipway-build/slipway/coordinator/logstore"
	"github.com/slipway-build/slipway/internal/natstest"
)

func TestBytesAreReadInOrderOnceWhileTheyAreWritten(t *testing.T) {
	s, err := logstore.Open(t.Context(), natstest.Start(t).JetStream(t), 1, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	k := logstore.Key{Token: "0_shop-1_2", Epoch: 1, Counter: 7}
	var want []byte
	for i := range 2000 {
		want = fmt.Appendf(want, "line %d of a build that says a lot, again and again\n", i)
	}
	size := atomic.Int64{}
	size.Store(-1)
	got := make(chan []byte, 1)
	go func() {
		var b []byte
		err := s.Read(t.Context(), k, 10, func() (int64, bool) { n := size.Load(); return n, n >= 0 }, func(off int64, data []byte) error {
			if off != int64(len(b))+10 {
				t.Errorf("offset %d after %d bytes", off, len(b))
			}
			b = append(b, data...)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		got <- b
	}()
	// A writer that resends what was not acknowledged overlaps.
	for off := 0; off < len(want); off += 700 {
		from := max(0, off-300)
		if err := s.Append(k, int64(from), want[from:min(len(want), off+700)], func(int64) {}); err != nil {
			t.Fatal(err)
		}
	}
	flushed := make(chan struct{})
	if !s.Flushed(k, int64(len(want)), func() { close(flushed) }) {
		<-flushed
	}
	size.Store(int64(len(want)))
	if b := <-got; !bytes.Equal(b, want[10:]) {
		t.Errorf("read %d bytes, want %d", len(b), len(want)-10)
	}
}

func TestAGapIsRefused(t *testing.T) {
	s, err := logstore.Open(t.Context(), natstest.Start(t).JetStream(t), 1, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	k := logstore.Key{Token: "a", Epoch: 1, Counter: 1}
	if err := s.Append(k, 0, []byte("abc"), func(int64) {}); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(k, 5, []byte("fgh"), func(int64) {}); err == nil {
		t.Error("a gap was taken")
	}
}
