package run_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/plan/plantest"
	"github.com/slipway-build/slipway/coordinator/run"
)

// world carries a run out, one event after the other, and keeps them.
type world struct {
	r      *run.Run
	first  run.Accepted
	events []run.Event
	at     time.Time
	fence  uint64
}

func begin(p *plan.Plan) (*world, error) {
	w := &world{at: time.Unix(1_000_000, 0).UTC(), first: run.Accepted{Run: "shop-1", Number: 1, Project: "shop"}}
	r, err := run.New(w.first, p, w.at, nil)
	w.r = r
	return w, err
}

func (w *world) emit(events ...run.Event) error {
	w.at = w.at.Add(time.Second)
	for _, e := range events {
		if err := w.r.Apply(e, w.at); err != nil {
			return err
		}
		w.events = append(w.events, e)
	}
	return nil
}

func (w *world) settle() error {
	for events := w.r.Next(); len(events) > 0; events = w.r.Next() {
		if err := w.emit(events...); err != nil {
			return err
		}
	}
	return nil
}

// open are tasks somebody could do something about.
func (w *world) open() (ready, leased []*run.Task) {
	for _, t := range w.r.Tasks {
		switch {
		case t.State == run.TaskReady:
			ready = append(ready, t)
		case t.Current() != nil:
			leased = append(leased, t)
		}
	}
	return ready, leased
}

func (w *world) start(t *run.Task) error {
	for _, need := range t.Spec.Needs {
		n, _ := w.r.Find(need)
		undoes := t.Spec.Kind == plan.KindRollback || t.Spec.Kind == plan.KindCatchUp // it waits for the end of its apply, whichever that is
		if !n.State.Good() && (!undoes || !n.State.Ended()) {
			return fmt.Errorf("%s starts before %s, which is %s", t.Spec.ID, need, n.State)
		}
	}
	if t.Spec.Can == plan.CapabilityCoordinator {
		events := w.r.Complete(t, run.TaskSucceeded, "", "", plan.Result{})
		if t.Spec.Kind == plan.KindRollout {
			events = append([]run.Event{run.RolloutEntered{Run: w.r.ID, Environment: t.Spec.Target.Environment}}, events...)
		}
		return w.emit(events...)
	}
	w.fence++
	return w.emit(run.AttemptStarted{Run: w.r.ID, Task: t.Spec.ID, Attempt: len(t.Attempts) + 1, Worker: "w", Fence: run.Fence{Epoch: 1, Counter: w.fence}, LeasedAt: w.at})
}

func (w *world) finish(t *run.Task, o run.Outcome, untouched, unreachable bool) error {
	a := *t.Current()
	a.Outcome, a.FinishedAt, a.Message, a.Untouched, a.Unreachable = o, w.at, string(o), untouched, unreachable
	return w.emit(w.r.Finish(t, run.Report{Attempt: a}, w.at)...)
}

func TestEveryRunEndsAndUndoesWhatItBegan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		envs := [][]string{{"a"}, {"b", "c"}}[:rapid.IntRange(0, 2).Draw(t, "environments")]
		p := plantest.Shop("shop", rapid.IntRange(1, 3).Draw(t, "services"), rapid.IntRange(0, 2).Draw(t, "tests"), envs)
		switch rapid.IntRange(0, 2).Draw(t, "how") {
		case 1:
			p = plantest.OneByOne(p)
		case 2:
			p = plantest.Canary(p, []int{10, 50}[:rapid.IntRange(1, 2).Draw(t, "steps")]...)
		}
		tolerated := rapid.IntRange(0, 2).Draw(t, "tolerated")
		if tolerated > 0 {
			p = plantest.Tolerate(p, tolerated)
		}
		away := rapid.SampledFrom([]string{"", "b", "c"}).Draw(t, "away")
		for i := range p.Tasks {
			if p.Tasks[i].Kind == plan.KindTest {
				p.Tasks[i].Flaky = rapid.IntRange(0, 2).Draw(t, "flaky")
			}
		}
		w, err := begin(p)
		if err != nil {
			t.Fatal(err)
		}
		must := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		must(w.settle())
		outcomes := []run.Outcome{run.OutcomeSucceeded, run.OutcomeSucceeded, run.OutcomeSucceeded, run.OutcomeFailed, run.OutcomeErrored, run.OutcomeLost}
		if rapid.Bool().Draw(t, "all is well but for who is away") {
			outcomes = outcomes[:1]
		}
		cancelAt := rapid.IntRange(-40, 40).Draw(t, "cancel at")
		for step := 0; !w.r.State.Ended(); step++ {
			if step > 5000 {
				t.Fatal("the run does not end")
			}
			if step == cancelAt {
				must(w.emit(w.r.Cancel("canceled")...))
				must(w.settle())
				continue
			}
			ready, leased := w.open()
			if len(ready)+len(leased) == 0 {
				t.Fatalf("nothing can go on and the run is %s", w.r.State)
			}
			n := rapid.IntRange(0, len(ready)+len(leased)-1).Draw(t, "next")
			if n < len(ready) {
				must(w.start(ready[n]))
			} else {
				task := leased[n-len(ready)]
				o := rapid.SampledFrom(outcomes).Draw(t, "outcome")
				switch {
				case task.Revoked && task.Spec.Kind != plan.KindRollback:
					o = run.OutcomeCanceled
				case task.Spec.Kind == plan.KindRollback && o == run.OutcomeFailed:
					o = run.OutcomeSucceeded
				}
				if gone := away != "" && task.Spec.Can == plan.CapabilityDeployPrefix+away && !task.Revoked; gone {
					must(w.finish(task, run.OutcomeErrored, rapid.Bool().Draw(t, "untouched"), true))
					must(w.settle())
					continue
				}
				unsure := o == run.OutcomeSucceeded || o == run.OutcomeLost
				must(w.finish(task, o, !unsure && rapid.Bool().Draw(t, "untouched"), false))
			}
			if away != "" && rapid.IntRange(0, 30).Draw(t, "comes back") == 0 {
				away = ""
			}
			if rapid.IntRange(0, 15).Draw(t, "overtaken") == 0 {
				events, _ := w.r.Overtake("e1", "shop-2")
				must(w.emit(events...))
			}
			must(w.settle())
		}
		check(t, w)
		leftOut(t, w, tolerated)
	})
}

