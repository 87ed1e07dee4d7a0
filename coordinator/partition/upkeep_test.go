package partition_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/journal"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/partition/partitiontest"
	"github.com/slipway-build/slipway/coordinator/plan/plantest"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/internal/natstest"
)

// keeping is a farm whose owners keep journal and state small.
func keeping(t *testing.T, u partition.Upkeep) *farm {
	t.Helper()
	f := open(t)
	u.Blobs = f.blobs
	f.upkeep = u
	f.again()
	if err := f.tick(2 * ttl); err != nil { // nothing is inherited
		t.Fatal(err)
	}
	return f
}

func (f *farm) bounds() (first, last uint64) {
	f.t.Helper()
	s, err := journal.OpenStream(f.t.Context(), f.js, f.number, 1)
	if err == nil {
		first, last, err = s.Bounds(f.t.Context())
	}
	if err != nil {
		f.t.Fatalf("%v", err)
	}
	return first, last
}

// purges builds until records were taken away, beyond those that were before, and answers
// the first that is left and how many runs it took.
func (f *farm) purges(beyond uint64) (first uint64, runs int) {
	f.t.Helper()
	f.eventually("records are taken away", func() bool {
		f.build()
		runs++
		first, _ = f.bounds()
		return first > beyond
	})
	return first, runs
}

// build is a run that has ended well.
func (f *farm) build() string {
	f.t.Helper()
	id := f.submit(plantest.Shop("shop", 1, 1, nil))
	f.do(id, "build/s0", "test/s0/0")
	f.eventually("the run ends", func() bool { return f.run(id).State == run.Succeeded })
	return id
}

func TestSnapshotsKeepTheJournalShort(t *testing.T) {
	f := keeping(t, partition.Upkeep{Records: 10})
	first, runs := uint64(1), 2
	rolls := f.built("shop", "a")
	f.hold(rolls, "apply/s0@e0/a")
	waits := f.built("shop", "a")
	for range 3 {
		var more int
		first, more = f.purges(first)
		runs += more
		served := f.state()
		f.again()
		if d := partitiontest.Diff(served, f.state()); d != "" {
			t.Fatalf("state after a snapshot (-was +is):\n%s", d)
		}
		if err := f.tick(2 * ttl); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(f.runs()); n != runs {
		t.Errorf("%d runs are there, want %d", n, runs)
	}
	// What went on goes on: the lease is lost, the lock is held.
	f.want(rolls, "apply/s0@e0/a", run.TaskReady)
	f.want(waits, "rollout/e0", run.TaskReady)
	f.do(rolls, "apply/s0@e0/a")
	f.want(rolls, "verified/e0", run.TaskSucceeded)
	f.want(waits, "rollout/e0", run.TaskSucceeded)
}

func TestASnapshotThatCannotBeStoredHoldsNothingUp(t *testing.T) {
	f := open(t)
	broken := make(chan struct{})
	f.blobs.Wait = func(_ context.Context, call, _ string) error {
		if call == "put" {
			select {
			case <-broken:
			default:
				close(broken)
			}
			return errors.New("the disk is full")
		}
		return nil
	}
	f.upkeep = partition.Upkeep{Records: 5, Blobs: f.blobs}
	f.again()
	if err := f.tick(2 * ttl); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		f.build()
	}
	<-broken
	f.build()
	if first, _ := f.bounds(); first != 1 {
		t.Errorf("the journal begins with record %d, and there is no snapshot", first)
	}
}

