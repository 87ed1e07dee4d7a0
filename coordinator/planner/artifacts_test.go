package planner_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/planner"
)

// bundled is the input of a plan in which a/use is given what z/make left.
func bundled(t *testing.T, command string) planner.Input {
	t.Helper()
	return input(t, commit{
		"slipway.yaml": []byte(`version: 1
project: shop
services:
  a: { path: a, test: { use: { run: x, use: { /dist: z/make/dist } }, other: { run: x } } }
  z: { path: z, test: { make: { run: ` + command + `, artifacts: { dist: out, log: log } } } }
`),
		"a/Dockerfile": []byte("x"), "z/Dockerfile": []byte("x"),
	}, nil)
}

// TestATestWaitsForWhatItUses, and is another one when what made that is.
func TestATestWaitsForWhatItUses(t *testing.T) {
	p := mustPlan(t, bundled(t, "x"))
	use, _ := p.Find("test/a/use")
	maker, _ := p.Find("test/z/make")
	if d := cmp.Diff([]string{"build/a", "checkout", "test/z/make"}, use.Needs); d != "" {
		t.Errorf("needs: %s", d)
	}
	if d := cmp.Diff([]plan.Use{{Path: "/dist", Task: "test/z/make", Artifact: "dist"}}, use.Test.Use); d != "" {
		t.Errorf("uses: %s", d)
	}
	if d := cmp.Diff(&plan.Test{Artifacts: map[string]string{"dist": "out", "log": "log"}, Required: []string{"dist"}}, &plan.Test{Artifacts: maker.Test.Artifacts, Required: maker.Test.Required}); d != "" {
		t.Errorf("leaves: %s", d)
	}
	changed := mustPlan(t, bundled(t, "y"))
	for id, same := range map[string]bool{"test/a/use": false, "test/z/make": false, "test/a/other": true} {
		before, _ := p.Find(id)
		after, _ := changed.Find(id)
		if (before.Digest == after.Digest) != same {
			t.Errorf("%s: the same is %t, want %t", id, !same, same)
		}
	}
}

// TestAResultStandsInOnlyWithWhatOthersUse: a run before anybody used it may have left nothing.
func TestAResultStandsInOnlyWithWhatOthersUse(t *testing.T) {
	for left, want := range map[string]string{"dist": "the same inputs as in run r", "log": "no earlier result is kept"} {
		in := bundled(t, "x")
		in.Known = func(string) (plan.Reuse, bool) {
			return plan.Reuse{Run: "r", Result: plan.Result{Artifacts: []plan.Artifact{{Name: left, Digest: "sha256:ab"}}}}, true
		}
		p := mustPlan(t, in)
		if maker, _ := p.Find("test/z/make"); !strings.Contains(maker.Reason, want) && want[0] == 't' || (maker.Reuse != nil) != (left == "dist") {
			t.Errorf("left %s: %s", left, maker.Reason)
		}
	}
}