// leftOut: no more clusters are left out than is tolerated, never all, and what was promoted without them is caught up, or nobody can tell.
func leftOut(t *rapid.T, w *world, tolerated int) {
	out, all := map[string]bool{}, map[string]bool{}
	for _, task := range w.r.Tasks {
		if task.Spec.Kind != plan.KindApply {
			continue
		}
		where := task.Spec.Target.Environment + "/" + task.Spec.Target.Cluster
		all[where] = true
		if task.State != run.TaskUnreachable {
			continue
		}
		out[where] = true
		promote, _ := w.r.Find(plan.PromoteID(task.Spec.Service, task.Spec.Target.Environment))
		if _, later := w.r.Find(plan.CatchUpID(task.Spec.Service, *task.Spec.Target)); later != promote.State.Good() && w.r.State != run.Canceled {
			t.Errorf("%s is %s, its promotion is %s, and it is caught up: %t", task.Spec.ID, task.State, promote.State, later)
		}
	}
	if len(out) > tolerated || len(out) > 0 && len(out) >= len(all)-1 { // e0 has one cluster, which is never left out
		t.Errorf("%d clusters of %d are left out, and %d are tolerated", len(out), len(all), tolerated)
	}
}

func check(t *rapid.T, w *world) {
	for _, task := range w.r.Tasks {
		if !task.State.Ended() {
			t.Errorf("the run has ended and %s is %s", task.Spec.ID, task.State)
		}
		if err := w.r.Apply(run.TaskFinished{Run: w.r.ID, Task: task.Spec.ID, State: run.TaskSucceeded}, w.at); err == nil {
			t.Errorf("%s has ended and changed again", task.Spec.ID)
		}
		if task.Spec.Kind != plan.KindApply {
			continue
		}
		promote, _ := w.r.Find(plan.PromoteID(task.Spec.Service, task.Spec.Target.Environment))
		_, undone := w.r.Find(plan.RollbackID(task.Spec.Service, *task.Spec.Target))
		touched := slices.ContainsFunc(w.r.Tasks, func(other *run.Task) bool {
			changes := other.Spec.Kind == plan.KindShift || other.Spec.Kind == plan.KindApply
			return changes && other.Spec.Service == task.Spec.Service && *other.Spec.Target == *task.Spec.Target &&
				slices.ContainsFunc(other.Attempts, func(a run.Attempt) bool { return !a.Untouched })
		})
		if undone != (touched && !promote.State.Good()) {
			t.Errorf("%s is %s after the attempts %+v, its promotion %s, and rolled back: %t", task.Spec.ID, task.State, task.Attempts, promote.State, undone)
		}
	}
	if w.r.State == run.Succeeded {
		for _, task := range w.r.Tasks {
			if !task.State.Good() {
				t.Errorf("the run succeeded and %s is %s", task.Spec.ID, task.State)
			}
		}
	}
	again, err := run.New(w.first, w.r.Plan, time.Unix(1_000_000, 0).UTC(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range w.events {
		if err := again.Apply(e, w.at); err != nil {
			t.Fatalf("replay: %v", err)
		}
	}
	if events := again.Next(); len(events) > 0 {
		t.Errorf("after the replay of an ended run something follows: %v", events)
	}
	states := func(r *run.Run) (out []string) {
		for _, task := range r.Tasks {
			out = append(out, task.Spec.ID+" "+string(task.State))
		}
		return append(out, string(r.State))
	}
	if d := cmp.Diff(states(w.r), states(again), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("replayed state (-was +is):\n%s", d)
	}
}
