package planner_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/planner"
)

// TestPoliciesAreInputs: a render task has the policies of its environment, another policy is another digest, and where one stands is none.
func TestPoliciesAreInputs(t *testing.T) {
	files := commit{
		"slipway.yaml": []byte("version: 1\nproject: shop\nservices: { a: { path: a, deploy: { path: d } } }\n"), "a/Dockerfile": []byte("FROM x"),
		"d/kustomization.yaml": []byte("resources: []\n"),
	}
	const head = "version: 1\nproject: shop\nclusters: { c: { labels: { x: y } } }\nenvironments:\n  dev: { clusters: { x: y }, namespace: n }\n  prod:\n    clusters: { x: y }\n    namespace: m\n"
	task := func(targets, environment string) *plan.Task {
		t.Helper()
		p, problems := planner.Plan(input(t, files, []byte(targets)))
		if problems != nil {
			t.Fatal(problems.Pretty())
		}
		task, ok := p.Find(plan.RenderID("a", plan.Target{Environment: environment, Cluster: "c"}))
		if !ok {
			t.Fatalf("no render task for %s", environment)
		}
		return task
	}
	policies := "    policies: [ { name: p, match: { kinds: [Deployment] }, cel: object.spec.paused, message: no, level: warn } ]\n"
	with := task(head+policies, "prod")
	want := []plan.Policy{{Name: "p", Kinds: []string{"Deployment"}, CEL: "object.spec.paused", Message: "no", Warn: true, At: "targets.yaml:9:65"}}
	if diff := cmp.Diff(want, with.Render.Policies); diff != "" {
		t.Error(diff)
	}
	if lower := task("# a line above\n"+head+policies, "prod"); lower.Digest != with.Digest {
		t.Error("a line above the policies renders anew")
	}
	if other := task(head+strings.Replace(policies, "paused", "ready", 1), "prod"); other.Digest == with.Digest {
		t.Error("another policy has the same digest")
	}
	if task(head, "prod").Digest == with.Digest {
		t.Error("no policy has the same digest as one")
	}
	if dev := task(head+policies, "dev"); dev.Render.Policies != nil || dev.Digest != task(head, "dev").Digest {
		t.Error("another environment has the policies of prod")
	}
}
