package project_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
)

// drifting is a project whose environment prod serves, with time in the test's hand.
type drifting struct {
	*project.State
	tb    tb
	at    time.Time
	plans map[string]*plan.Plan
}

type tb interface {
	Helper()
	Fatalf(format string, args ...any)
}

const (
	diffOne = "diff/api@prod/one"
	diffTwo = "diff/api@prod/two"
)

func drifts(t tb) *drifting {
	d := &drifting{tb: t, at: time.Unix(1_000_000, 0).UTC(), plans: map[string]*plan.Plan{}}
	target := func(c string) *plan.Target { return &plan.Target{Environment: "prod", Cluster: c} }
	d.plans["deploys"] = &plan.Plan{Tasks: []plan.Task{{ID: plan.RolloutID("prod"), Kind: plan.KindRollout, Target: &plan.Target{Environment: "prod"}}}}
	d.plans["compares"] = &plan.Plan{Drift: &plan.Drift{Environment: "prod"}, Tasks: []plan.Task{
		{ID: diffOne, Kind: plan.KindDiff, Service: "api", Target: target("one")}, {ID: diffTwo, Kind: plan.KindDiff, Service: "api", Target: target("two")},
	}}
	d.State = project.New(func(hash string) (*plan.Plan, error) {
		if p, ok := d.plans[hash]; ok {
			return p, nil
		}
		return nil, errNoPlan
	})
	d.rollout()
	d.pass(time.Second)
	return d
}

func (d *drifting) apply(e run.Event) {
	d.tb.Helper()
	if err := d.Apply(e, d.at); err != nil {
		d.tb.Fatalf("%T: %v", e, err)
	}
}

func (d *drifting) pass(t time.Duration) { d.at = d.at.Add(t) }

func (d *drifting) accept(hash string) string {
	d.tb.Helper()
	n := d.Project("shop").Next()
	id := fmt.Sprintf("shop-%d", n)
	d.apply(run.Accepted{Run: id, Number: n, Project: "shop", PlanHash: hash})
	return id
}

func (d *drifting) rollout() string {
	d.tb.Helper()
	id := d.accept("deploys")
	d.apply(run.RolloutEntered{Run: id, Environment: "prod"})
	d.apply(run.Promoted{Run: id, Environment: "prod", Cluster: "one", Service: "api", Manifests: "m"})
	d.apply(run.RolloutLeft{Run: id, Environment: "prod"})
	return id
}

// compare is a whole comparison, which finds such objects in cluster one; nil: that does not answer.
func (d *drifting) compare(took time.Duration, found []plan.ObjectChange) string {
	d.tb.Helper()
	id := d.accept("compares")
	d.pass(took)
	d.ends(id, found)
	return id
}

func (d *drifting) ends(id string, found []plan.ObjectChange) {
	d.tb.Helper()
	one := run.TaskFinished{Run: id, Task: diffOne, State: run.TaskSucceeded, Result: plan.Result{Diff: &plan.Diff{Objects: found}}}
	if found == nil {
		one = run.TaskFinished{Run: id, Task: diffOne, State: run.TaskErrored, Message: "cluster one does not answer\nat all"}
	}
	d.apply(one)
	d.apply(run.TaskFinished{Run: id, Task: diffTwo, State: run.TaskSucceeded, Result: plan.Result{Diff: &plan.Diff{}}})
	d.apply(run.Finished{Run: id, State: run.Succeeded})
}

// restore is a whole run of the farm that brings objects back.
func (d *drifting) restore(objects []project.Drifted) {
	d.tb.Helper()
	var ids []string
	for _, o := range objects {
		ids = append(ids, o.ID())
	}
	hash := fmt.Sprint("restores ", len(d.plans))
	p := *d.plans["deploys"]
	p.Back, p.Drift = "shop-1", &plan.Drift{Environment: "prod", Restores: ids}
	d.plans[hash] = &p
	id := d.accept(hash)
	d.apply(run.RolloutEntered{Run: id, Environment: "prod"})
	d.pass(3 * time.Second)
	d.apply(run.RolloutLeft{Run: id, Environment: "prod"})
	d.apply(run.Finished{Run: id, State: run.Succeeded})
}

