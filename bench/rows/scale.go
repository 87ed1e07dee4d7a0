package rows

import (
	"context"
	"fmt"

	"github.com/slipway-build/slipway/bench/farm"
	"github.com/slipway-build/slipway/bench/node"
	"github.com/slipway-build/slipway/bench/pairs"
)

// flat is how much of the work per CPU second may be lost to the shape of the work.
const flat = 0.8

// scale compares 20,000 tasks in other shapes with those of P1.
func scale(ctx context.Context, b *bench) error {
	for _, part := range []struct {
		row, what string
		batch     node.Batch
	}{
		{"scale-one", "1 run × 20,000 tasks (20 layers of 1,000, two random parents)", node.Batch{Runs: 1, Layers: 20, Width: 1000, Projects: projects}},
		{"scale-many", "1,000 runs × 20 tasks (4 layers of 5, two random parents), submitted at once", node.Batch{Runs: 1000, Layers: 4, Width: 5, Projects: projects, Submitters: 1000}},
	} {
		if !b.wants(part.row) {
			continue
		}
		part.batch.Runs, part.batch.Width = min(part.batch.Runs, b.size(1000, 50)), min(part.batch.Width, b.size(1000, 50))
		r := pairs.Result{Row: part.row, What: part.what, Durable: "fsync before ack, in memory (tmpfs)"}
		if err := b.shape(ctx, r, part.batch); err != nil {
			return err
		}
	}
	return nil
}

// shape is one part of scale.
func (b *bench) shape(ctx context.Context, r pairs.Result, batch node.Batch) error {
	store, remove, err := scratch(b.Tmpfs)
	if err != nil {
		return err
	}
	defer remove()
	r.Unit = "tasks per CPU second of all processes"
	r.Against = fmt.Sprintf("the same with %d runs × %d tasks (%d layers of %d)", runs, layers*width, layers, width)
	machine := farm.Machine()
	f, err := farm.New(ctx, farm.Config{Store: store, Workers: twoWorkers()})
	if err != nil {
		return err
	}
	defer func() { f.Stop() }()
	var kept [2][]float64 // bytes a task that the coordinator keeps: reference, ours
	half := func(which int, shape node.Batch) func(int) (pairs.Half, error) {
		return func(i int) (pairs.Half, error) {
			shape.Seed = uint64(2*i + which)
			c, err := b.cost(f, shape, &r.Broken)
			kept[which] = append(kept[which], c.kept)
			return pairs.Half{Value: 1 / c.cpu, CPU: c.h.CPU}, err
		}
	}
	r.Raw, err = b.interleave(r.Row, half(0, node.Batch{Runs: b.size(runs, 10), Layers: layers, Width: width, Projects: projects}), half(1, batch))
	if err != nil {
		return err
	}
	_, peak, err := farm.Memory(f.Coordinator.PID())
	if err != nil {
		return err
	}
	r.Notes = append(r.Notes,
		fmt.Sprintf("heap that the coordinator keeps, per task, median of the batches: %.0f bytes, reference %.0f", pairs.Median(kept[1]), pairs.Median(kept[0])),
		fmt.Sprintf("the coordinator's peak resident memory over all %d batches: %d MiB", 2*len(r.Raw), peak>>20))
	return b.finish(r, pairs.Goal{Limit: flat}, machine)
}

// spent is what a batch took per task.
type spent struct {
	wall float64 // seconds
	cpu  float64 // seconds of all processes
	kept float64 // bytes of heap that the coordinator keeps
	h    pairs.Half
}

// cost measures what a batch takes per task.
func (b *bench) cost(f *farm.Farm, batch node.Batch, broken *[]string) (spent, error) {
	var before, after uint64
	if err := f.Coordinator.Call("heap", struct{}{}, &before); err != nil {
		return spent{}, err
	}
	h, err := b.batch(f, batch, broken)
	if err != nil {
		return spent{}, err
	}
	if err := f.Coordinator.Call("heap", struct{}{}, &after); err != nil {
		return spent{}, err
	}
	tasks := float64(batch.Runs * batch.Layers * batch.Width)
	return spent{wall: 1 / h.Value, cpu: h.CPU / tasks, kept: (float64(after) - float64(before)) / tasks, h: h}, nil
}
