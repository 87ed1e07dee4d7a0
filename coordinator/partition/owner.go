package partition

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/internal/planted"
)

const (
	tick = 100 * time.Millisecond
	// lately is how long ago a run may have ended whose owner had not told everybody.
	lately = time.Minute
)

// owner is a partition between a claim and the loss of it.
type owner struct {
	cfg    Config
	lease  Lease
	ctx    context.Context //nolint:containedctx // lives exactly as long as the owner
	cancel context.CancelFunc
	st     *project.State
	j      Journal
	epoch  uint64
	count  uint64 // of fences
	leases map[string]*lease
	// quiet: until then no inherited task is released, for its lease may be somebody's.
	quiet   time.Time
	delayed map[string]*waiting // ready tasks that wait for a time, by token
	overdue map[string]*run.Run // runs that must end by a time, by id
	submit  func(context.Context, func(*Tx) error, func(error)) error
	side    sync.WaitGroup // effects

	// plan is what the command that runs now submits, so that it need not be read back.
	plan     *plan.Plan
	planHash string

	// Of the batch that gathers now:
	at      time.Time
	events  []run.Event
	size    int
	replies []answer
	after   []func()                // acts, once the batch is durable
	touched map[string]map[int]bool // run → tasks that changed
	order   []string                // touched runs
	dirty   map[string]bool         // runs whose consequences were not said yet
	moved   map[string]bool         // runs with events other than AttemptStarted
	left    []run.RolloutLeft       // locks that became free
	broken  error                   // state and event do not fit: a defect
}

type answer struct {
	reply func(error)
	err   error
}

type waiting struct {
	r *run.Run
	t *run.Task
}

func newOwner(ctx context.Context, cfg Config, l Lease, st *project.State, j Journal, epoch uint64, submit func(context.Context, func(*Tx) error, func(error)) error) *owner {
	ctx, cancel := context.WithCancel(ctx)
	return &owner{
		cfg: cfg, lease: l, ctx: ctx, cancel: cancel, st: st, j: j, epoch: epoch,
		leases: map[string]*lease{}, delayed: map[string]*waiting{}, overdue: map[string]*run.Run{},
		submit: submit, touched: map[string]map[int]bool{}, moved: map[string]bool{}, dirty: map[string]bool{},
	}
}

func (o *owner) stop() {
	o.cancel()
	o.side.Wait()
}

func (o *owner) serve(cmds <-chan command) error {
	t := time.NewTicker(tick)
	defer t.Stop()
	if err := o.commit(); err != nil { // what inheriting decided, at its time
		return err
	}
	for {
		if err := o.begin(cmds, t.C); err != nil {
			return err
		}
	gather:
		for o.size < maxBatch {
			select {
			case c := <-cmds:
				o.run(c)
			default:
				break gather
			}
		}
		if err := o.commit(); err != nil {
			return err
		}
	}
}

// begin waits for what a batch begins with. A tick that is due goes first: however busy
// the partition is, and in one order, so that a simulation replays.
func (o *owner) begin(cmds <-chan command, ticks <-chan time.Time) error {
	var first *command
	select {
	case <-ticks:
	default:
		select {
		case c := <-cmds:
			first = &c
		case <-ticks:
		case <-o.ctx.Done():
			return context.Cause(o.ctx)
		}
	}
	o.at = o.j.Now()
	if first != nil {
		o.run(*first)
		return nil
	}
	o.command(func(*Tx) error { o.expire(); return nil }) //nolint:errcheck // it answers none
	return nil
}

// run runs one command and keeps its answer until the batch is durable.
func (o *owner) run(c command) {
	err := o.command(c.do)
	o.replies = append(o.replies, answer{c.reply, err})
}

func (o *owner) command(do func(*Tx) error) error {
	err := do(&Tx{o: o})
	o.settle()
	return err
}

// commit appends the batch, then acts. After an error nothing of the batch is true.
func (o *owner) commit() error {
	events, replies, after := o.events, o.replies, o.after
	o.events, o.replies, o.after, o.size = nil, nil, nil, 0
	clear(o.moved)
	err := o.broken
	if planted.AnswerBeforeDurable.On() && err == nil {
		for _, a := range replies {
			a.reply(a.err)
		}
		replies = nil
	}
	switch {
	case err != nil:
	case len(events) > 0:
		err = persist(o.ctx, o.j, o.at, events)
	case len(replies) > 0 && !o.lease.Valid(): // what was read may be old
		err = errExpired
	}
	if err != nil {
		for _, a := range replies {
			a.reply(fmt.Errorf("%w: %w", ErrUnavailable, err))
		}
		return err
	}
	for _, a := range replies {
		a.reply(a.err)
	}
	for _, f := range after {
		f()
	}
	o.show()
	return nil
}

// show tells the listener what changed in this batch.
func (o *owner) show() {
	for _, id := range o.order {
		r, ok := o.st.Run(id)
		if !ok {
			continue
		}
		indexes := slices.Sorted(maps.Keys(o.touched[id]))
		tasks := make([]*run.Task, 0, len(indexes))
		for _, i := range indexes {
			tasks = append(tasks, r.Tasks[i].Snapshot())
		}
		o.cfg.Listener.Changed(r.Head(), tasks)
	}
	o.order = nil
	clear(o.touched)
}

func (o *owner) touch(runID, taskID string) {
	r, ok := o.st.Run(runID)
	if !ok {
		return
	}
	set, ok := o.touched[runID]
	if !ok {
		set = map[int]bool{}
		o.touched[runID] = set
		o.order = append(o.order, runID)
	}
	if t, ok := r.Find(taskID); ok {
		set[t.Index] = true
	}
}
