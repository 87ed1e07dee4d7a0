package rows

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/bench/farm"
	"github.com/slipway-build/slipway/bench/node"
	"github.com/slipway-build/slipway/bench/pairs"
	"github.com/slipway-build/slipway/coordinator/plan"
)

// p11 is how long a coordinator takes to start in the middle of much work. Both halves have
// the same store each time: a copy of the one that a farm left behind.
func p11(ctx context.Context, b *bench) error {
	const deep, wide = 20, 10
	many := b.size(1000, 20)
	machine := farm.Machine()
	r := pairs.Result{
		Row: "P11", Unit: "s", Durable: "fsync before ack, on a disk",
		What: fmt.Sprintf("start of a coordinator with %d live tasks, without snapshots: exec → the handler of the first task that it gave to a worker; %d runs of %d tasks (%d layers of %d) of one project, the first half of each done",
			many*deep*wide/2, many, deep*wide, deep, wide),
		Against: "the journal's stream, read in order by one consumer with nothing done to it: subscribed → the last record is there",
	}
	store, remove, err := scratch(b.Disk)
	if err != nil {
		return err
	}
	defer remove()
	batch := node.Batch{Runs: many, Layers: deep, Width: wide, Projects: projects, Seed: 1}
	if err := leave(ctx, store, batch, &r.Broken); err != nil {
		return err
	}
	var stream string
	var d dispatches
	half := func(measure func(context.Context, *farm.Farm) (pairs.Half, error)) func(int) (pairs.Half, error) {
		return func(int) (pairs.Half, error) { return b.restored(ctx, store, measure) }
	}
	r.Raw, err = b.interleave(r.Row, half(func(ctx context.Context, f *farm.Farm) (h pairs.Half, err error) {
		h, stream, err = replay(ctx, f)
		return h, err
	}), half(func(ctx context.Context, f *farm.Farm) (pairs.Half, error) { return dispatched(ctx, f, &d) }))
	if err != nil {
		return err
	}
	r.Broken = append(r.Broken, d.broken...)
	r.Notes = append(r.Notes, "the stream: "+stream,
		fmt.Sprintf("ours answered for every partition after %.3f s, median; then it waits until no lease of the owner before can be believed any more", pairs.Median(d.served)))
	return b.finish(r, pairs.Goal{Limit: 1.2, AtMost: true}, machine)
}

// leave makes a store with runs that have stopped in the middle.
func leave(ctx context.Context, store string, batch node.Batch, broken *[]string) error {
	f, err := farm.New(ctx, farm.Config{Store: store, Workers: twoWorkers()})
	if err != nil {
		return err
	}
	defer func() { f.Stop() }()
	if err := f.Coordinator.Call("live", node.Live{Batch: batch, Rest: plan.CapabilityRender}, nil); err != nil {
		return err
	}
	return rebuilt(ctx, f, broken)
}

// restored measures with NATS on a copy of a store.
func (b *bench) restored(ctx context.Context, store string, measure func(context.Context, *farm.Farm) (pairs.Half, error)) (pairs.Half, error) {
	dir, remove, err := scratch(b.Disk)
	if err != nil {
		return pairs.Half{}, err
	}
	defer remove()
	if err := os.CopyFS(filepath.Join(dir, "store"), os.DirFS(store)); err != nil {
		return pairs.Half{}, fmt.Errorf("copy the store: %w", err)
	}
	f, err := farm.Open(ctx, farm.Config{Store: filepath.Join(dir, "store")})
	if err != nil {
		return pairs.Half{}, err
	}
	defer f.Stop()
	return measure(ctx, f)
}

// dispatches is what ours said besides.
type dispatches struct {
	served []float64 // seconds from exec until every partition answered
	broken []string
}

// dispatched measures from exec to the first dispatch. The worker is started when the
// coordinator listens, which is long before it serves.
func dispatched(ctx context.Context, f *farm.Farm, d *dispatches) (pairs.Half, error) {
	before := farm.CPU(f.NATS.PID())
	start := time.Now()
	if err := f.ExecCoordinator(ctx); err != nil {
		return pairs.Half{}, err
	}
	if err := f.StartWorkers(ctx, map[string]int{plan.CapabilityRender: 1}); err != nil {
		return pairs.Half{}, err
	}
	if err := f.Coordinator.Call("served", struct{}{}, nil); err != nil {
		return pairs.Half{}, err
	}
	d.served = append(d.served, time.Since(start).Seconds())
	var first node.First
	if err := f.Workers[0].Call("first", struct{}{}, &first); err != nil {
		return pairs.Half{}, err
	}
	h := pairs.Half{Value: first.At.Sub(start).Seconds(), CPU: farm.CPU(f.PIDs()...) - before}
	f.StopWorkers()
	var wrong string
	if err := f.Coordinator.Call("right", first, &wrong); err != nil {
		return h, err
	}
	if wrong != "" {
		d.broken = append(d.broken, wrong)
	}
	return h, nil
}

// journals is how the names of the journal's streams begin.
const journals = "SLIPWAY_JOURNAL_"

// replay reads the longest of the journal's streams: that of the project.
func replay(ctx context.Context, f *farm.Farm) (h pairs.Half, what string, err error) {
	nc, err := nats.Connect(f.NATS.Address)
	if err != nil {
		return h, "", fmt.Errorf("connect to NATS: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return h, "", fmt.Errorf("open JetStream: %w", err)
	}
	longest, err := journal(ctx, js)
	if err != nil {
		return h, "", err
	}
	before := farm.CPU(f.NATS.PID()) + farm.Self()
	start := time.Now()
	c, err := js.OrderedConsumer(ctx, longest.Config.Name, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		return h, "", fmt.Errorf("read the journal: %w", err)
	}
	it, err := c.Messages()
	if err != nil {
		return h, "", fmt.Errorf("read the journal: %w", err)
	}
	defer it.Stop()
	bytes := 0
	for at := uint64(0); at < longest.State.LastSeq; {
		m, err := it.Next()
		if err != nil {
			return h, "", fmt.Errorf("read the journal after record %d: %w", at, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return h, "", fmt.Errorf("read the journal: %w", err)
		}
		at, bytes = meta.Sequence.Stream, bytes+len(m.Data())
	}
	h = pairs.Half{Value: time.Since(start).Seconds(), CPU: farm.CPU(f.NATS.PID()) + farm.Self() - before}
	return h, fmt.Sprintf("%d records, %d bytes", longest.State.Msgs, bytes), nil
}

func journal(ctx context.Context, js jetstream.JetStream) (*jetstream.StreamInfo, error) {
	var longest *jetstream.StreamInfo
	all := js.ListStreams(ctx)
	for s := range all.Info() {
		if strings.HasPrefix(s.Config.Name, journals) && (longest == nil || s.State.Bytes > longest.State.Bytes) {
			longest = s
		}
	}
	if err := all.Err(); err != nil {
		return nil, fmt.Errorf("list streams: %w", err)
	}
	if longest == nil {
		return nil, fmt.Errorf("no stream is named %s…", journals)
	}
	return longest, nil
}
