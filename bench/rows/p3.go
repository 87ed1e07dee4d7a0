package rows

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/bench/farm"
	"github.com/slipway-build/slipway/bench/node"
	"github.com/slipway-build/slipway/bench/pairs"
	"github.com/slipway-build/slipway/coordinator/plan"
)

// p3 is how long a run that does nothing else takes from one task to the next.
func p3(ctx context.Context, b *bench) error {
	store, remove, err := scratch(b.Disk)
	if err != nil {
		return err
	}
	defer remove()
	machine := farm.Machine()
	f, err := farm.New(ctx, farm.Config{Store: store, Workers: []map[string]int{{plan.CapabilityBuild: 1}, {plan.CapabilityRender: 1}}})
	if err != nil {
		return err
	}
	defer func() { f.Stop() }()
	d, err := newDelivery(ctx, f)
	if err != nil {
		return err
	}
	defer d.close()
	var broken []string
	names, hops := []string{"P3-p50", "P3-p99"}, b.size(1000, 50)
	all, err := b.interleaveAll(names, func(int) ([]pairs.Half, error) { return d.hops(ctx, hops) }, func(i int) ([]pairs.Half, error) {
		before := farm.CPU(f.PIDs()...)
		var rep node.HopReport
		if err := f.Coordinator.Call("hops", node.Hops{Runs: hops, First: plan.CapabilityBuild, Second: plan.CapabilityRender, From: i * hops}, &rep); err != nil {
			return nil, err
		}
		broken = append(broken, rep.Broken...)
		return latencies(rep.Hops, farm.CPU(f.PIDs()...)-before), nil
	})
	if err != nil {
		return err
	}
	if err := rebuilt(ctx, f, &broken); err != nil {
		return err
	}
	for i, goal := range []float64{1.5, 2} {
		if !b.wants(names[i]) {
			continue
		}
		r := pairs.Result{
			Row: names[i], Unit: "ms", Durable: "fsync before ack, on a disk", Raw: all[i], Broken: broken,
			What:    fmt.Sprintf("hop of an idle farm, %s of %d: the first task's completion is handed to the session → the second task's handler starts in another process", names[i][3:], hops),
			Against: fmt.Sprintf("raw publish of %d B to one file stream of the same server, one after the other: publish is called → it is acknowledged and a pull that waited on another connection has it", rawSize),
		}
		if err := b.finish(r, pairs.Goal{Limit: goal, AtMost: true}, machine); err != nil {
			return err
		}
	}
	return nil
}

// latencies are the median and the 99th percentile, in milliseconds.
func latencies(hops []time.Duration, cpu float64) []pairs.Half {
	ms := make([]float64, len(hops))
	for i, h := range hops {
		ms[i] = float64(h) / float64(time.Millisecond)
	}
	return []pairs.Half{{Value: pairs.Quantile(ms, 0.5), CPU: cpu}, {Value: pairs.Quantile(ms, 0.99), CPU: cpu}}
}

// delivery is the least that a durable hop needs: one connection publishes, another waits.
type delivery struct {
	raw     *raw
	other   *nats.Conn
	waiting jetstream.MessagesContext
}

func newDelivery(ctx context.Context, f *farm.Farm) (*delivery, error) {
	r, err := newRaw(ctx, f)
	if err != nil {
		return nil, err
	}
	d := &delivery{raw: r}
	if err := d.wait(ctx, f); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// wait opens the pull. It is renewed long before the messages it asked for have come, so
// that one always waits.
func (d *delivery) wait(ctx context.Context, f *farm.Farm) (err error) {
	if d.other, err = nats.Connect(f.NATS.Address); err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	js, err := jetstream.New(d.other)
	if err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	c, err := js.CreateConsumer(ctx, rawStream, jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true})
	if err != nil {
		return fmt.Errorf("make a consumer: %w", err)
	}
	if d.waiting, err = c.Messages(); err != nil {
		return fmt.Errorf("wait for messages: %w", err)
	}
	return nil
}

func (d *delivery) close() {
	if d.waiting != nil {
		d.waiting.Stop()
	}
	if d.other != nil {
		d.other.Close()
	}
	d.raw.nc.Close()
}

// errLate: a message did not come.
var errLate = errors.New("the message was not delivered within a minute")

// hops publishes n messages, each when the one before has come.
func (d *delivery) hops(ctx context.Context, n int) ([]pairs.Half, error) {
	body := make([]byte, rawSize)
	before := farm.CPU(d.raw.server) + farm.Self()
	took := make([]time.Duration, n)
	came := make(chan time.Time, 1)
	go func() { // it ends with the messages that it was asked for, or with the pull
		defer close(came)
		for range n {
			if _, err := d.waiting.Next(); err != nil {
				return
			}
			came <- time.Now()
		}
	}()
	for i := range took {
		start := time.Now()
		if _, err := d.raw.js.Publish(ctx, "raw", body); err != nil {
			return nil, fmt.Errorf("publish: %w", err)
		}
		acked := time.Since(start)
		select {
		case at, ok := <-came:
			if !ok {
				return nil, errLate
			}
			took[i] = max(acked, at.Sub(start))
		case <-time.After(time.Minute):
			return nil, errLate
		}
	}
	cpu := farm.CPU(d.raw.server) + farm.Self() - before
	if err := d.raw.stream.Purge(ctx); err != nil {
		return nil, fmt.Errorf("empty the raw stream: %w", err)
	}
	return latencies(took, cpu), nil
}
