package rows

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-build/slipway/bench/farm"
	"github.com/slipway-build/slipway/bench/graph"
	"github.com/slipway-build/slipway/bench/node"
	"github.com/slipway-build/slipway/bench/pairs"
	"github.com/slipway-build/slipway/bench/reference/ninja"
	"github.com/slipway-build/slipway/coordinator/plan"
)

// seen is how often a farm has carried out the graph before it is measured: the third run
// knows how long tasks took.
const seen = 2

// makespan is P4 with a number of slots.
type makespan struct {
	slots int
	run   node.TimedRun
	graph graph.Timed
}

// p4 is how long a graph takes whose tasks take time. It writes two files, from the same
// runs of ours.
func p4(ctx context.Context, b *bench) error {
	mean := time.Duration(b.size(100, 10)) * time.Millisecond
	run := node.TimedRun{Tasks: b.size(1000, 60), Mean: mean, Seed: 1}
	machine := farm.Machine()
	r := pairs.Result{
		Durable: "fsync before ack, on a disk",
		What: fmt.Sprintf("makespan of %d tasks that exec sleep, log-normal with a mean of %s, in a graph as of services, the worse of 8 and 32 slots in 2 worker processes; submit → run durably terminal, the third run and those after it of a farm",
			run.Tasks, run.Mean),
		Notes: []string{"the first and the second run, from which the engine learns how long tasks take, are not measured"},
	}
	var bound, live []pairs.Part
	for _, slots := range []int{8, 32} {
		m := makespan{slots, run, graph.Services(node.TimedProject, run.Tasks, run.Mean, run.Seed)}
		all, err := b.makespan(ctx, m, &r.Broken)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("%d slots", slots)
		bound = append(bound, pairs.Part{Name: name, Unit: "s", Raw: all[0]})
		live = append(live, pairs.Part{Name: name, Unit: "s", Raw: all[1]})
	}
	for _, part := range []struct {
		row, against string
		parts        []pairs.Part
		goal         float64
	}{
		{"P4-bound", "the longer of the graph's critical path and its work divided by the slots, as numbers: nobody can do better", bound, 1.02},
		{"P4-ninja", "ninja -j of the same graph: its start → its end", live, 1},
	} {
		if !b.wants(part.row) {
			continue
		}
		r := r
		r.Row, r.Against = part.row, part.against
		if err := b.worst(r, part.parts, pairs.Goal{Limit: part.goal, AtMost: true}, machine); err != nil {
			return err
		}
	}
	return nil
}

// makespan answers the pairs with the bound, and those with ninja.
func (b *bench) makespan(ctx context.Context, m makespan, broken *[]string) ([][]pairs.Pair, error) {
	store, remove, err := scratch(b.Disk)
	if err != nil {
		return nil, err
	}
	defer remove()
	dir, remove, err := scratch(b.Tmpfs) // of ninja, which keeps a log
	if err != nil {
		return nil, err
	}
	defer remove()
	half := map[string]int{plan.CapabilityBuild: m.slots / 2}
	f, err := farm.New(ctx, farm.Config{Store: store, Workers: []map[string]int{half, half}})
	if err != nil {
		return nil, err
	}
	defer func() { f.Stop() }()
	bound := m.graph.Bound(m.slots)
	ours := func(int) ([]pairs.Half, error) {
		before := f.CPU()
		var rep node.Report
		if err := f.Coordinator.Call("timed", m.run, &rep); err != nil {
			return nil, err
		}
		*broken = append(*broken, rep.Broken...)
		if rep.Elapsed < bound {
			*broken = append(*broken, fmt.Sprintf("P4: a run took %s, less than the bound of %s: tasks were not carried out", rep.Elapsed, bound))
		}
		h := pairs.Half{Value: rep.Elapsed.Seconds(), CPU: f.CPU() - before}
		return []pairs.Half{h, h}, nil
	}
	for i := range seen {
		if _, err := ours(i); err != nil {
			return nil, err
		}
	}
	all, err := b.interleaveAll([]string{fmt.Sprintf("P4-bound, %d slots", m.slots), fmt.Sprintf("P4-ninja, %d slots", m.slots)}, func(int) ([]pairs.Half, error) {
		rep, err := ninja.Run(ctx, dir, m.graph, m.slots)
		return []pairs.Half{{Value: bound.Seconds()}, {Value: rep.Elapsed.Seconds(), CPU: rep.CPU}}, err
	}, ours)
	if err != nil {
		return nil, err
	}
	return all, rebuilt(ctx, f, broken)
}
