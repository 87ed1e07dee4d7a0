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

// often is after how many records a snapshot is taken where there are snapshots: a few are,
// with the usual ten thousand there would be none.
const often = 500

// p11 is how long a coordinator takes to start in the middle of much work, without and with
// snapshots. A half has the same store each time: a copy of the one that a farm left behind.
func p11(ctx context.Context, b *bench) error {
	const deep, wide = 20, 10
	many := b.size(1000, 20)
	machine := farm.Machine()
	batch := node.Batch{Runs: many, Layers: deep, Width: wide, Projects: projects, Seed: 1}
	names := []string{"P11", "P11-snapshot"}
	starts := []*start{{name: "no snapshots"}, {name: fmt.Sprintf("a snapshot each %d records", b.size(often, 5)), snapshots: uint64(b.size(often, 5))}}
	for _, s := range starts {
		store, remove, err := scratch(b.Disk)
		if err != nil {
			return err
		}
		defer remove()
		s.store = store
		if err := s.leave(ctx, batch); err != nil {
			return err
		}
	}
	var stream string
	all, err := b.interleaveAll(names, func(int) ([]pairs.Half, error) {
		var h pairs.Half
		err := b.restored(ctx, starts[0], func(f *farm.Farm) (err error) {
			h, stream, err = replay(ctx, f)
			return err
		})
		return []pairs.Half{h, h}, err
	}, func(int) ([]pairs.Half, error) {
		out := make([]pairs.Half, len(starts))
		for i, s := range starts {
			err := b.restored(ctx, s, func(f *farm.Farm) (err error) {
				out[i], err = s.dispatched(ctx, f)
				return err
			})
			if err != nil {
				return nil, err
			}
		}
		return out, nil
	})
	if err != nil {
		return err
	}
	for i, goal := range []float64{1.2, 0.2} {
		if !b.wants(names[i]) {
			continue
		}
		r := starts[i].result(batch)
		r.Row, r.Raw = names[i], all[i]
		r.Notes = append(r.Notes, "the stream: "+stream)
		if err := b.finish(r, pairs.Goal{Limit: goal, AtMost: true}, machine); err != nil {
			return err
		}
	}
	return nil
}

// start is one way to start.
type start struct {
	name      string
	snapshots uint64
	store     string
	served    []float64 // seconds from exec until every partition answered
	broken    []string
}

// result is everything but the row's name and the pairs.
func (s *start) result(of node.Batch) pairs.Result {
	tasks := of.Layers * of.Width
	return pairs.Result{
		Unit: "s", Durable: "fsync before ack, on a disk", Broken: s.broken,
		What: fmt.Sprintf("start of a coordinator with %d live tasks, %s: exec → the handler of the first task that it gave to a worker; %d runs of %d tasks (%d layers of %d) of one project, the first half of each done",
			of.Runs*tasks/2, s.name, of.Runs, tasks, of.Layers, of.Width),
		Against: "the journal's stream without snapshots, read in order by one consumer with nothing done to it: subscribed → the last record is there",
		Notes:   []string{fmt.Sprintf("ours answered for every partition after %.3f s, median", pairs.Median(s.served))},
	}
}

// leave makes a store with runs that have stopped in the middle.
func (s *start) leave(ctx context.Context, batch node.Batch) error {
	f, err := farm.New(ctx, farm.Config{Store: s.store, Workers: twoWorkers(), SnapshotEvery: s.snapshots})
	if err != nil {
		return err
	}
	defer func() { f.Stop() }()
	if err := f.Coordinator.Call("live", node.Live{Batch: batch, Rest: plan.CapabilityRender}, nil); err != nil {
		return err
	}
	return rebuilt(ctx, f, &s.broken)
}

// restored measures with NATS on a copy of a store.
func (b *bench) restored(ctx context.Context, s *start, measure func(*farm.Farm) error) error {
	dir, remove, err := scratch(b.Disk)
	if err != nil {
		return err
	}
	defer remove()
	store := filepath.Join(dir, "store")
	if err := os.CopyFS(store, os.DirFS(s.store)); err != nil {
		return fmt.Errorf("copy the store: %w", err)
	}
	f, err := farm.Open(ctx, farm.Config{Store: store, SnapshotEvery: s.snapshots})
	if err != nil {
		return err
	}
	defer f.Stop()
	return measure(f)
}

// dispatched measures from exec to the first dispatch. The worker is started when the
// coordinator listens, which is long before it serves.
func (s *start) dispatched(ctx context.Context, f *farm.Farm) (pairs.Half, error) {
	before := farm.CPU(f.NATS.PID())
	executed := time.Now()
	if err := f.ExecCoordinator(ctx); err != nil {
		return pairs.Half{}, err
	}
	if err := f.StartWorkers(ctx, map[string]int{plan.CapabilityRender: 1}); err != nil {
		return pairs.Half{}, err
	}
	if err := f.Coordinator.Call("served", struct{}{}, nil); err != nil {
		return pairs.Half{}, err
	}
	s.served = append(s.served, time.Since(executed).Seconds())
	var first node.First
	if err := f.Workers[0].Call("first", struct{}{}, &first); err != nil {
		return pairs.Half{}, err
	}
	h := pairs.Half{Value: first.At.Sub(executed).Seconds(), CPU: farm.CPU(f.PIDs()...) - before}
	f.StopWorkers()
	var wrong string
	if err := f.Coordinator.Call("right", first, &wrong); err != nil {
		return h, err
	}
	if wrong != "" {
		s.broken = append(s.broken, wrong)
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
