package planner_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/plan"
)

// TestWhatSaysWhatIsInTheContextIsAnInput: .dockerignore of the context, wherever it lies, and that of the
// Dockerfile; a change of it, or that it is gone, builds again, and says so.
func TestWhatSaysWhatIsInTheContextIsAnInput(t *testing.T) {
	c := commit{
		"slipway.yaml": []byte("version: 1\nproject: shop\nservices:\n  a: { path: a, build: { dockerfile: docker/a } }\n  b: { path: b, build: { context: b } }\n"),
		"docker/a":     []byte("x"), "a/x": []byte("x"), "b/Dockerfile": []byte("x"), "b/.dockerignore": []byte("x"),
	}
	before := input(t, c, nil)
	first := mustPlan(t, before)
	for _, name := range []string{".dockerignore", "docker/a.dockerignore"} {
		c[name] = []byte("*.bak")
		in := input(t, c, nil)
		in.Base, in.BasePipeline, in.Changed = before.Commit, before.Pipeline, []string{name}
		p := mustPlan(t, in)
		a, _ := p.Find(plan.BuildID("a"))
		was, _ := first.Find(plan.BuildID("a"))
		if a.Digest == was.Digest || !strings.Contains(a.Reason, name+" changed") {
			t.Errorf("with %s a has the same digest: %t; it is built because %q", name, a.Digest == was.Digest, a.Reason)
		}
		if d := cmp.Diff([]string{name, "a", "docker/a"}, a.Build.Paths); name == ".dockerignore" && d != "" {
			t.Errorf("paths (-want +got):\n%s", d)
		}
		b, _ := p.Find(plan.BuildID("b"))
		if was, _ := first.Find(plan.BuildID("b")); b.Digest != was.Digest {
			t.Errorf("with %s, which is not in its context, b has another digest", name)
		}
		delete(c, name)
	}
}