func (d *drifting) prod() project.Environment {
	d.tb.Helper()
	for _, e := range d.Project("shop").Environments() {
		if e.Name == "prod" {
			return e
		}
	}
	d.tb.Fatalf("there is no prod")
	return project.Environment{}
}

func changed(name, by string, at time.Time) plan.ObjectChange {
	return plan.ObjectChange{Object: "ConfigMap/" + name, Action: "taken over", By: by, At: at, Fields: []plan.FieldChange{{Path: "data.greeting", From: `"x"`, To: `"y"`}}}
}

var (
	report  = project.DriftPolicy{Every: 6 * time.Hour}
	restore = project.DriftPolicy{Restore: true, Every: 6 * time.Hour}
	none    = time.Time{}
)

func (d *drifting) want(why string, p project.DriftPolicy, noticed time.Time, want project.DriftStep) {
	d.tb.Helper()
	if got, objects := d.prod().Next(p, noticed, d.at); got != want {
		d.tb.Fatalf("%s: step %d %v, want %d", why, got, objects, want)
	}
}

func TestWhenClustersAreCompared(t *testing.T) {
	d := drifts(t)
	d.want("nobody has looked yet", report, none, project.DriftCompare)
	id := d.accept("compares")
	d.want("a run compares", report, d.at, project.DriftWait)
	d.pass(time.Second)
	d.ends(id, []plan.ObjectChange{})
	d.want("nothing is new", report, none, project.DriftWait)
	d.pass(20 * time.Second)
	d.want("somebody changed something just now: more may follow", report, d.at.Add(-time.Second), project.DriftWait)
	d.want("somebody changed something", report, d.at.Add(-3*time.Second), project.DriftCompare)
	d.compare(time.Second, []plan.ObjectChange{changed("x", "ann", d.at)})
	d.pass(time.Hour)
	d.compare(time.Second, []plan.ObjectChange{changed("x", "ann", d.at)})
	d.pass(time.Minute)
	d.want("something differs for an hour: changes can wait", report, d.at.Add(-30*time.Second), project.DriftWait)
	d.pass(10 * time.Minute)
	d.want("but not longer", report, d.at.Add(-30*time.Second), project.DriftCompare)
	d.compare(time.Second, []plan.ObjectChange{})
	d.want("that was before the comparison", report, d.at.Add(-30*time.Second), project.DriftWait)
	d.pass(6 * time.Hour)
	d.want("it is long ago", report, none, project.DriftCompare)
	next := d.accept("deploys")
	d.apply(run.RolloutEntered{Run: next, Environment: "prod"})
	d.want("a rollout goes on", report, d.at.Add(-time.Minute), project.DriftWait)
	d.apply(run.RolloutLeft{Run: next, Environment: "prod"})
	d.apply(run.EnvironmentHeld{Project: "shop", Environment: "prod", Run: next, Reason: "it failed"})
	d.want("a rollout that failed holds it", report, none, project.DriftWait)
	d.apply(run.EnvironmentHeld{Project: "shop", Environment: "prod", By: "ann"})
	d.want("somebody holds it", report, none, project.DriftCompare)
	d.pass(time.Second)
	d.compare(time.Second, []plan.ObjectChange{changed("a", "kubectl-edit", d.at)})
	d.want("and is not disturbed", restore, none, project.DriftWait)
	d.apply(run.EnvironmentFreed{Project: "shop", Environment: "prod"})
	d.want("nobody does", restore, none, project.DriftRestore)
	d.want("it is only told", report, none, project.DriftWait)
}

