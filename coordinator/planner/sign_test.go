package planner_test

import (
	"slices"
	"testing"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/planner"
)

// TestSign: an image is signed when its tests passed and its findings do not say no, and the release waits for it. What is not
// released, what a stranger sent and what nobody committed is not signed.
func TestSign(t *testing.T) {
	files := commit{
		"slipway.yaml": []byte("version: 1\nproject: shop\nservices:\n  a: { path: a, build: { sbom: true }, scan: { secrets: {} }, test: { unit: { run: x }, many: { run: x, shards: 2 }, after: { run: x, at: deploy } } }\n  b: { path: b, build: false }\n"),
		"a/Dockerfile": []byte("FROM x"), "b/x": []byte("x"), "deploy/a/kustomization.yaml": []byte("a"), "deploy/b/kustomization.yaml": []byte("b"),
	}
	known := results{}
	made := func(change func(*planner.Input)) (*plan.Task, plan.Plan) {
		in := input(t, files, []byte(scanTargets))
		in.Key, in.Known = "abcd1234", known.known
		change(&in)
		p := mustPlan(t, in)
		graphOf(t, p)
		task, _ := p.Find("sign/a")
		if other, ok := p.Find("sign/b"); ok {
			t.Errorf("what has no image is signed: %v", other)
		}
		return task, p
	}
	sign, p := made(func(*planner.Input) {})
	if want := []string{"build/a", "findings/a", "test/a/many", "test/a/many/1of2", "test/a/many/2of2", "test/a/unit"}; sign == nil || !slices.Equal(sign.Needs, want) || sign.Can != plan.CapabilityCoordinator {
		t.Fatalf("sign: %+v", sign)
	}
	if release, _ := p.Find(plan.ReleaseID); !slices.Contains(release.Needs, "sign/a") {
		t.Errorf("the release does not wait for it: %v", release.Needs)
	}
	if build, _ := p.Find("build/a"); !build.Build.SBOM {
		t.Error("the build lists no packages")
	}
	for name, change := range map[string]func(*planner.Input){
		"tests alone": func(in *planner.Input) { in.Until = "test" },
		"a stranger":  func(in *planner.Input) { in.Untrusted = true },
		"uncommitted": func(in *planner.Input) { in.Dirty = true },
		"not merged":  func(in *planner.Input) { in.Onto = "main" },
		"no key":      func(in *planner.Input) { in.Key = "" },
	} {
		if task, _ := made(change); task != nil {
			t.Errorf("%s: %+v", name, task)
		}
	}
	known.run("run-1", p)
	image := known[p.Tasks[1].Digest].Result.Image
	known[sign.Digest] = plan.Reuse{Run: "run-1", Result: plan.Result{Image: image, Key: "abcd1234"}}
	if again, _ := made(func(*planner.Input) {}); again.Reuse == nil {
		t.Errorf("signed already: %+v", again)
	}
	if other, _ := made(func(in *planner.Input) { in.Key = "other" }); other.Reuse != nil {
		t.Errorf("with another key: %+v", other)
	}
	known[sign.Digest] = plan.Reuse{Run: "run-1", Result: plan.Result{Image: "another image", Key: "abcd1234"}}
	if again, _ := made(func(*planner.Input) {}); again.Reuse != nil {
		t.Errorf("another image was signed: %+v", again)
	}
}
