package partition_test

import (
	"sync/atomic"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/partition/partitiontest"
	"github.com/slipway-build/slipway/coordinator/run"
)

// grip is a lease as its worker sees it.
type grip struct {
	ref    partition.Ref
	worker partition.Worker
	run    string
	task   string
	until  time.Time   // the worker believes in it
	told   atomic.Bool // that it must stop
	said   *run.Report
}

// Revoke implements partition.Sink.
func (g *grip) Revoke(partition.Ref, string) { g.told.Store(true) }

// began is what was answered about an idempotency key.
type began struct{ request, run string }

// world is a farm with random users and workers, and what they were promised.
type world struct {
	*farm
	t        *rapid.T
	rivals   []*owner             // that lost the journal
	keys     map[string]began     // by "project key"
	doubt    map[string]bool      // keys whose submission was answered with ErrUnavailable
	accepted map[string]bool      // runs
	unsent   map[string]bool      // keys of submissions to an owner that was replaced
	canceled map[string]run.State // run → its state in the answer
	grips    []*grip
	old      []*grip // given up, taken away or completed
	done     map[run.Fence]run.Outcome
	refused  map[run.Fence]bool
}

// check compares the journal with what was served and with what was promised.
func (w *world) check() {
	w.t.Helper()
	served := w.state()
	if err := w.stop(); err != nil {
		w.t.Fatalf("partition: %v", err)
	}
	replayed, records := w.read()
	if d := partitiontest.Diff(served, replayed); d != "" {
		w.t.Errorf("the journal says something else than was served (-served +journal):\n%s", d)
	}
	h := partitiontest.ReadHistory(records, w.plans)
	for _, wrong := range append(h.Wrong, w.shown.wrong...) {
		w.t.Errorf("%s", wrong)
	}
	for id := range w.accepted {
		if _, ok := h.Runs[id]; !ok {
			w.t.Errorf("run %s was accepted and is lost", id)
		}
	}
	for key, b := range w.keys {
		if h.Keys[key] != b.run {
			w.t.Errorf("key %s began %s, and in the journal %q", key, b.run, h.Keys[key])
		}
	}
	for key := range w.unsent {
		if id, ok := h.Keys[key]; ok {
			w.t.Errorf("an owner that was replaced accepted %s", id)
		}
	}
	for id, was := range w.canceled {
		if got := h.Ended[id]; was.Ended() && got != was || !was.Ended() && got != run.Canceled {
			w.t.Errorf("run %s was canceled when it was %s, and is %q", id, was, got)
		}
	}
	outcomes := map[run.Fence]run.Outcome{}
	for _, id := range h.Order {
		if _, ok := h.Ended[id]; !ok {
			w.t.Errorf("run %s did not end", id)
		}
		for task, attempts := range h.Runs[id].Attempts {
			for _, a := range attempts {
				if _, ok := outcomes[a.Fence]; ok {
					w.t.Errorf("%s %s: fence %v was given before", id, task, a.Fence)
				}
				outcomes[a.Fence] = a.Outcome
			}
		}
	}
	for f, o := range w.done {
		if outcomes[f] != o {
			w.t.Errorf("the end of fence %v was taken as %s, and is %q", f, o, outcomes[f])
		}
	}
	for f := range w.refused {
		if o := outcomes[f]; o != "" && o != run.OutcomeLost {
			w.t.Errorf("the end of fence %v was refused, and is %s", f, o)
		}
	}
}
