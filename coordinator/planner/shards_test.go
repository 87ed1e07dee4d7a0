package planner_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/plan"
)

// TestShardsAreTasksOfTheirOwn: each is told its number, waits for what the test waits for, and has a digest
// of its own; the gate waits for all.
func TestShardsAreTasksOfTheirOwn(t *testing.T) {
	c := commit{
		"slipway.yaml": []byte("version: 1\nproject: shop\nservices: { a: { path: a, test: { t: { run: x, shards: 3, env: { A: b } } } } }\n"),
		"a/Dockerfile": []byte("x"), "deploy/a/kustomization.yaml": []byte("x"),
	}
	in := input(t, c, []byte("version: 1\nproject: shop\nclusters: { c: { labels: { x: y } } }\nenvironments: { e: { clusters: { x: y }, namespace: n } }\n"))
	p := mustPlan(t, in)
	digests := map[string]bool{}
	gate, _ := p.Find(plan.ReleaseID)
	for i, id := range []string{"test/a/t/1of3", "test/a/t/2of3", "test/a/t/3of3"} {
		task, ok := p.Find(id)
		if !ok {
			t.Fatalf("there is no %s", id)
		}
		digests[task.Digest] = true
		want := map[string]string{"A": "b", "SLIPWAY_SHARD": string(rune('1' + i)), "SLIPWAY_SHARDS": "3"}
		if d := cmp.Diff(want, task.Test.Env); d != "" {
			t.Errorf("%s: environment (-want +got):\n%s", id, d)
		}
		if d := cmp.Diff([]string{"build/a", "checkout"}, task.Needs); d != "" {
			t.Errorf("%s needs (-want +got):\n%s", id, d)
		}
		found := false
		for _, need := range gate.Needs {
			found = found || need == id
		}
		if !found {
			t.Errorf("the release does not wait for %s", id)
		}
	}
	if len(digests) != 3 {
		t.Errorf("%d digests of 3 shards", len(digests))
	}
	if _, ok := p.Find(plan.TestID("a", "t")); ok {
		t.Error("the test is a task beside its shards")
	}
}
