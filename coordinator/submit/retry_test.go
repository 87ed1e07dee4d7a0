package submit_test

import (
	"testing"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/plan/plantest"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/submit"
)

// TestAgain: what succeeded before the release is reused, also a test that has no digest;
// what failed, and what changes a cluster, is not.
func TestAgain(t *testing.T) {
	p := plantest.Shop("shop", 2, 2, [][]string{{"c"}})
	p.Line, p.Supersede = "branch main", plan.SupersedeRunning
	r, err := run.New(run.Accepted{Run: "shop-1", Project: "shop"}, p, time.Unix(1, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range r.Tasks {
		s := run.TaskSucceeded
		if task.Spec.ID == "test/s1/0" {
			s = run.TaskFailed
		}
		if task.Spec.Kind == plan.KindVerified {
			break
		}
		if err := r.Apply(run.TaskFinished{Run: r.ID, Task: task.Spec.ID, State: s, Result: plan.Result{Image: "of " + task.Spec.ID}}, time.Unix(2, 0)); err != nil {
			t.Fatal(err)
		}
	}
	next := submit.Again(r)
	if next.Supersede != "" || next.Line != p.Line {
		t.Errorf("line %q, supersede %q: a retry supersedes nothing", next.Line, next.Supersede)
	}
	for _, task := range next.Tasks {
		want := (task.Kind == plan.KindBuild || task.Kind == plan.KindTest || task.Kind == plan.KindRender) && task.ID != "test/s1/0"
		switch {
		case want != (task.Reuse != nil):
			t.Errorf("%s: reuse %v, want %t", task.ID, task.Reuse, want)
		case want && (task.Reuse.Run != "shop-1" || task.Reuse.Result.Image != "of "+task.ID):
			t.Errorf("%s: reuse %+v", task.ID, task.Reuse)
		}
	}
	if build, _ := p.Find("build/s0"); build.Reuse != nil {
		t.Error("the plan of the run itself was changed")
	}
}

// TestGoingBack: to one environment, with what was made and without what takes time; a task's needs come before it.
func TestGoingBack(t *testing.T) {
	p := plantest.Canary(plantest.Shop("shop", 2, 1, [][]string{{"c"}, {"eu", "us"}}), 10, 50)
	p.Line, p.Supersede = "branch main", plan.SupersedeRunning
	r, err := run.New(run.Accepted{Run: "shop-1", Project: "shop"}, p, time.Unix(1, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range r.Tasks {
		if task.Spec.Kind == plan.KindRollout {
			task.Spec.Wait, task.Spec.Hold, task.Spec.Windows = 60, true, []plan.Window{{Name: "office"}}
		}
		if err := r.Apply(run.TaskFinished{Run: r.ID, Task: task.Spec.ID, State: run.TaskSucceeded, Result: plan.Result{Image: "of " + task.Spec.ID}}, time.Unix(2, 0)); err != nil {
			t.Fatal(err)
		}
	}
	environments := map[string]bool{}
	for _, task := range p.Tasks {
		if task.Kind == plan.KindVerified {
			environments[task.Target.Environment] = true
		}
	}
	if len(environments) != 2 {
		t.Fatalf("environments %v", environments)
	}
	for env := range environments {
		back := submit.GoingBack(r, env)
		if back.Back != "shop-1" || back.Line != "" || back.Supersede != "" || back.ClassOf(&back.Tasks[0]) != plan.ClassUrgent {
			t.Errorf("%s: back %q, line %q, supersede %q", env, back.Back, back.Line, back.Supersede)
		}
		seen := map[string]bool{}
		kinds := map[plan.Kind]int{}
		for _, task := range back.Tasks {
			kinds[task.Kind]++
			seen[task.ID] = true
			for _, need := range task.Needs {
				if !seen[need] {
					t.Errorf("%s: %s needs %s, which does not come before it", env, task.ID, need)
				}
			}
			made := task.Kind == plan.KindBuild || task.Kind == plan.KindTest || task.Kind == plan.KindRender
			switch {
			case task.Target != nil && task.Target.Environment != env:
				t.Errorf("%s: %s is of another environment", env, task.ID)
			case made != (task.Reuse != nil):
				t.Errorf("%s: %s: reuse %v", env, task.ID, task.Reuse)
			case task.Wait != 0 || task.Hold || len(task.Windows) > 0:
				t.Errorf("%s: %s waits", env, task.ID)
			}
		}
		if kinds[plan.KindShift]+kinds[plan.KindAnalyze]+kinds[plan.KindStep]+kinds[plan.KindApprove] > 0 || kinds[plan.KindApply] == 0 || kinds[plan.KindPromote] != 2 || kinds[plan.KindVerified] != 1 {
			t.Errorf("%s: %v", env, kinds)
		}
		for _, task := range back.Rollbacks {
			if task.Target.Environment != env {
				t.Errorf("%s: %s", env, task.ID)
			}
		}
		if _, err := plan.Encode(back); err != nil {
			t.Error(err)
		}
		if _, err := run.New(run.Accepted{Run: "shop-2", Project: "shop"}, &back, time.Unix(1, 0), nil); err != nil {
			t.Error(err)
		}
	}
	for _, task := range p.Tasks {
		if task.Kind == plan.KindRollout && task.Wait != 60 || task.Reuse != nil {
			t.Errorf("%s of the run itself was changed", task.ID)
		}
	}
}

// TestComparingAndRestoring: what was rendered for one environment is compared there, or applied again and takes over what others hold.
func TestComparingAndRestoring(t *testing.T) {
	p := plantest.Canary(plantest.Shop("shop", 2, 1, [][]string{{"c"}, {"eu", "us"}}), 10)
	r, err := run.New(run.Accepted{Run: "shop-1", Project: "shop"}, p, time.Unix(1, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range r.Tasks {
		if err := r.Apply(run.TaskFinished{Run: r.ID, Task: task.Spec.ID, State: run.TaskSucceeded, Result: plan.Result{Image: "of " + task.Spec.ID}}, time.Unix(2, 0)); err != nil {
			t.Fatal(err)
		}
	}
	compared := submit.Comparing(r, "e1")
	diffs := 0
	for _, task := range compared.Tasks {
		switch {
		case task.Kind == plan.KindDiff:
			diffs++
			if render, ok := compared.Find(task.Apply.Manifests); !ok || render.Reuse == nil || !task.Apply.Adopt {
				t.Errorf("%s compares %+v", task.ID, task.Apply)
			}
		case task.Kind.Changes() || task.Kind == plan.KindRelease || task.Kind == plan.KindRollout:
			t.Errorf("%s is more than to compare", task.ID)
		}
	}
	if diffs != 4 || compared.Back != "" || len(compared.Rollbacks) > 0 {
		t.Errorf("%d comparisons, back to %q, %d rollbacks", diffs, compared.Back, len(compared.Rollbacks))
	}
	restored, applies := submit.Restoring(r, "e1"), 0
	for _, task := range restored.Tasks {
		if task.Kind == plan.KindApply {
			applies++
			if !task.Apply.Adopt {
				t.Errorf("%s leaves to others what they hold", task.ID)
			}
		}
	}
	if applies != 4 || restored.Back != "shop-1" {
		t.Errorf("%d applies, back to %q", applies, restored.Back)
	}
	for _, plans := range []plan.Plan{compared, restored} {
		if _, err := plan.Encode(plans); err != nil {
			t.Error(err)
		}
		if _, err := run.New(run.Accepted{Run: "shop-2", Project: "shop"}, &plans, time.Unix(1, 0), nil); err != nil {
			t.Error(err)
		}
	}
	for _, task := range p.Tasks {
		if task.Apply != nil && task.Apply.Adopt {
			t.Errorf("%s of the run itself was changed", task.ID)
		}
	}
}
