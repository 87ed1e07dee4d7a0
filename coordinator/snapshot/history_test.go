package snapshot_test

import (
	"fmt"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/plan/plantest"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
)

// happened is an event at its time.
type happened struct {
	event run.Event
	at    time.Time
}

// world lets things happen to a state at random, as a partition would, and keeps them.
type world struct {
	t     *rapid.T
	st    *project.State
	plans map[string]*plan.Plan
	past  []happened
	at    time.Time
	fence uint64
}

func newWorld(t *rapid.T) *world {
	w := &world{t: t, plans: map[string]*plan.Plan{}, at: time.Unix(1_000_000, 0).UTC()}
	w.st = project.New(w.plan)
	return w
}

func (w *world) plan(hash string) (*plan.Plan, error) {
	p, ok := w.plans[hash]
	if !ok {
		return nil, fmt.Errorf("no plan %s", hash)
	}
	return p, nil
}

func (w *world) emit(events ...run.Event) {
	for _, e := range events {
		w.at = w.at.Add(1234567 * time.Microsecond)
		if err := w.st.Apply(e, w.at); err != nil {
			w.t.Fatalf("%T: %v", e, err)
		}
		w.past = append(w.past, happened{e, w.at})
	}
}

func (w *world) settle() {
	for _, r := range w.st.Runs("", 1<<20) {
		for events := r.Next(); len(events) > 0; events = r.Next() {
			w.emit(events...)
		}
	}
}

func (w *world) act() {
	defer w.settle()
	runs := w.st.Runs("", 1<<20)
	n := rapid.IntRange(0, 99).Draw(w.t, "act")
	switch {
	case len(runs) == 0 || n < 8:
		w.accept()
		return
	case n < 10:
		w.emit(run.Forgotten{Keys: w.at.Add(-time.Minute), Results: w.at.Add(-2 * time.Minute), Archives: w.at.Add(-3 * time.Minute), Logs: w.at.Add(-2 * time.Minute)})
		return
	}
	r := rapid.SampledFrom(runs).Draw(w.t, "run")
	switch {
	case r.State.Ended():
		switch {
		case n < 30 && r.OwesLogs():
			w.emit(run.LogsArchived{Run: r.ID, Blob: "blob of the logs of " + r.ID})
		case n < 50:
			w.emit(run.Archived{Run: r.ID, Blob: "blob of " + r.ID})
		}
	case n < 12:
		w.emit(r.Cancel("not wanted")...)
	default:
		w.step(r)
	}
}

func (w *world) accept() {
	name := rapid.SampledFrom([]string{"shop", "bank"}).Draw(w.t, "project")
	envs := [][]string{{"a"}, {"b", "c"}}[:rapid.IntRange(0, 2).Draw(w.t, "environments")]
	p := plantest.Shop(name, rapid.IntRange(1, 2).Draw(w.t, "services"), rapid.IntRange(0, 2).Draw(w.t, "tests"), envs)
	if rapid.Bool().Draw(w.t, "in waves") {
		p = plantest.OneByOne(p)
	} else if rapid.Bool().Draw(w.t, "canary") {
		p = plantest.Canary(p, 50)
	}
	if rapid.Bool().Draw(w.t, "gathered") {
		p = plantest.Gathered(p)
	}
	p.Line = rapid.SampledFrom([]string{"", "main", "pr 7"}).Draw(w.t, "line")
	hash, err := plan.Hash(*p)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	w.plans[hash] = p
	number := w.st.Project(name).Next()
	w.emit(run.Accepted{
		Run: fmt.Sprintf("%s-%d-x", name, number), Number: number, Project: name, Repository: "file:///repo", Ref: rapid.SampledFrom([]string{"main", "next"}).Draw(w.t, "ref"),
		Commit: fmt.Sprint("c", number), PlanHash: hash, SubmittedBy: "anna", TraceID: "t", IdempotencyKey: fmt.Sprint("k", number), RequestHash: "h",
		Origin: run.Origin{Webhook: "hub", Repository: "org/" + name, Branch: "main"},
	})
}

