package planner_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/planner"
)

// sharded is the input of a plan with one test, which is deployed.
func sharded(t *testing.T, test string) planner.Input {
	t.Helper()
	c := commit{
		"slipway.yaml": []byte("version: 1\nproject: shop\nservices: { a: { path: a, test: { t: " + test + " } } }\n"),
		"a/Dockerfile": []byte("x"), "deploy/a/kustomization.yaml": []byte("x"),
	}
	return input(t, c, []byte("version: 1\nproject: shop\nclusters: { c: { labels: { x: y } } }\nenvironments: { e: { clusters: { x: y }, namespace: n } }\n"))
}

// TestShardsAreTasksOfTheirOwn: each is told its number, waits for what the test waits for, and has a digest
// of its own; one task waits for them all, and the gate for that.
func TestShardsAreTasksOfTheirOwn(t *testing.T) {
	p := mustPlan(t, sharded(t, "{ run: x, shards: 3, env: { A: b } }"))
	digests := map[string]bool{}
	shards := []string{"test/a/t/1of3", "test/a/t/2of3", "test/a/t/3of3"}
	for i, id := range shards {
		task, ok := p.Find(id)
		if !ok {
			t.Fatalf("there is no %s", id)
		}
		digests[task.Digest] = true
		want := map[string]string{"A": "b", "SLIPWAY_SHARD": string(rune('1' + i)), "SLIPWAY_SHARDS": "3"}
		if d := cmp.Diff(want, task.Test.Env); d != "" {
			t.Errorf("%s: environment (-want +got):\n%s", id, d)
		}
		if d := cmp.Diff(&plan.Shard{Test: "test/a/t", Number: i + 1, Of: 3}, task.Test.Shard); d != "" {
			t.Errorf("%s (-want +got):\n%s", id, d)
		}
		if d := cmp.Diff([]string{"build/a", "checkout"}, task.Needs); d != "" {
			t.Errorf("%s needs (-want +got):\n%s", id, d)
		}
	}
	gather, ok := p.Find(plan.TestID("a", "t"))
	if !ok || gather.Kind != plan.KindGather || gather.Can != plan.CapabilityCoordinator {
		t.Fatalf("the task that gathers: %+v", gather)
	}
	if d := cmp.Diff(shards, gather.Needs); d != "" {
		t.Errorf("it needs (-want +got):\n%s", d)
	}
	if digests[gather.Digest] = true; len(digests) != 4 {
		t.Errorf("%d digests of 3 shards and what gathers them", len(digests))
	}
	if gate, _ := p.Find(plan.ReleaseID); !slices.Contains(gate.Needs, gather.ID) {
		t.Errorf("the release waits for %v", gate.Needs)
	}
}

// items are n of them that take so long each.
func items(n int, millis int64) (out []plan.Item) {
	for i := range n {
		out = append(out, plan.Item{Name: fmt.Sprintf("item%03d", i), Millis: millis})
	}
	return out
}

func TestShardsAsManyAsTheTimeAsksFor(t *testing.T) {
	for _, c := range []struct {
		items []plan.Item
		want  int
	}{
		{nil, 4},
		{items(10, 100), 1},
		{items(60, 1000), 1},
		{items(61, 1000), 2},
		{items(200, 3000), 10},
		{items(3, 600_000), 3},
		{items(300, 60_000), pipeline.MaxShards},
		{items(5, 0), 1},
	} {
		in := sharded(t, "{ run: x, list: y, shards: auto }")
		in.History = map[string]planner.History{"test/a/t": {Items: c.items}}
		p := mustPlan(t, in)
		n := 0
		for _, task := range p.Tasks {
			if task.Kind == plan.KindTest {
				if n++; task.Test.Shard.Of != c.want || task.Test.Shard.List != "y" {
					t.Errorf("%d items: %s is %+v, want one of %d", len(c.items), task.ID, task.Test.Shard, c.want)
				}
			}
		}
		if n != c.want {
			t.Errorf("%d items: %d shards, want %d", len(c.items), n, c.want)
		}
		if d := cmp.Diff(c.items, p.Timing("test/a/t")); d != "" {
			t.Errorf("%d items: the plan says (-want +got):\n%s", len(c.items), d)
		}
	}
}

