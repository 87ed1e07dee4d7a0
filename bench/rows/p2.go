package rows

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/slipway-build/slipway/bench/farm"
	"github.com/slipway-build/slipway/bench/pairs"
	"github.com/slipway-build/slipway/bench/reference"
	"github.com/slipway-build/slipway/bench/reference/asynq"
	"github.com/slipway-build/slipway/bench/reference/river"
)

// p2 compares P1 with as many jobs of others' queues, which know no graph. The row is the
// worse of the two ratios: the one of the better queue.
func p2(ctx context.Context, b *bench) error {
	store, remove, err := scratch(b.Disk)
	if err != nil {
		return err
	}
	defer remove()
	r := pairs.Result{
		Row: "P2-queue", What: p1What(), Durable: "fsync before ack, on a disk",
		Against: fmt.Sprintf("%d flat jobs that do nothing, 64 workers, first put → last job durably done: River 0.51 on PostgreSQL 15 (synchronous_commit=on) and Asynq 0.26 on Redis 7 (appendfsync always)", runs*layers*width),
	}
	machine := farm.Machine()
	var queues []*farm.Proc
	for _, role := range []string{"river", "asynq"} {
		dir, remove, err := scratch(b.Disk)
		if err != nil {
			return err
		}
		defer remove()
		if dir, err = filepath.Abs(dir); err != nil {
			return fmt.Errorf("find a folder: %w", err)
		}
		var config any = river.Process{Dir: dir}
		if role == "asynq" {
			config = asynq.Process{Dir: dir}
		}
		q, err := farm.Start(ctx, role, config)
		if err != nil {
			return err
		}
		defer q.Stop()
		queues = append(queues, q)
	}
	f, err := farm.New(ctx, farm.Config{Store: store, Workers: twoWorkers()})
	if err != nil {
		return err
	}
	defer func() { f.Stop() }()
	all, err := b.interleaveAll([]string{"P2 River", "P2 Asynq"}, func(int) ([]pairs.Half, error) { return b.flat(queues) }, func(i int) ([]pairs.Half, error) {
		h, err := b.batch(f, b.p1Batch(i), &r.Broken)
		return []pairs.Half{h, h}, err
	})
	if err != nil {
		return err
	}
	if err := rebuilt(ctx, f, &r.Broken); err != nil {
		return err
	}
	return b.worst(r, []pairs.Part{
		{Name: "River", Unit: "tasks/s", Raw: all[0]}, {Name: "Asynq", Unit: "tasks/s", Raw: all[1]},
	}, pairs.Goal{Limit: 3}, machine)
}

// flat measures jobs per second of each queue, one after the other.
func (b *bench) flat(queues []*farm.Proc) ([]pairs.Half, error) {
	out := make([]pairs.Half, len(queues))
	jobs := b.size(runs*layers*width, 1000)
	for i, q := range queues {
		before := farm.Family(q.PID())
		var rep reference.Report
		if err := q.Call("batch", reference.Batch{Jobs: jobs}, &rep); err != nil {
			return nil, err
		}
		out[i] = pairs.Half{Value: float64(jobs) / rep.Elapsed.Seconds(), CPU: farm.Family(q.PID()) - before}
	}
	return out, nil
}