func TestWhatIsKnownOfDrift(t *testing.T) {
	d := drifts(t)
	edited := d.at.Add(-time.Minute)
	d.pass(time.Minute)
	id := d.compare(5*time.Second, []plan.ObjectChange{
		changed("b", "kubectl-edit (Update)", edited), {Object: "Job/hook", Action: "carried out"}, {Object: "PersistentVolumeClaim/data", Action: "kept"},
	})
	first := d.at
	b := project.Drifted{Cluster: "one", Service: "api", Object: "ConfigMap/b", Action: "taken over", Fields: []string{"data.greeting"}, By: "kubectl-edit (Update)", Changed: edited, Since: first}
	look := func(why, run, problem string, want ...project.Drifted) {
		t.Helper()
		got := d.prod().Drift
		if diff := cmp.Diff(want, got.Objects); diff != "" || got.Run != run || got.Problem != problem {
			t.Errorf("%s: run %s, problem %q:\n%s", why, got.Run, got.Problem, diff)
		}
	}
	look("what differs", id, "", b)
	d.pass(time.Minute)
	id = d.compare(time.Second, []plan.ObjectChange{changed("b", "kubectl-edit (Update)", edited), changed("a", "portal (Apply)", d.at)})
	a := project.Drifted{Cluster: "one", Service: "api", Object: "ConfigMap/a", Action: "taken over", Fields: []string{"data.greeting"}, By: "portal (Apply)", Changed: d.at.Add(-time.Second), Since: d.at}
	look("more differs", id, "", a, b)
	d.pass(time.Minute)
	id = d.compare(time.Second, nil)
	look("a cluster that does not answer is as it was known", id, "diff/api@prod/one: cluster one does not answer", a, b)

	stale := d.accept("compares")
	d.pass(time.Second)
	d.rollout()
	d.pass(time.Second)
	d.ends(stale, []plan.ObjectChange{})
	look("what a rollout disturbed says nothing", id, "diff/api@prod/one: cluster one does not answer", a, b)
	d.pass(20 * time.Second)
	d.want("but what was known may be over", report, none, project.DriftCompare)

	saved := d.Save()
	restored, err := project.Restore(saved, func(hash string) (*plan.Plan, error) { return d.plans[hash], nil })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(saved, restored.Save()); diff != "" {
		t.Errorf("after a snapshot:\n%s", diff)
	}
	id = d.compare(time.Second, []plan.ObjectChange{})
	look("nothing differs any more", id, "")
}

func TestWhoUndoesIsNotFought(t *testing.T) {
	d := drifts(t)
	again := []plan.ObjectChange{changed("a", "operator (Update)", d.at)}
	for i := range project.MaxRestores {
		d.pass(time.Minute)
		d.compare(time.Second, again)
		step, objects := d.prod().Next(restore, none, d.at)
		if step != project.DriftRestore || len(objects) != 1 {
			t.Fatalf("restore %d: step %d, %v", i+1, step, objects)
		}
		d.restore(objects)
		d.pass(20 * time.Second)
		d.want("what was restored is looked at", restore, none, project.DriftCompare)
	}
	d.pass(time.Minute)
	d.compare(time.Second, again)
	if step, objects := d.prod().Next(restore, none, d.at); step != project.DriftSpent || len(objects) != 1 || objects[0].By != "operator (Update)" {
		t.Errorf("the sixth time within an hour: step %d, %v", step, objects)
	}
	d.pass(time.Hour)
	d.want("an hour later", restore, none, project.DriftRestore)
}

// TestNoObjectIsRestoredTooOften: whatever changes, and when: within any hour at most five times.
func TestNoObjectIsRestoredTooOften(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drifts(t)
		times := map[string][]time.Time{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			d.pass(time.Duration(rapid.IntRange(1, 1200).Draw(t, "seconds")) * time.Second)
			var found []plan.ObjectChange
			for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3, rapid.ID).Draw(t, "changed") {
				found = append(found, changed(name, "somebody", d.at))
			}
			step, objects := d.prod().Next(restore, d.at.Add(-5*time.Second), d.at)
			switch step {
			case project.DriftCompare:
				d.compare(time.Second, append([]plan.ObjectChange{}, found...))
			case project.DriftRestore:
				for _, o := range objects {
					at := slices.DeleteFunc(times[o.ID()], func(before time.Time) bool { return !before.Add(project.RestoresWithin).After(d.at) })
					if times[o.ID()] = append(at, d.at); len(times[o.ID()]) > project.MaxRestores {
						t.Fatalf("%s is restored %d times within an hour", o.ID(), len(times[o.ID()]))
					}
				}
				d.restore(objects)
			case project.DriftWait, project.DriftSpent:
			}
		}
	})
}
