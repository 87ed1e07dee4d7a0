package partition_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

// TestARenderHasTheImagesOfOtherServices: under the names that manifests have for them, and its own under that of its service.
func TestARenderHasTheImagesOfOtherServices(t *testing.T) {
	f := open(t)
	target := &plan.Target{Environment: "dev", Cluster: "a", Namespace: "n"}
	p := &plan.Plan{Version: plan.Version, Project: "votes", Ref: "main", Commit: "c"}
	p.Tasks = append(p.Tasks, plan.Task{ID: plan.CheckoutID, Kind: plan.KindCheckout})
	for _, s := range []string{"api", "web"} {
		p.Tasks = append(p.Tasks, plan.Task{ID: plan.BuildID(s), Kind: plan.KindBuild, Service: s, Needs: []string{plan.CheckoutID}, Can: plan.CapabilityBuild, Build: &plan.Build{}})
	}
	render := plan.RenderID("web", *target)
	p.Tasks = append(p.Tasks, plan.Task{
		ID: render, Kind: plan.KindRender, Service: "web", Target: target, Needs: []string{plan.BuildID("api"), plan.BuildID("web")}, Can: plan.CapabilityRender,
		Render: &plan.Render{Image: plan.BuildID("web"), Images: map[string]string{"ghcr.io/acme/api": "api"}},
	})
	id := f.submit(p)
	for _, s := range []string{"api", "web"} {
		work, err := f.lease(id, plan.BuildID(s), nil)
		if err != nil {
			t.Fatal(err)
		}
		f.must(func(tx *partition.Tx) error {
			return tx.Complete(work.Ref, run.Report{Attempt: run.Attempt{Outcome: run.OutcomeSucceeded}, Result: plan.Result{Image: "image of " + s}})
		})
	}
	work, err := f.lease(id, render, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"web": "image of web", "ghcr.io/acme/api": "image of api"}, work.Images); diff != "" {
		t.Errorf("images of the render (-want +got):\n%s", diff)
	}
	f.must(func(tx *partition.Tx) error {
		return tx.Complete(work.Ref, run.Report{Attempt: run.Attempt{Outcome: run.OutcomeSucceeded}})
	})
	f.eventually("the coordinator's own work is done", f.idle)
	f.audit(id, run.Succeeded)
}
