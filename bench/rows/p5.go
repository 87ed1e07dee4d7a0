package rows

import (
	"context"
	"fmt"

	"github.com/slipway-build/slipway/bench/farm"
	"github.com/slipway-build/slipway/bench/node"
	"github.com/slipway-build/slipway/bench/pairs"
)

// p5 compares one large graph with as many tasks in small ones. The small ones are
// submitted together and are as deep as the large one, so that the same slots are as busy
// and only the size of a graph differs: one after the other they would wait for hops, and
// look dearer than they are.
func p5(ctx context.Context, b *bench) error {
	const deep, small = 20, 10 // layers; width of a small graph
	many := b.size(100, 5)
	store, remove, err := scratch(b.Tmpfs)
	if err != nil {
		return err
	}
	defer remove()
	r := pairs.Result{
		Row: "P5", Durable: "fsync before ack, in memory (tmpfs)",
		What:    fmt.Sprintf("a task of 1 run × %d tasks (%d layers of %d, two random parents), no-op tasks, 64 slots in 2 worker processes", deep*small*many, deep, small*many),
		Against: fmt.Sprintf("a task of %d runs × %d tasks (%d layers of %d), submitted together, on the same farm", many, deep*small, deep, small),
	}
	machine := farm.Machine()
	f, err := farm.New(ctx, farm.Config{Store: store, Workers: twoWorkers()})
	if err != nil {
		return err
	}
	defer func() { f.Stop() }()
	half := func(which int, shape node.Batch) func(int) ([]pairs.Half, error) {
		return func(i int) ([]pairs.Half, error) {
			shape.Seed = uint64(2*i + which)
			c, err := b.cost(f, shape, &r.Broken)
			return []pairs.Half{{Value: c.wall * 1e6, CPU: c.h.CPU}, {Value: c.cpu * 1e6, CPU: c.h.CPU}, {Value: c.kept, CPU: c.h.CPU}}, err
		}
	}
	all, err := b.interleaveAll([]string{"P5 wall", "P5 CPU", "P5 memory"},
		half(0, node.Batch{Runs: many, Layers: deep, Width: small, Projects: projects}),
		half(1, node.Batch{Runs: 1, Layers: deep, Width: small * many, Projects: projects}))
	if err != nil {
		return err
	}
	_, peak, err := farm.Memory(f.Coordinator.PID())
	if err != nil {
		return err
	}
	r.Notes = append(r.Notes, fmt.Sprintf("the coordinator's peak resident memory over all %d batches: %d MiB", 2*len(all[0]), peak>>20))
	if err := rebuilt(ctx, f, &r.Broken); err != nil {
		return err
	}
	return b.worst(r, []pairs.Part{
		{Name: "wall", Unit: "µs a task", Raw: all[0]},
		{Name: "CPU", Unit: "CPU µs of all processes a task", Raw: all[1]},
		{Name: "memory", Unit: "bytes of heap that the coordinator keeps a task", Raw: all[2]},
	}, pairs.Goal{Limit: 1.05, AtMost: true}, machine)
}
