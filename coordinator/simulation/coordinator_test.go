package simulation_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-build/slipway/coordinator/dispatch"
	"github.com/slipway-build/slipway/coordinator/findings"
	"github.com/slipway-build/slipway/coordinator/journal"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
)

// coordinator is one process: a partition and a dispatcher.
type coordinator struct {
	w        *world
	name     string
	part     *partition.Partition
	dispatch *dispatch.Dispatcher
	ctx      context.Context //nolint:containedctx // ends as the process does
	cancel   context.CancelFunc
	done     chan struct{}
	err      error // of the partition, once done
	replaced bool
	lease    lease
	skew     time.Duration // of its clock
	ids      int
}

// lease is the right to be the owner, as long as nobody else was elected.
type lease struct{ gone atomic.Bool }

// Valid implements partition.Lease.
func (l *lease) Valid() bool { return !l.gone.Load() }
func (*lease) Settled()      {}

// leave: another coordinator was elected.
func (c *coordinator) leave() {
	c.replaced = true
	c.lease.gone.Store(true)
}

// start begins a coordinator to which requests go from now on.
func (w *world) start() {
	c := &coordinator{w: w, name: fmt.Sprint("c", len(w.all)), done: make(chan struct{})}
	if w.faults {
		c.skew = w.between(0, 4*time.Second) - 2*time.Second
	}
	if w.now != nil {
		w.now.leave()
	}
	w.now = c
	w.all = append(w.all, c)
	w.say("%s starts", c.name)
	log := slog.New(slog.DiscardHandler)
	now := func() time.Time { return time.Now().Add(c.skew) }
	c.dispatch = dispatch.New(dispatch.Config{Open: func(context.Context) (dispatch.Queue, error) { return hints{w}, nil }, Log: log, Now: now})
	for _, worker := range w.workers {
		for _, capability := range worker.can {
			c.dispatch.Worker(capability, worker.name, slots)
		}
	}
	c.part = partition.New(partition.Config{
		TTL: ttl, Dispatch: c.dispatch, Effects: c, Listener: c, Inherited: func(r *run.Run) { c.Changed(r, r.Tasks) }, Log: log, Now: now,
		Journal: func(context.Context, int) (partition.Journal, error) {
			return journal.New(disk{w.disk, c}, journal.Config{Owner: c.name, Resend: 500 * time.Millisecond, Snapshots: blobs{w.blobs, c, ""}, Log: log, Now: now}), nil
		},
		Upkeep: partition.Upkeep{Blobs: blobs{w.blobs, c, ""}, Records: w.every, Keep: project.Retention{Runs: kept}, Logs: w.archiver(c), LogsAfter: moved},
		Plans:  func(_ context.Context, hash string) (*plan.Plan, error) { return w.plans.find(hash) },
		Suffix: func() string { c.ids++; return fmt.Sprint(c.name, "x", c.ids) },
	})
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if w.chance(15) { // in order, while it may still wait for the leases of the one before
		w.later(w.between(0, ttl), func() { w.drain(c) })
	}
	go func() {
		defer close(c.done)
		var side sync.WaitGroup
		side.Go(func() { _ = c.dispatch.Run(c.ctx) })
		c.err = c.part.Serve(c.ctx, &c.lease)
		c.cancel()
		side.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.over(c)
	}()
}

// over: a process has ended. One that nobody replaced is started again.
func (w *world) over(c *coordinator) {
	w.say("%s has ended: %v", c.name, c.err)
	if c.err != nil {
		w.bad("I1: %s cannot go on: %v", c.name, c.err)
	}
	if w.now == c {
		w.now = nil
	}
}

// kill ends the process as kill -9 does; what it has sent is under way.
func (w *world) kill(c *coordinator) {
	w.say("%s is killed", c.name)
	if w.now == c {
		w.now = nil
	}
	c.leave()
	c.cancel()
}

// drain has the process leave in order: it is the owner until it has ended.
func (w *world) drain(c *coordinator) {
	w.say("%s is drained", c.name)
	c.cancel()
}

// hints are the queue: at most one of each task, and gone when taken.
type hints struct{ w *world }

func (h hints) EnsureConsumer(context.Context, string) error { return nil }

func (h hints) Drop(context.Context) error {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	clear(h.w.queue)
	return nil
}

func (h hints) Publish(_ context.Context, capability string, tokens ...string) error {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	for _, t := range tokens {
		if h.w.queue[capability] == nil {
			h.w.queue[capability] = map[string]bool{}
		}
		h.w.queue[capability][t] = true
	}
	return nil
}

// Pin and PutBlob take a time that depends on what they are about and on nothing else.
func (c *coordinator) Pin(ctx context.Context, _, _, id string) error {
	return c.takes(ctx, "pin "+id)
}

func (c *coordinator) PutBlob(ctx context.Context, id string, data []byte) (string, error) {
	return plan.Sum(data), c.takes(ctx, id+plan.Sum(data))
}

func (c *coordinator) Judge(ctx context.Context, id string, in findings.Input) (plan.FindingsSummary, string, error) {
	return plan.FindingsSummary{Report: id}, "", c.takes(ctx, id+fmt.Sprint(in.Scans))
}

func (c *coordinator) Sign(ctx context.Context, id, _ string, built plan.Result) (string, error) {
	return "", c.takes(ctx, id+built.Image)
}

func (c *coordinator) takes(ctx context.Context, what string) error {
	h := fnv.New64a()
	_, _ = io.WriteString(h, c.name+what)
	select {
	case <-time.After(time.Duration(h.Sum64() % uint64(200*time.Millisecond))):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if c.w.faults && h.Sum64()%50 == 0 {
		return errors.New("the mirror is broken")
	}
	return nil
}

// Changed implements partition.Listener. I3: terminal is final, whoever shows it.
func (c *coordinator) Changed(r *run.Run, tasks []*run.Task) {
	w := c.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if !c.replaced || r.State.Ended() {
		w.saw(r)
	}
	for _, t := range tasks {
		if c.replaced && !t.State.Ended() {
			continue // what was durable before it was replaced, and is shown late
		}
		key := r.ID + " " + t.Spec.ID
		if was := w.tasks[key]; was.Ended() && was != t.State {
			w.bad("I3: task %s was shown as %s and then as %s", key, was, t.State)
		}
		if w.tasks[key] != t.State {
			w.say("%s: %s is %s", c.name, key, t.State)
		}
		w.tasks[key] = t.State
	}
}

func (w *world) saw(r *run.Run) {
	if was := w.ended[r.ID]; was.Ended() && was != r.State {
		w.bad("I3: run %s was shown as %s and then as %s", r.ID, was, r.State)
	}
	w.ended[r.ID] = r.State
}
