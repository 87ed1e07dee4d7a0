package invariant_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/bench/graph"
	"github.com/slipway-build/slipway/bench/invariant"
	"github.com/slipway-build/slipway/coordinator/run"
)

// ended is a run of two tasks, one after the other, that succeeded.
func ended(t *testing.T) *run.Run {
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
	for i, task := range r.Tasks {
		f := run.Fence{Epoch: 1, Counter: uint64(i + 1)}
		apply(run.AttemptStarted{Run: r.ID, Task: task.Spec.ID, Attempt: 1, Fence: f, LeasedAt: at})
		apply(r.Finish(task, run.Report{Attempt: run.Attempt{Number: 1, Fence: f, LeasedAt: at, Outcome: run.OutcomeSucceeded}}, at)...)
	}
	apply(r.Next()...)
	return r
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	if broken := invariant.Check([]*run.Run{ended(t)}); len(broken) != 0 {
		t.Fatalf("a good run: %v", broken)
	}
	for want, spoil := range map[string]func(r *run.Run){
		"I2: run":  func(r *run.Run) { r.State = run.Running },
		"I2: task": func(r *run.Run) { r.Tasks[1].State = run.TaskReady },
		"I3:": func(r *run.Run) {
			r.Tasks[1].Attempts = append(r.Tasks[1].Attempts, run.Attempt{Number: 2, Fence: run.Fence{Epoch: 2}, Outcome: run.OutcomeSucceeded})
		},
		"I4:":     func(r *run.Run) { r.Tasks[1].Attempts[0].LeasedAt = r.Tasks[0].FinishedAt.Add(-1) },
		"I5: the": func(r *run.Run) { r.Tasks[1].Attempts[0].Fence = r.Tasks[0].Attempts[0].Fence },
	} {
		r := ended(t)
		spoil(r)
		if got := invariant.Check([]*run.Run{r}); len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("want %s…: %v", want, got)
		}
	}
}
