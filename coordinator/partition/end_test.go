package partition_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/coordinator/journal"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan/plantest"
	"github.com/slipway-build/slipway/internal/natstest"
)

func nothing(*partition.Tx) error { return nil }

// refused checks that a partition that has ended says so at once.
func refused(t *testing.T, p *partition.Partition) {
	t.Helper()
	for range 100 { // more than luck
		if err := p.Do(t.Context(), nothing); !errors.Is(err, partition.ErrUnavailable) {
			t.Fatalf("Do on a partition that has ended: %v, want ErrUnavailable", err)
		}
		err := p.Go(t.Context(), nothing, func(error) { t.Error("a command that was not taken is answered") })
		if !errors.Is(err, partition.ErrUnavailable) {
			t.Fatalf("Go on a partition that has ended: %v, want ErrUnavailable", err)
		}
	}
}

func TestAPartitionThatHasEndedAnswers(t *testing.T) {
	f := open(t)
	f.must(nothing)
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	refused(t, f.Partition)
}

func TestEveryCommandIsAnsweredOnceWhileThePartitionEnds(t *testing.T) {
	f := open(t)
	f.must(nothing)
	var sent, answered atomic.Int64
	var callers sync.WaitGroup
	busy := make(chan struct{})
	var once sync.Once
	for range 16 {
		callers.Go(func() {
			for {
				err := f.Go(t.Context(), nothing, func(error) {
					if answered.Add(1) > 200 {
						once.Do(func() { close(busy) })
					}
				})
				if err != nil {
					return
				}
				sent.Add(1)
				if err := f.Do(t.Context(), nothing); err != nil {
					return
				}
			}
		})
	}
	<-busy
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	callers.Wait()
	if s, a := sent.Load(), answered.Load(); s != a {
		t.Errorf("%d commands were taken and %d answered", s, a)
	}
	refused(t, f.Partition)
}

func TestAPartitionThatCannotBeginAnswers(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"journal.>"}}); err != nil {
		t.Fatal(err)
	}
	f := &farm{t: t, js: &wires{JetStream: js}, clock: &clock{}}
	f.owner = f.start()
	answered := make(chan error, 1)
	if err := f.Go(t.Context(), nothing, func(err error) { answered <- err }); err != nil {
		answered <- err
	}
	if err := <-answered; !errors.Is(err, partition.ErrUnavailable) {
		t.Errorf("a command to a partition that cannot begin: %v, want ErrUnavailable", err)
	}
	<-f.done
	if f.err == nil {
		t.Error("the journal cannot be opened, and the partition ends without an error")
	}
	refused(t, f.Partition)
}

func TestAnOwnerThatLostTheJournalAnswers(t *testing.T) {
	f := open(t)
	f.must(nothing) // it has claimed
	s := f.submission(plantest.Shop("shop", 1, 0, nil), "k", "")
	f.js.arm(foreignRecord)
	err := f.Do(t.Context(), func(tx *partition.Tx) error { _, _, err := tx.Accept(s); return err })
	if !errors.Is(err, partition.ErrUnavailable) {
		t.Errorf("a command that cannot be appended: %v, want ErrUnavailable", err)
	}
	<-f.done
	if f.err != nil {
		t.Errorf("the partition is left to another, and ends with %v", f.err)
	}
	refused(t, f.Partition)

	f.owner = f.start() // the foreign record is in the journal for good
	if err := f.Do(t.Context(), nothing); !errors.Is(err, partition.ErrUnavailable) {
		t.Errorf("a partition with a corrupt journal: %v, want ErrUnavailable", err)
	}
	<-f.done
	if !errors.Is(f.err, journal.ErrCorrupt) {
		t.Errorf("the partition ends with %v, want ErrCorrupt", f.err)
	}
	f.owner = &owner{cancel: func() {}, done: f.done}
}

func TestACallerThatIsGoneIsLeftAlone(t *testing.T) {
	f := open(t)
	begun, release := make(chan struct{}), make(chan struct{})
	if err := f.Go(t.Context(), func(*partition.Tx) error { close(begun); <-release; return nil }, func(error) {}); err != nil {
		t.Fatal(err)
	}
	<-begun
	why := errors.New("nobody waits any more")
	ctx, cancel := context.WithCancelCause(t.Context())
	var callers sync.WaitGroup
	answer := "none"
	callers.Go(func() {
		err := f.Do(ctx, func(*partition.Tx) error { answer = "late"; return nil })
		if !errors.Is(err, why) {
			t.Errorf("Do with a context that has ended: %v", err)
		}
		answer += " for the caller" // the caller's again: nobody else writes it
	})
	cancel(why)
	callers.Wait()
	close(release)
	f.must(nothing)
	if answer != "none for the caller" {
		t.Errorf("answer %q: the command ran after Do had returned", answer)
	}
}
