package graph_test

import (
	"testing"
	"time"

	"github.com/slipway-build/slipway/bench/graph"
	"github.com/slipway-build/slipway/coordinator/plan"
)

// ordered reports that every need stands before its task, as a run demands.
func ordered(t *testing.T, p plan.Plan) (edges int) {
	t.Helper()
	seen := map[string]bool{}
	for _, task := range p.Tasks {
		if seen[task.ID] {
			t.Errorf("%s is there twice", task.ID)
		}
		for _, need := range task.Needs {
			if !seen[need] {
				t.Errorf("%s needs %s, which does not come before it", task.ID, need)
			}
			edges++
		}
		seen[task.ID] = true
	}
	return edges
}

func TestLayersHaveTwoParents(t *testing.T) {
	p := graph.Layered("shop", 10, 10, 7)
	if len(p.Tasks) != 100 || ordered(t, p) != 180 {
		t.Errorf("%d tasks, %d edges", len(p.Tasks), ordered(t, p))
	}
	a, err := plan.Hash(p)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := plan.Hash(graph.Layered("shop", 10, 10, 7)); a != b {
		t.Error("one seed, two plans")
	}
	if b, _ := plan.Hash(graph.Layered("shop", 10, 10, 8)); a == b {
		t.Error("two seeds, one plan")
	}
}

func TestServicesAndTheirBound(t *testing.T) {
	s := graph.Services("shop", 1000, 100*time.Millisecond, 1)
	ordered(t, s.Plan)
	var work time.Duration
	for _, d := range s.Take {
		work += d
	}
	if mean := work / 1000; mean < 80*time.Millisecond || mean > 125*time.Millisecond {
		t.Errorf("mean %s", mean)
	}
	if got := s.Bound(1); got != work {
		t.Errorf("one slot: %s, the work is %s", got, work)
	}
	if s.Bound(1000) > s.Bound(32) || s.Bound(32) > s.Bound(8) {
		t.Error("more slots take longer")
	}
	ordered(t, graph.Chain("shop", "build", "render", 1))
}

func TestARunStopsHalfway(t *testing.T) {
	p := graph.Halfway("shop", 4, 5, plan.CapabilityRender, 7)
	ordered(t, p)
	for i, task := range p.Tasks {
		want := plan.CapabilityBuild
		if i >= 10 {
			want = plan.CapabilityRender
		}
		if task.Can != want {
			t.Errorf("task %d, %s, wants %s", i, task.ID, task.Can)
		}
	}
}
