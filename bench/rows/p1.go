package rows

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/bench/farm"
	"github.com/slipway-build/slipway/bench/node"
	"github.com/slipway-build/slipway/bench/pairs"
	"github.com/slipway-build/slipway/bench/slowdisk"
	"github.com/slipway-build/slipway/coordinator/plan"
)

const (
	runs, layers, width = 200, 10, 10
	// rawTime is how long the reference publishes.
	rawTime = 2 * time.Second
	// rawSize and rawPending: 512 B, and how many may be on their way.
	rawSize, rawPending = 512, 256
	rawStream           = "RAW"
)

// twoWorkers have 64 slots together.
func twoWorkers() []map[string]int {
	return []map[string]int{{plan.CapabilityBuild: 32}, {plan.CapabilityBuild: 32}}
}

func p1(ctx context.Context, b *bench) error {
	on := func(dir string) func(context.Context, pairs.Result, pairs.Goal) error {
		return func(ctx context.Context, r pairs.Result, goal pairs.Goal) error {
			return b.throughput(ctx, r, dir, goal)
		}
	}
	for _, part := range []struct {
		row, durable string
		measure      func(context.Context, pairs.Result, pairs.Goal) error
		goal         float64
	}{
		{"P1-disk", "fsync before ack, on a disk", on(b.Disk), 8},
		{"P1-slow", fmt.Sprintf("fsync before ack, each of %s: a small FUSE file system over memory", slowSync), b.slow, 40},
		{"P1-tmpfs", "fsync before ack, in memory (tmpfs)", on(b.Tmpfs), 0.35},
	} {
		if !b.wants(part.row) {
			continue
		}
		if err := part.measure(ctx, pairs.Result{Row: part.row, Durable: part.durable}, pairs.Goal{Limit: part.goal}); err != nil {
			return err
		}
	}
	return nil
}

// slowSync is how long an fsync of the slow disk takes: as long as a network volume's.
const slowSync = 2 * time.Millisecond

// slow is P1 with the store on a slow disk. What the disk's own process uses of the CPU is
// nobody's: both halves need it, and a real one has its own.
func (b *bench) slow(ctx context.Context, r pairs.Result, goal pairs.Goal) error {
	dir, remove, err := scratch(b.Tmpfs)
	if err != nil {
		return err
	}
	defer remove()
	disk, err := farm.Start(ctx, "slowdisk", slowdisk.Process{Dir: dir, Sync: slowSync})
	if err != nil {
		return err
	}
	defer disk.Stop()
	return b.throughput(ctx, r, disk.Address, goal)
}

// throughput is P1 with the store in a folder.
func (b *bench) throughput(ctx context.Context, r pairs.Result, dir string, goal pairs.Goal) error {
	store, remove, err := scratch(dir)
	if err != nil {
		return err
	}
	defer remove()
	r.Unit, r.What = "tasks/s", p1What()
	r.Against = fmt.Sprintf("raw PublishAsync of %d B to one file stream of the same server, %d on their way", rawSize, rawPending)
	machine := farm.Machine()
	f, err := farm.New(ctx, farm.Config{Store: store, Workers: twoWorkers()})
	if err != nil {
		return err
	}
	defer func() { f.Stop() }()
	raw, err := newRaw(ctx, f)
	if err != nil {
		return err
	}
	defer raw.nc.Close()
	r.Raw, err = b.interleave(r.Row, func(int) (pairs.Half, error) { return raw.publish(ctx) }, func(i int) (pairs.Half, error) {
		return b.batch(f, b.p1Batch(i), &r.Broken)
	})
	if err != nil {
		return err
	}
	if err := rebuilt(ctx, f, &r.Broken); err != nil {
		return err
	}
	return b.finish(r, goal, machine)
}

func p1What() string {
	return fmt.Sprintf("%d runs × %d tasks (%d layers of %d, two random parents), no-op tasks, 64 slots in 2 worker processes, R1; first submit → last run durably terminal", runs, layers*width, layers, width)
}

// rebuilt says in broken if another coordinator on the farm's journal serves anything else.
func rebuilt(ctx context.Context, f *farm.Farm, broken *[]string) error {
	said, err := f.Rebuilt(ctx)
	if err == nil && said != "" {
		*broken = append(*broken, said)
	}
	return err
}

// p1Batch is what P1 measures, in pair i.
func (b *bench) p1Batch(i int) node.Batch {
	return node.Batch{Runs: b.size(runs, 10), Layers: layers, Width: width, Projects: projects, Seed: uint64(i)}
}

// projects that the runs belong to: one, so that a single writer orders all of them.
const projects = 1

// batch measures tasks per second.
func (b *bench) batch(f *farm.Farm, batch node.Batch, broken *[]string) (pairs.Half, error) {
	before := farm.CPU(f.PIDs()...)
	var rep node.Report
	if err := f.Coordinator.Call("batch", batch, &rep); err != nil {
		return pairs.Half{}, err
	}
	*broken = append(*broken, rep.Broken...)
	return pairs.Half{Value: float64(rep.Tasks) / rep.Elapsed.Seconds(), CPU: farm.CPU(f.PIDs()...) - before}, nil
}

// raw publishes to a stream of the farm's server.
type raw struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
	server int
}

func newRaw(ctx context.Context, f *farm.Farm) (*raw, error) {
	nc, err := nats.Connect(f.NATS.Address)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(rawPending))
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	s, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: rawStream, Subjects: []string{"raw"}, Storage: jetstream.FileStorage, Replicas: 1})
	if err != nil {
		return nil, fmt.Errorf("make the raw stream: %w", err)
	}
	return &raw{nc, js, s, f.NATS.PID()}, nil
}

// publish measures messages per second that were acknowledged.
func (r *raw) publish(ctx context.Context) (pairs.Half, error) {
	body := make([]byte, rawSize)
	before := farm.CPU(r.server) + farm.Self()
	start := time.Now()
	n := 0
	for time.Since(start) < rawTime {
		if _, err := r.js.PublishAsync("raw", body, jetstream.WithStallWait(time.Minute)); err != nil {
			return pairs.Half{}, fmt.Errorf("publish: %w", err)
		}
		n++
	}
	select {
	case <-r.js.PublishAsyncComplete():
	case <-ctx.Done():
		return pairs.Half{}, context.Cause(ctx)
	}
	took := time.Since(start)
	half := pairs.Half{Value: float64(n) / took.Seconds(), CPU: farm.CPU(r.server) + farm.Self() - before}
	if err := r.stream.Purge(ctx); err != nil {
		return half, fmt.Errorf("empty the raw stream: %w", err)
	}
	return half, nil
}
