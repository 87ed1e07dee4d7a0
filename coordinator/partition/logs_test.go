package partition_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/artifact"
	"github.com/slipway-build/slipway/coordinator/logarchive"
	"github.com/slipway-build/slipway/coordinator/logstore"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/partition/partitiontest"
	"github.com/slipway-build/slipway/coordinator/plan/plantest"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/snapshot/snapshottest"
)

// frames are logs in memory: each says its own key, until it is purged.
type frames struct {
	mu     sync.Mutex
	fail   map[string]error // by the token of a log
	purged map[logstore.Key]bool
	held   chan struct{} // a purge waits until it is closed; nil: it does not
}

func said(k logstore.Key) string {
	return fmt.Sprintf("the log of %s, %d-%d", k.Token, k.Epoch, k.Counter)
}

func (f *frames) Frames(_ context.Context, k logstore.Key, each func(int64, []byte) error) error {
	f.mu.Lock()
	err, gone := f.fail[k.Token], f.purged[k]
	f.mu.Unlock()
	if err != nil || gone {
		return err
	}
	return each(0, []byte(said(k)))
}

func (f *frames) Purge(ctx context.Context, logs ...logstore.Key) error {
	f.mu.Lock()
	held := f.held
	f.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range logs {
		f.purged[k] = true
	}
	return nil
}

func (f *frames) gone() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.purged)
}

// archiver moves them into blobs.
func (f *frames) archiver(blobs *snapshottest.Blobs) *logarchive.Archiver {
	return logarchive.New(logarchive.Config{Blobs: blobs, Frames: f, AtOnce: 1, Log: slog.New(slog.DiscardHandler)})
}

func logged(t *testing.T, u partition.Upkeep) (*farm, *frames) {
	t.Helper()
	logs := &frames{purged: map[logstore.Key]bool{}, fail: map[string]error{}}
	f := open(t)
	u.Blobs, u.Logs, u.LogsAfter = f.blobs, logs.archiver(f.blobs), time.Minute
	f.upkeep = u
	f.again()
	if err := f.tick(2 * ttl); err != nil { // nothing is inherited
		t.Fatal(err)
	}
	return f, logs
}

// wrote is a run with three attempts at its build: one that was lost, so that nobody said how
// long its log is, and two that said so, of which one did not say all.
func (f *farm) wrote() string {
	f.t.Helper()
	id := f.submit(plantest.Shop("shop", 1, 0, nil))
	pass := func(d time.Duration) {
		if err := f.tick(d); err != nil {
			f.t.Fatalf("%v", err)
		}
	}
	f.hold(id, "build/s0")
	pass(2 * ttl)
	pass(time.Minute)
	for _, a := range []run.Attempt{{Outcome: run.OutcomeErrored, LogSize: 7}, {Outcome: run.OutcomeSucceeded, LogSize: 1000}} {
		w := f.hold(id, "build/s0")
		a.LogSize = min(a.LogSize, int64(len(said(logstore.Key{Token: w.Ref.Token, Epoch: w.Ref.Fence.Epoch, Counter: w.Ref.Fence.Counter}))))
		f.must(func(tx *partition.Tx) error { return tx.Complete(w.Ref, run.Report{Attempt: a}) })
		f.eventually("the coordinator's own work is done", f.idle)
		pass(time.Minute)
	}
	return id
}

// holds: the archive has what each attempt of the run wrote.
func (f *farm) holds(blob string, r *run.Run, token func(*run.Task) string) {
	f.t.Helper()
	a, err := logarchive.Open(f.t.Context(), f.blobs, blob)
	if err != nil {
		f.t.Fatalf("%v", err)
	}
	n := 0
	r.Written(func(task *run.Task, at run.Attempt) {
		n++
		want, got := said(logstore.Key{Token: token(task), Epoch: at.Fence.Epoch, Counter: at.Fence.Counter}), ""
		if at.Outcome != run.OutcomeLost {
			want = want[:min(len(want), int(at.LogSize))]
		}
		err := a.Read(f.t.Context(), task.Index, at.Number, 0, 1<<40, func(_ int64, data []byte) error { got += string(data); return nil })
		if err != nil || got != want {
			f.t.Errorf("%s, attempt %d: %q, %v, want %q", task.Spec.ID, at.Number, got, err, want)
		}
	})
	if n == 0 {
		f.t.Errorf("run %s has no attempts", r.ID)
	}
}

func (f *farm) token(id, task string) (token string) {
	f.t.Helper()
	f.must(func(tx *partition.Tx) error {
		r, err := tx.Run(id)
		if err == nil {
			t, _ := r.Find(task)
			token = tx.Token(r, t)
		}
		return err
	})
	return token
}

