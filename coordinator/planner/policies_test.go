package planner_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/pipeline"
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

// TestWhatRegistriesSayIsAskedInEachRun: such a render stands in for no other, has the key of the farm, and comes after the image is signed. A comparison needs
// nothing that is signed, and without a key nothing could be.
func TestWhatRegistriesSayIsAskedInEachRun(t *testing.T) {
	files := commit{
		"slipway.yaml": []byte("version: 1\nproject: shop\nservices: { a: { path: a, deploy: { path: d, images: { other: service:b } } }, b: { path: b, deploy: false } }\n"),
		"a/Dockerfile": []byte("FROM x"), "b/Dockerfile": []byte("FROM x"), "d/kustomization.yaml": []byte("resources: []\n"),
	}
	targets := func(policies string) []byte {
		return []byte("version: 1\nproject: shop\nclusters: { c: { labels: { x: y } } }\nenvironments:\n  prod:\n    clusters: { x: y }\n    namespace: m\n    policies: [" + policies + "]\n")
	}
	rendered := func(policies string, change func(*planner.Input)) *plan.Task {
		t.Helper()
		in := input(t, files, targets(policies))
		in.Key, in.PublicKey = "abcd1234", "pem"
		change(&in)
		p := mustPlan(t, in)
		graphOf(t, p)
		task, ok := p.Find("render/a@prod/c")
		if !ok {
			t.Fatal("no render task")
		}
		return task
	}
	as := func(*planner.Input) {}
	const signed = "{ name: p, require: [signature, pinned], images: [docker.io], keys: [v.pub] }"
	task := rendered(signed, as)
	want := []plan.Policy{{
		Name: "p", Require: []string{"signature", "pinned"}, Images: []string{"docker.io"}, At: "targets.yaml:8:36",
		Keys: []plan.PublicKey{{Name: "the key of the farm, abcd1234", PEM: "pem", Farm: true}, {Name: "v.pub"}},
	}}
	if diff := cmp.Diff(want, task.Render.Policies); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"build/a", "build/b", "checkout", "sign/a", "sign/b"}, task.Needs); task.Digest != "" || diff != "" {
		t.Errorf("digest %q, needs\n%s", task.Digest, diff)
	}
	if task = rendered(signed, func(in *planner.Input) { in.Key, in.PublicKey = "", "" }); len(task.Render.Policies[0].Keys) != 1 || task.Digest != "" || len(task.Needs) != 3 {
		t.Errorf("without a key of the farm: %+v", task)
	}
	task = rendered(signed, func(in *planner.Input) { in.Until, in.Diff = pipeline.StageTest, true })
	if diff := cmp.Diff([]plan.Policy{{Name: "p", Require: []string{"pinned"}, Images: []string{"docker.io"}, At: "targets.yaml:8:36"}}, task.Render.Policies); diff != "" || task.Digest == "" {
		t.Errorf("a comparison: digest %q\n%s", task.Digest, diff)
	}
	if task = rendered("{ name: p, require: [sbom] }", func(in *planner.Input) { in.Until, in.Diff = pipeline.StageTest, true }); len(task.Render.Policies) != 0 {
		t.Errorf("a comparison: %+v", task.Render.Policies)
	}
	if task = rendered("{ name: p, require: [resolved] }", as); task.Digest != "" {
		t.Error("tags are looked up once and for all")
	}
	pinned := rendered("{ name: p, require: [pinned] }", as)
	if pinned.Digest == "" || pinned.Digest == rendered("", as).Digest || pinned.Digest == rendered("{ name: p, require: [pinned], images: [docker.io] }", as).Digest {
		t.Error("what is required is no input")
	}
	in := input(t, files, targets("{ name: p, require: [sbom] }"))
	_, problems := planner.Plan(in)
	if want := "targets.yaml:5:3: the policy p of environment prod requires what is signed, and there is no key that could have; give the coordinator a key with signing.key_file, or name public keys with keys"; problems.Err() == nil || !strings.Contains(problems.Error(), want) {
		t.Errorf("%v, want %s", problems, want)
	}
}