// step goes on with one task of a run.
func (w *world) step(r *run.Run) {
	var can []*run.Task
	for _, t := range r.Tasks {
		if t.State == run.TaskReady || t.Current() != nil {
			can = append(can, t)
		}
	}
	if len(can) == 0 {
		return
	}
	t := rapid.SampledFrom(can).Draw(w.t, "task")
	switch {
	case t.Current() != nil:
		w.finish(r, t)
	case t.Spec.Can == plan.CapabilityCoordinator:
		w.coordinate(r, t)
	default:
		w.fence++
		w.emit(run.AttemptStarted{Run: r.ID, Task: t.Spec.ID, Attempt: len(t.Attempts) + 1, Worker: "w", Fence: run.Fence{Epoch: 1, Counter: w.fence}, LeasedAt: w.at})
	}
}

func (w *world) coordinate(r *run.Run, t *run.Task) {
	done := func(s run.TaskState, res plan.Result) { w.emit(r.Complete(t, s, "", run.ClassNone, res)...) }
	switch t.Spec.Kind {
	case plan.KindRollout:
		switch e, _ := w.st.Project(r.Project).MayEnter(r, t.Spec.Target.Environment); e {
		case project.EnterNow:
			w.emit(run.RolloutEntered{Run: r.ID, Environment: t.Spec.Target.Environment})
			done(run.TaskSucceeded, plan.Result{})
		case project.EnterSuperseded:
			done(run.TaskCanceled, plan.Result{})
		case project.EnterWait, project.EnterHeld:
		}
	case plan.KindGather:
		w.emit(r.Gather(t)...)
	case plan.KindRelease:
		done(run.TaskSucceeded, plan.Result{Release: "release of " + r.ID})
	case plan.KindPromote:
		for _, need := range t.Spec.Needs {
			a, _ := r.Find(need)
			w.emit(run.Promoted{Run: r.ID, Environment: a.Spec.Target.Environment, Cluster: a.Spec.Target.Cluster, Service: a.Spec.Service, Manifests: "m", Release: r.Release})
		}
		done(run.TaskSucceeded, plan.Result{})
	default:
		done(run.TaskSucceeded, plan.Result{})
	}
}

func (w *world) finish(r *run.Run, t *run.Task) {
	a := *t.Current()
	a.Outcome = rapid.SampledFrom([]run.Outcome{
		run.OutcomeSucceeded, run.OutcomeSucceeded, run.OutcomeSucceeded, run.OutcomeSucceeded, run.OutcomeFailed, run.OutcomeErrored, run.OutcomeLost, run.OutcomeCanceled,
	}).Draw(w.t, "outcome")
	a.Message, a.StartedAt, a.FinishedAt, a.LogSize = "so it ended", a.LeasedAt.Add(time.Second), w.at, 4711
	a.Steps = []run.Step{{Name: "one", Kind: "vertex", StartedAt: w.at, FinishedAt: w.at, Cached: true, Attributes: map[string]string{"a": "1", "b": "2", "c": "3"}}}
	a.Untouched = a.Outcome == run.OutcomeErrored && rapid.Bool().Draw(w.t, "untouched")
	rep := run.Report{Attempt: a}
	if a.Outcome == run.OutcomeSucceeded {
		rep.Result = plan.Result{Image: "image", Manifests: "manifests", Tests: &plan.TestSummary{Total: 2, Passed: 1, Failed: 1, Failures: []plan.TestCase{{Suite: "s", Name: "n", Output: "o"}}}}
		if t.Spec.Test != nil && t.Spec.Test.Shard != nil {
			rep.Result.Tests.Items = []plan.Item{{Name: "item of " + t.Spec.ID, Millis: rapid.Int64Range(0, 1000).Draw(w.t, "took")}}
		}
		if t.Spec.Kind == plan.KindApply {
			rep.Result = plan.Result{Deploy: &plan.Deployed{State: "healthy", Written: 3, Pruned: []string{"a", "b"}}}
		}
	}
	w.emit(r.Finish(t, rep, w.at)...)
}