func TestLogsOfARunThatEndedAreArchivedAndForgotten(t *testing.T) {
	f, logs := logged(t, partition.Upkeep{Keep: project.Retention{Runs: 2 * time.Hour, Archives: 20 * time.Hour, Logs: 10 * time.Hour}})
	id := f.wrote()
	open := f.submit(plantest.Shop("shop", 1, 0, nil))
	f.hold(open, "build/s0")
	f.clock.advance(2 * time.Minute)
	f.eventually("the logs are archived", func() bool { return f.run(id).Logs != "" })
	r := f.run(id)
	f.holds(r.Logs, r, func(task *run.Task) string { return f.token(id, task.Spec.ID) })
	f.eventually("the frames are gone", func() bool { return logs.gone() == 3 })
	if r := f.run(open); r.Logs != "" {
		t.Errorf("the logs of a run that goes on are archived as %s", r.Logs)
	}
	served := f.state()
	f.again()
	if d := partitiontest.Diff(served, f.state()); d != "" {
		t.Errorf("state after a replay (-was +is):\n%s", d)
	}

	f.clock.advance(3 * time.Hour)
	var gone *partition.ArchivedError
	f.eventually("the run is archived", func() bool {
		return errors.As(f.Do(t.Context(), func(tx *partition.Tx) error { _, err := tx.Run(id); return err }), &gone)
	})
	back, err := f.Archived(t.Context(), gone)
	if err != nil || back.Logs != r.Logs || gone.Logs != r.Logs {
		t.Fatalf("the archived run names the logs %q, %q, %v; want %q", gone.Logs, back.Logs, err, r.Logs)
	}
	served = f.state()
	f.again()
	if d := partitiontest.Diff(served, f.state()); d != "" {
		t.Errorf("state after a replay (-was +is):\n%s", d)
	}

	f.clock.advance(10 * time.Hour)
	f.eventually("the archive of the logs is gone", func() bool {
		_, err := f.blobs.Get(t.Context(), r.Logs)
		return errors.Is(err, artifact.ErrNotFound)
	})
	if err := f.Do(t.Context(), func(tx *partition.Tx) error { _, err := tx.Run(id); return err }); !errors.As(err, &gone) || gone.Logs != "" {
		t.Fatalf("the run itself: %v, its logs %q; want it archived without logs", err, gone.Logs)
	}
	if back, err = f.Archived(t.Context(), gone); err != nil || back.Logs != "" || !back.LogsForgotten {
		t.Errorf("the archived run: %v, logs %q, forgotten %t", err, back.Logs, back.LogsForgotten)
	}
}

func TestLogsAreForgottenBeforeTheirRun(t *testing.T) {
	f, _ := logged(t, partition.Upkeep{Keep: project.Retention{Runs: 100 * time.Hour, Archives: 100 * time.Hour, Logs: 2 * time.Hour}})
	id := f.build()
	f.clock.advance(2 * time.Minute)
	f.eventually("the logs are archived", func() bool { return f.run(id).Logs != "" })
	f.clock.advance(3 * time.Hour)
	f.eventually("they are forgotten", func() bool { r := f.run(id); return r.Logs == "" && r.LogsForgotten })
	f.clock.advance(3 * time.Hour)
	if err := f.tick(time.Minute); err != nil {
		t.Fatal(err)
	}
	if r := f.run(id); r.Logs != "" || !r.LogsForgotten {
		t.Errorf("they are archived again: %q", r.Logs)
	}
}

// An owner that dies between what it journalled and the purge, and one that cannot store, leave
// nothing that the next does not make good.
func TestAnOwnerDiesWhileLogsAreArchived(t *testing.T) {
	f, logs := logged(t, partition.Upkeep{})
	id := f.build()
	token := f.token(id, "build/s0")
	logs.mu.Lock()
	logs.fail[token] = errors.New("the disk is full")
	logs.held = make(chan struct{})
	logs.mu.Unlock()
	f.clock.advance(2 * time.Minute)
	other := f.build()
	f.clock.advance(2 * time.Minute)
	f.eventually("the logs of the other run are archived", func() bool { return f.run(other).Logs != "" })
	if r := f.run(id); r.Logs != "" || logs.gone() != 0 {
		t.Errorf("logs that cannot be read are archived as %q; %d are purged", r.Logs, logs.gone())
	}
	f.again()
	logs.mu.Lock()
	clear(logs.fail)
	close(logs.held)
	logs.mu.Unlock()
	f.clock.advance(2 * time.Minute)
	f.eventually("all are archived", func() bool { return f.run(id).Logs != "" })
	f.eventually("and purged, those of the owner before too", func() bool { return logs.gone() == 4 })
}

func TestARunStaysUntilItsLogsAreArchived(t *testing.T) {
	f, logs := logged(t, partition.Upkeep{Keep: project.Retention{Runs: time.Hour}})
	id := f.build()
	logs.mu.Lock()
	logs.fail[f.token(id, "build/s0")] = errors.New("the disk is full")
	logs.mu.Unlock()
	other := f.build()
	f.clock.advance(2 * time.Hour)
	f.eventually("the other is archived", func() bool {
		return !slices.ContainsFunc(f.runs(), func(r *run.Run) bool { return r.ID == other })
	})
	if d := cmp.Diff(f.run(id).Logs, ""); d != "" {
		t.Error(d)
	}
}

// TestRunsThatOweLogsKeepNoOthers in the state, however many there are.
func TestRunsThatOweLogsKeepNoOthers(t *testing.T) {
	f, logs := logged(t, partition.Upkeep{Keep: project.Retention{Runs: time.Hour}})
	for range 64 {
		id := f.build()
		logs.mu.Lock()
		logs.fail[f.token(id, "build/s0")] = errors.New("its frames cannot be read")
		logs.mu.Unlock()
	}
	other := f.build()
	f.clock.advance(2 * time.Hour)
	f.eventually("the run that owes nothing is archived", func() bool {
		return !slices.ContainsFunc(f.runs(), func(r *run.Run) bool { return r.ID == other })
	})
}