// TestWhatShardsTookIsNoInputOfTheTest: with other times there are other shards, none of which
// stands in for one that was split differently; but what gathers them is what it was, and once it is
// known there are no shards.
func TestWhatShardsTookIsNoInputOfTheTest(t *testing.T) {
	digests := func(test string, taught []plan.Item) (gather string, shards []string) {
		in := sharded(t, test)
		in.History = map[string]planner.History{"test/a/t": {Items: taught}}
		for _, task := range mustPlan(t, in).Tasks {
			if task.Kind == plan.KindGather {
				gather = task.Digest
			}
			if task.Kind == plan.KindTest {
				shards = append(shards, task.Digest)
			}
		}
		return gather, shards
	}
	const test = "{ run: x, list: y, shards: 2 }"
	before, first := digests(test, items(2, 100))
	after, second := digests(test, items(2, 200))
	if before != after {
		t.Error("other times make it another test")
	}
	for _, d := range first {
		if slices.Contains(second, d) {
			t.Error("a shard stands in for one that was split differently")
		}
	}
	if auto, _ := digests("{ run: x, list: y, shards: auto }", nil); auto != before {
		t.Error("how many shards there are makes it another test, though it is given what it tests")
	}
	for _, other := range []string{"{ run: x, list: z, shards: 2 }", "{ run: z, list: y, shards: 2 }", "{ run: x, shards: 2 }", "{ run: x, shards: 3 }"} {
		if d, _ := digests(other, items(2, 100)); d == before {
			t.Errorf("%s is the same test as %s", other, test)
		}
	}

	in := sharded(t, test)
	in.History = map[string]planner.History{"test/a/t": {Items: items(2, 300)}}
	in.Known = func(digest string) (plan.Reuse, bool) { return plan.Reuse{Run: "shop-1"}, digest == before }
	p := mustPlan(t, in)
	if got, _ := p.Find("test/a/t"); got.Reuse == nil || len(p.Timings) > 0 {
		t.Errorf("the test is known and not reused: %+v, timings %v", got, p.Timings)
	}
	for _, task := range p.Tasks {
		if strings.HasPrefix(task.ID, "test/a/t/") {
			t.Errorf("the test is reused, and there is %s", task.ID)
		}
	}
}

// TestQuarantineIsNoInput: what is in quarantine is in the plan, for the test and what gathers its shards, and
// changes no digest; a test of which the files say nothing has one when people put a case there.
func TestQuarantineIsNoInput(t *testing.T) {
	held := []plan.TestName{{Suite: "s", Name: "moody"}}
	for test, want := range map[string]*plan.Quarantine{
		"{ run: x }":                   {Days: 14, Release: 20, Cases: held},
		"{ run: x, quarantine: auto }": {After: 2, Days: 14, Release: 20, Cases: held},
		"{ run: x, shards: 2, quarantine: { after: 1, release: 9 } }": {After: 1, Days: 14, Release: 9, Cases: held},
		"{ target: x }": {Days: 14, Release: 20, Cases: held},
	} {
		without := mustPlan(t, sharded(t, test))
		in := sharded(t, test)
		in.History = map[string]planner.History{"test/a/t": {Held: held}}
		for _, task := range mustPlan(t, in).Tasks {
			before, _ := without.Find(task.ID)
			if task.Digest != before.Digest {
				t.Errorf("%s: %s is another task", test, task.ID)
			}
			if task.Kind != plan.KindTest && task.Kind != plan.KindGather {
				if task.Quarantine != nil {
					t.Errorf("%s: %s has a quarantine", test, task.ID)
				}
				continue
			}
			if d := cmp.Diff(want, task.Quarantine); d != "" {
				t.Errorf("%s: %s (-want +got):\n%s", test, task.ID, d)
			}
			if strings.Contains(test, "quarantine") != (before.Quarantine != nil) {
				t.Errorf("%s: without cases in it the quarantine of %s is %+v", test, task.ID, before.Quarantine)
			}
		}
	}
}

// TestWhatWasForgottenIsMadeAfresh: with the reason, and nothing of it from BuildKit's cache; of a test that was forgotten each
// shard is carried out, whatever is known of them.
func TestWhatWasForgottenIsMadeAfresh(t *testing.T) {
	for _, test := range []string{"{ run: x }", "{ run: x, shards: 2 }"} {
		before := mustPlan(t, sharded(t, test))
		build, _ := before.Find("build/a")
		whole, _ := before.Find("test/a/t")
		in := sharded(t, test)
		in.Known = func(digest string) (plan.Reuse, bool) {
			return plan.Reuse{Run: "shop-1", Result: plan.Result{Image: "i"}}, digest != build.Digest && digest != whole.Digest
		}
		in.Forgotten = map[string]string{build.Digest: "the mirror lied", whole.Digest: "the mirror lied"}
		for _, task := range mustPlan(t, in).Tasks {
			if task.Kind != plan.KindBuild && task.Kind != plan.KindTest {
				continue
			}
			fresh := task.Build != nil && task.Build.Fresh || task.Test != nil && task.Test.Build.Fresh
			if task.Reuse != nil || !fresh || task.Reason != "the mirror lied" {
				t.Errorf("%s: %s is reused (%t), afresh (%t): %s", test, task.ID, task.Reuse != nil, fresh, task.Reason)
			}
			if same, _ := before.Find(task.ID); same.Digest != task.Digest {
				t.Errorf("%s: %s is another task", test, task.ID)
			}
		}
	}
}
