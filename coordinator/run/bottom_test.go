package run_test

import (
	"testing"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/plan/plantest"
	"github.com/slipway-build/slipway/coordinator/run"
)

// TestBottom: what the longest path goes through is more urgent than what nothing needs,
// and a rollback that is added later has a length too.
func TestBottom(t *testing.T) {
	p := plantest.Shop("shop", 3, 1, [][]string{{"c"}})
	r, err := run.New(run.Accepted{Run: "shop-1", Project: "shop"}, p, time.Unix(1, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	of := func(id string) time.Duration {
		task, ok := r.Find(id)
		if !ok {
			t.Fatalf("no task %s", id)
		}
		return r.Bottom(task)
	}
	if b, test, apply := of("build/s0"), of("test/s0/0"), of("apply/s0@e0/c"); b <= test || test <= apply || apply <= of("apply/s2@e0/c") {
		t.Errorf("build %s, test %s, first apply %s, last apply %s: want less and less", b, test, apply, of("apply/s2@e0/c"))
	}
	for _, task := range r.Tasks {
		for _, need := range task.Spec.Needs {
			if of(need) < r.Bottom(task) {
				t.Errorf("%s takes %s to the end, and %s, which needs it, %s", need, of(need), task.Spec.ID, r.Bottom(task))
			}
		}
	}
	id := plan.RollbackID("s0", plan.Target{Environment: "e0", Cluster: "c", Namespace: "n"})
	if err := r.Apply(run.CompensationStarted{Run: r.ID, Tasks: []string{id}}, time.Unix(2, 0)); err != nil {
		t.Fatal(err)
	}
	if of(id) == 0 || of("build/s0") == 0 {
		t.Errorf("after a rollback was added: rollback %s, build %s", of(id), of("build/s0"))
	}
}

// TestBottomOfWhatIsKnown: what was measured counts for tasks that are not reused, and the
// usual time of their kind for the others.
func TestBottomOfWhatIsKnown(t *testing.T) {
	p := &plan.Plan{Project: "shop", Tasks: []plan.Task{
		{ID: "build/slow", Kind: plan.KindBuild}, {ID: "build/new", Kind: plan.KindBuild}, {ID: "build/kept", Kind: plan.KindBuild, Reuse: &plan.Reuse{}},
		{ID: "test/last", Kind: plan.KindTest, Needs: []string{"build/slow", "build/new", "build/kept"}},
	}}
	known := map[string]time.Duration{"build/slow": time.Hour, "build/kept": time.Hour, "test/last": 3 * time.Second}
	r, err := run.New(run.Accepted{Run: "shop-1", Project: "shop"}, p, time.Unix(1, 0), func(task string) time.Duration { return known[task] })
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []time.Duration{time.Hour + 3*time.Second, 2*time.Minute + 3*time.Second, 3 * time.Second, 3 * time.Second} {
		if got := r.Bottom(r.Tasks[i]); got != want {
			t.Errorf("%s: %s to the end, want %s", p.Tasks[i].ID, got, want)
		}
	}
}