// TestAPartitionWithoutItsPastDoesNotBegin: it says so, and serves nothing that never was.
func TestAPartitionWithoutItsPastDoesNotBegin(t *testing.T) {
	f := newFarm(t, natstest.Start(t).JetStream(t), 0)
	f.upkeep = partition.Upkeep{Records: 10, Blobs: f.blobs}
	f.again()
	if err := f.tick(2 * ttl); err != nil {
		t.Fatal(err)
	}
	f.purges(1)
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	for _, d := range f.blobs.Digests() {
		f.blobs.Change(d, func(b []byte) []byte { return b[:len(b)-1] })
	}
	f.owner = f.start()
	<-f.done
	if !errors.Is(f.err, journal.ErrCorrupt) {
		t.Errorf("a partition whose snapshots are cut short ends with %v, want ErrCorrupt", f.err)
	}
}

func TestRunsThatEndedLongAgoAreArchived(t *testing.T) {
	f := keeping(t, partition.Upkeep{Records: 1000, Keep: project.Retention{Runs: time.Hour, PerProject: 5, Archives: 10 * time.Hour, Keys: 5 * time.Hour, Results: 5 * time.Hour}})
	s := f.submission(plantest.Shop("shop", 1, 0, nil), "key", "request")
	accept := func() (id string, replayed bool) {
		f.must(func(tx *partition.Tx) (err error) { id, replayed, err = tx.Accept(s); return err })
		f.eventually("the commit is pinned", f.idle)
		return id, replayed
	}
	old, _ := accept()
	f.do(old, "build/s0")
	f.eventually("the run ends", func() bool { return f.run(old).State == run.Succeeded })
	whole := f.run(old)
	open := f.submit(plantest.Shop("shop", 1, 0, nil))
	gone := func(name string) *partition.ArchivedError {
		var e *partition.ArchivedError
		err := f.Do(t.Context(), func(tx *partition.Tx) error { _, err := tx.Run(name); return err })
		if errors.As(err, &e) {
			return e
		}
		return nil
	}
	f.clock.advance(2 * time.Hour)
	f.eventually("the run is archived", func() bool { return gone(old) != nil })
	if e := gone("shop-1"); e == nil || e.Run != old {
		t.Errorf("it is not found by its number: %v", e)
	}
	f.want(open, "build/s0", run.TaskReady) // however old

	back, err := f.Archived(t.Context(), gone(old))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(bare(whole), bare(back), cmp.AllowUnexported(run.Run{}, run.Task{})); d != "" {
		t.Errorf("the archived run (-was +is):\n%s", d)
	}
	if id, replayed := accept(); id != old || !replayed {
		t.Errorf("the same request begins %s, replayed: %t, want the archived run", id, replayed)
	}
	served := f.state()
	f.again()
	if d := partitiontest.Diff(served, f.state()); d != "" {
		t.Errorf("state after a replay (-was +is):\n%s", d)
	}

	f.clock.advance(4 * time.Hour)
	f.eventually("the key is forgotten", func() bool {
		ok := false
		f.must(func(tx *partition.Tx) error { _, ok = tx.State().Project("shop").Key("key"); return nil })
		return !ok
	})
	known := true
	f.must(func(tx *partition.Tx) error { _, known = tx.Known("shop", "digest of s0"); return nil })
	if known {
		t.Error("an old result is still known")
	}
	f.clock.advance(6 * time.Hour)
	blob := gone(old).Blob
	f.eventually("the archive is forgotten", func() bool {
		err := f.Do(t.Context(), func(tx *partition.Tx) error { _, err := tx.Run(old); return err })
		return errors.Is(err, partition.ErrNotFound)
	})
	f.eventually("its blob is gone", func() bool { _, err := f.blobs.Get(t.Context(), blob); return err != nil })
}

func TestTheNewestRunsOfAProjectStay(t *testing.T) {
	f := keeping(t, partition.Upkeep{Keep: project.Retention{PerProject: 2}})
	for range 5 {
		f.build()
	}
	f.clock.advance(time.Hour)
	f.eventually("the others are archived", func() bool { return len(f.runs()) == 2 })
	if got := fmt.Sprint(f.runs()[0].Number, f.runs()[1].Number); got != "4 5" {
		t.Errorf("runs %s stay, want the newest", got)
	}
}
