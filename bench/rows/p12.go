package rows

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-build/slipway/bench/farm"
	"github.com/slipway-build/slipway/bench/node"
	"github.com/slipway-build/slipway/bench/pairs"
	"github.com/slipway-build/slipway/coordinator/plan"
)

// p12 is what tracing and idle workers cost.
func p12(ctx context.Context, b *bench) error {
	if b.wants("P12-tracing") {
		if err := b.tracing(ctx); err != nil {
			return err
		}
	}
	if b.wants("P12-idle") {
		return b.idle(ctx)
	}
	return nil
}

// tracing compares two farms on one disk in memory, one of which traces.
func (b *bench) tracing(ctx context.Context) error {
	r := pairs.Result{
		Row: "P12-tracing", Unit: "tasks/s", What: p1What() + "; every span to a collector in a process of its own, over OTLP",
		Against: "the same by another farm, without tracing", Durable: "fsync before ack, in memory (tmpfs)",
	}
	machine := farm.Machine()
	collector, err := farm.Start(ctx, "collector", node.Collector{})
	if err != nil {
		return err
	}
	defer collector.Stop()
	var farms [2]*farm.Farm // without, with
	for i, to := range []string{"", collector.Address} {
		store, remove, err := scratch(b.Tmpfs)
		if err != nil {
			return err
		}
		defer remove()
		if farms[i], err = farm.New(ctx, farm.Config{Store: store, Workers: twoWorkers(), OTLP: to}); err != nil {
			return err
		}
		defer func() { farms[i].Stop() }()
	}
	r.Raw, err = b.interleave(r.Row, func(i int) (pairs.Half, error) { return b.batch(farms[0], b.p1Batch(i), &r.Broken) }, func(i int) (pairs.Half, error) {
		before := farm.CPU(collector.PID())
		h, err := b.batch(farms[1], b.p1Batch(i), &r.Broken)
		if err != nil {
			return h, err
		}
		said, err := everySpan(farms[1], collector, b.p1Batch(i))
		if said != "" {
			r.Broken = append(r.Broken, said)
		}
		h.CPU += farm.CPU(collector.PID()) - before
		return h, err
	})
	if err != nil {
		return err
	}
	for _, f := range farms {
		if err := rebuilt(ctx, f, &r.Broken); err != nil {
			return err
		}
	}
	return b.finish(r, pairs.Goal{Limit: 0.97}, machine)
}

// everySpan says if spans of a batch did not arrive: tracing at 100 % is all of them.
func everySpan(f *farm.Farm, collector *farm.Proc, of node.Batch) (broken string, err error) {
	const perRun, perTask = 2, 3 // accepted and run; task, queue and attempt
	if err := f.Coordinator.Call("flush", struct{}{}, nil); err != nil {
		return "", err
	}
	var got int
	if err := collector.Call("spans", struct{}{}, &got); err != nil {
		return "", err
	}
	if want := of.Runs * (perRun + of.Layers*of.Width*perTask); got != want {
		return fmt.Sprintf("tracing: %d of %d spans arrived", got, want), nil
	}
	return "", nil
}

// idleFor is how long workers are idle before memory is looked at: the time to live of a
// lease, in which each has sent its heartbeats.
const idleFor = 10 * time.Second

// idle compares what workers that do nothing keep in the coordinator's memory with what
// streams keep in that of a server which has nothing else. Each half has processes of its
// own: a process does not give back all that it once had.
func (b *bench) idle(ctx context.Context) error {
	n := b.size(2000, 100)
	r := pairs.Result{
		Row: "P12-idle", Unit: "bytes", Durable: "nothing is written",
		What:    fmt.Sprintf("resident memory that %d idle workers add to the coordinator, each with a connection and a session that is %s old", n, idleFor),
		Against: fmt.Sprintf("what %d idle streams, each on a connection, add to a gRPC server of the same library that does nothing, neither of the two tuned", n),
	}
	machine := farm.Machine()
	var whole [2][]float64
	half := func(which int, measure func(context.Context, int) (growth, error)) func(int) (pairs.Half, error) {
		return func(int) (pairs.Half, error) {
			g, err := measure(ctx, n)
			whole[which] = append(whole[which], g.all)
			return g.half, err
		}
	}
	var err error
	if r.Raw, err = b.interleave(r.Row, half(0, b.idleStreams), half(1, b.idleWorkers)); err != nil {
		return err
	}
	r.Notes = append(r.Notes, fmt.Sprintf("resident memory of the whole process, median: coordinator %.1f MiB, reference %.1f MiB", pairs.Median(whole[1])/(1<<20), pairs.Median(whole[0])/(1<<20)))
	return b.finish(r, pairs.Goal{Limit: 1.25, AtMost: true}, machine)
}

func (b *bench) idleStreams(ctx context.Context, n int) (growth, error) {
	server, err := farm.Start(ctx, "streams", node.Streams{})
	if err != nil {
		return growth{}, err
	}
	defer server.Stop()
	var clients *farm.Proc
	defer func() {
		if clients != nil {
			clients.Stop()
		}
	}()
	return grown(ctx, server, n, func() (err error) {
		clients, err = farm.Start(ctx, "clients", node.Clients{Server: server.Address, N: n})
		return err
	})
}

func (b *bench) idleWorkers(ctx context.Context, n int) (growth, error) {
	store, remove, err := scratch(b.Tmpfs)
	if err != nil {
		return growth{}, err
	}
	defer remove()
	f, err := farm.New(ctx, farm.Config{Store: store, Sessions: n})
	if err != nil {
		return growth{}, err
	}
	defer f.Stop()
	return grown(ctx, f.Coordinator, n, func() error { return f.StartWorkers(ctx, map[string]int{plan.CapabilityBuild: 1}) })
}

// growth of a process's resident memory, in bytes.
type growth struct {
	half pairs.Half // what was added, and the CPU seconds of the process meanwhile
	all  float64    // what it is then
}

// grown is what a process needs more when n others have connected and then done nothing.
func grown(ctx context.Context, p *farm.Proc, n int, connect func() error) (growth, error) {
	before, err := resident(p)
	if err != nil {
		return growth{}, err
	}
	used := farm.CPU(p.PID())
	if err := connect(); err != nil {
		return growth{}, err
	}
	if err := p.Call("there", n, nil); err != nil {
		return growth{}, err
	}
	select {
	case <-time.After(idleFor):
	case <-ctx.Done():
		return growth{}, context.Cause(ctx)
	}
	after, err := resident(p)
	if err != nil {
		return growth{}, err
	}
	if err := p.Call("there", n, nil); err != nil { // none has gone meanwhile
		return growth{}, err
	}
	return growth{half: pairs.Half{Value: after - before, CPU: farm.CPU(p.PID()) - used}, all: after}, nil
}

func resident(p *farm.Proc) (float64, error) {
	if err := p.Call("settle", struct{}{}, nil); err != nil {
		return 0, err
	}
	now, _, err := farm.Memory(p.PID())
	return float64(now), err
}
