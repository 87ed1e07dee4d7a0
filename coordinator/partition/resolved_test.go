package partition_test

import (
	"testing"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/plan/plantest"
	"github.com/slipway-build/slipway/coordinator/run"
)

// TestATagMeansOneImageInARelease: where renders of a run found another image under a tag, there is no release.
func TestATagMeansOneImageInARelease(t *testing.T) {
	for name, c := range map[string]struct {
		second string
		want   string
	}{
		"the same": {"sha256:a", ""},
		"moved":    {"sha256:b", "the tag envoy:1 moved while the run went on: it was sha256:a in render/s0@e0/c0, and sha256:b in render/s0@e0/c1; run the commit anew"},
	} {
		t.Run(name, func(t *testing.T) {
			f := open(t)
			id := f.submit(plantest.Shop("shop", 1, 0, [][]string{{"c0", "c1"}}))
			for _, of := range []struct {
				task string
				res  plan.Result
			}{
				{"build/s0", plan.Result{Image: "r/s0@sha256:0"}},
				{"render/s0@e0/c0", plan.Result{Manifests: "sha256:m0", Resolved: map[string]string{"envoy:1": "sha256:a", "x:1": "sha256:c"}}},
				{"render/s0@e0/c1", plan.Result{Manifests: "sha256:m1", Resolved: map[string]string{"envoy:1": c.second, "y:1": "sha256:d"}}},
			} {
				w := f.hold(id, of.task)
				f.must(func(tx *partition.Tx) error {
					return tx.Complete(w.Ref, run.Report{Attempt: run.Attempt{Outcome: run.OutcomeSucceeded}, Result: of.res})
				})
			}
			f.eventually("the release is decided", f.idle)
			r := f.run(id)
			release, _ := r.Find(plan.ReleaseID)
			apply, _ := r.Find("apply/s0@e0/c0")
			if want := map[bool]run.TaskState{true: run.TaskSucceeded, false: run.TaskFailed}[c.want == ""]; release.State != want || release.Message != c.want {
				t.Errorf("release %s: %s", release.State, release.Message)
			}
			if c.want != "" && apply.State != run.TaskSkipped {
				t.Errorf("%s: %s", apply.Spec.ID, apply.State)
			}
		})
	}
}
