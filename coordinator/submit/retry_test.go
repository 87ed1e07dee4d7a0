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
