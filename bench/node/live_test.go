package node

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/bench/graph"
	"github.com/slipway-build/slipway/coordinator/run"
)

// halfway is a run of two tasks, the first of which has succeeded, the second is leased.
func halfway(t *testing.T) *run.Run {
	t.Helper()
	p := graph.Chain("shop", "build", "render", 1)
	at := time.Unix(1000, 0)
	r, err := run.New(run.Accepted{Run: "shop-1", Number: 1, Project: "shop"}, &p, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	apply := func(events ...run.Event) {
		for _, e := range events {
			at = at.Add(time.Second)
			if err := r.Apply(e, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	lease := func(i int) {
		apply(run.AttemptStarted{Run: r.ID, Task: r.Tasks[i].Spec.ID, Attempt: 1, Fence: run.Fence{Epoch: 1, Counter: uint64(i + 1)}, LeasedAt: at})
	}
	lease(0)
	apply(r.Finish(r.Tasks[0], run.Report{Attempt: run.Attempt{Number: 1, Fence: run.Fence{Epoch: 1, Counter: 1}, LeasedAt: at, Outcome: run.OutcomeSucceeded}}, at)...)
	lease(1)
	return r
}

func TestAWrongDispatchIsTold(t *testing.T) {
	r := halfway(t)
	second := r.Tasks[1].Spec.ID
	if said := wrong(r, second); said != "" {
		t.Fatalf("a right one: %s", said)
	}
	if said := wrong(r, "build/other"); !strings.HasPrefix(said, "I1:") {
		t.Errorf("a task that is not there: %q", said)
	}
	for want, spoil := range map[string]func(r *run.Run){
		"I4:":           func(r *run.Run) { r.Tasks[0].State = run.TaskRunning },
		"I5: the fence": func(r *run.Run) { r.Tasks[1].Attempts[0].Fence = r.Tasks[0].Attempts[0].Fence },
		"I5: " + second: func(r *run.Run) { r.Tasks[1].Attempts = nil },
	} {
		r := halfway(t)
		spoil(r)
		if said := wrong(r, second); !strings.HasPrefix(said, want) {
			t.Errorf("want %s…: %q", want, said)
		}
	}
}
