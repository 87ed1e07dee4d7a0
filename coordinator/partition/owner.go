package partition

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/internal/failpoint"
	"github.com/slipway-build/slipway/internal/planted"
)

const (
	tick = 100 * time.Millisecond
	// lately is how long ago a run may have ended whose owner had not told everybody.
	lately = time.Minute
	// overtime is how long an owner that was told to leave may take to make its last batch durable.
	overtime = time.Second
	// linger is how long events that nobody waits for may wait for those that somebody does.
	linger = 5 * time.Millisecond
)

// owner is a partition between a claim and the loss of it.
type owner struct {
	cfg     Config
	lease   Lease
	ctx     context.Context //nolint:containedctx // lives exactly as long as the owner
	cancel  context.CancelFunc
	late    context.Context //nolint:containedctx // of appends: lives a little longer, so that the last batch is not in doubt
	end     context.CancelFunc
	st      *project.State
	j       Journal
	epoch   uint64
	count   uint64 // of fences
	leases  map[string]*lease
	teams   map[string]int // of the leases, those of each team's tasks
	leased  map[Load]int   // of the leases, those of each kind
	recount map[Load]bool  // of those, what dispatch was not told
	groups  map[string]*group
	regroup map[*group]bool // in which there may be room
	// Of work that several runs need at once:
	executions map[string]*execution // by what is done
	joined     map[string]*execution // by the token of a task that waits for another
	alone      map[string]bool       // by token: tasks that wait for no other any more
	keeping    map[string]bool       // runs that were canceled, of which something goes on for others
	counted    bool                  // dispatch was told that it knows of all leases
	// quiet: until then no task is released that was ready at that journal time, when the
	// partition was claimed, for its lease may be somebody's. claimed is zero when the owner
	// before left in order.
	quiet   time.Time
	claimed time.Time
	delayed map[string]*waiting // ready tasks that wait for a time, by token
	overdue map[string]*run.Run // runs that must end by a time, by id
	submit  func(context.Context, func(*Tx) error, func(error)) error
	side    sync.WaitGroup // effects and upkeep
	up      upkeep

	// plan is what the command that runs now submits, so that it need not be read back.
	plan     *plan.Plan
	planHash string

	// Of the batch that gathers now:
	at      time.Time
	events  []run.Event
	size    int
	replies []answer
	after   []func()          // acts, once the batch is durable
	touched map[string]int    // run → its place in changes
	changes []change          //
	dirty   map[string]bool   // runs whose consequences were not said yet
	moved   map[string]bool   // runs with events other than AttemptStarted
	left    []run.RolloutLeft // locks that became free
	ended   []*waiting        // tests whose meaning for test cases was not said yet
	over    []*execution      // that have ended and that somebody waited for
	caught  []*waiting        // catch-ups that have ended
	broken  error             // state and event do not fit: a defect
	patient int               // commands whose answers nobody waits for
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
	late, end := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() {
		if l.Valid() {
			time.AfterFunc(overtime, end)
		} else {
			end()
		}
	})
	return &owner{
		cfg: cfg, lease: l, ctx: ctx, cancel: cancel, late: late, end: end, st: st, j: j, epoch: epoch,
		leases: map[string]*lease{}, teams: map[string]int{}, leased: map[Load]int{}, recount: map[Load]bool{}, groups: map[string]*group{}, regroup: map[*group]bool{}, delayed: map[string]*waiting{},
		executions: map[string]*execution{}, joined: map[string]*execution{}, alone: map[string]bool{}, keeping: map[string]bool{}, overdue: map[string]*run.Run{},
		submit: submit, touched: map[string]int{}, moved: map[string]bool{}, dirty: map[string]bool{},
	}
}

func (o *owner) stop() {
	o.cancel()
	o.end()
	o.side.Wait()
	o.cfg.Dispatch.Left(o.cfg.Number)
}

func (o *owner) serve(in *inbox) error {
	t := time.NewTicker(tick)
	defer t.Stop()
	if err := o.commit(); err != nil { // what inheriting decided, at its time
		return err
	}
	o.complete()
	for {
		if err := o.begin(in, t.C); err != nil {
			o.leave()
			return err
		}
		o.gather(in)
		o.await(in)
		if err := o.commit(); err != nil {
			return err
		}
	}
}

// complete tells dispatch that it knows of all leases, once nobody can take one back any more that
// is not in the journal.
func (o *owner) complete() {
	if !o.counted && (o.claimed.IsZero() || !o.cfg.Now().Before(o.quiet)) {
		o.counted = true
		o.lease.Settled()
		o.cfg.Dispatch.Serves(o.cfg.Number)
	}
}

// leave says that all that was given away is in the journal: whoever is next need not wait for
// what it does not know of. An owner that itself still waits for what the one before may have
// given away cannot say so.
func (o *owner) leave() {
	if !o.lease.Valid() || !o.claimed.IsZero() && o.cfg.Now().Before(o.quiet) {
		return
	}
	if err := o.j.Leave(o.late); err != nil {
		o.cfg.Log.WarnContext(o.ctx, "the next owner is not told that this one left in order, and will wait for the leases of this one", "partition", o.cfg.Number, "err", err)
	}
}

// begin waits for what a batch begins with. A tick that is due goes first: however busy
// the partition is, and in one order, so that a simulation replays.
func (o *owner) begin(in *inbox, ticks <-chan time.Time) error {
	if o.ctx.Err() != nil { // however busy it is
		return context.Cause(o.ctx)
	}
	tick := false
	select {
	case <-ticks:
		tick = true
	default:
		if in.waiting() {
			break
		}
		select {
		case <-in.some:
		case <-ticks:
			tick = true
		case <-o.ctx.Done():
			return context.Cause(o.ctx)
		}
	}
	o.at = o.j.Now()
	if tick {
		o.command(func(*Tx) error { o.expire(); o.upkeep(); return nil }) //nolint:errcheck // it answers none
	}
	return nil
}

// gather runs the commands that are there, up to the size of a batch.
func (o *owner) gather(in *inbox) {
	if o.cfg.Yield != nil {
		o.cfg.Yield()
	}
	for o.size < maxBatch {
		c, ok := in.take()
		if !ok {
			return
		}
		o.run(c)
	}
}

// await lets commands join a batch of which nobody waits to hear: leases that were given
// already. Their notes are rarely worth an append of their own, and the end of an attempt
// that comes meanwhile would wait for it.
func (o *owner) await(in *inbox) {
	if !o.unhurried() {
		return
	}
	t := time.NewTimer(linger)
	defer t.Stop()
	for o.unhurried() {
		select {
		case <-in.some:
			o.gather(in)
		case <-t.C:
			return
		case <-o.ctx.Done():
			return
		}
	}
}

// unhurried: all that the batch decided is leases, and all that was to be said about them is
// said.
func (o *owner) unhurried() bool {
	return len(o.events) > 0 && len(o.moved) == 0 && o.patient == len(o.replies) && o.size < maxBatch && o.broken == nil
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
	o.events, o.replies, o.after, o.size, o.patient = nil, nil, nil, 0, 0
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
		failpoint.Hit(failpoint.BatchDecided)
		err = persist(o.late, o.j, o.at, events)
	case len(replies) > 0 && !o.lease.Valid(): // what was read may be old
		err = errExpired
	}
	if err != nil {
		for _, a := range replies {
			a.reply(fmt.Errorf("%w: %w", ErrUnavailable, err))
		}
		return err
	}
	failpoint.Hit(failpoint.BatchDurable)
	for _, a := range replies {
		a.reply(a.err)
	}
	failpoint.Hit(failpoint.BatchAnswered)
	o.recounted()
	for _, f := range after {
		f()
	}
	failpoint.Hit(failpoint.BatchActed)
	o.show()
	return nil
}

// change is what changed in a run.
type change struct {
	r     *run.Run
	tasks []int // their indexes, in any order, some twice
}

// show tells the listener what changed in this batch.
func (o *owner) show() {
	for i := range o.changes {
		c := &o.changes[i]
		slices.Sort(c.tasks)
		c.tasks = slices.Compact(c.tasks)
		tasks := make([]*run.Task, 0, len(c.tasks))
		for _, index := range c.tasks {
			tasks = append(tasks, c.r.Tasks[index].Snapshot())
		}
		o.cfg.Listener.Changed(c.r.Head(), tasks)
		c.r = nil
	}
	o.changes = o.changes[:0]
	clear(o.touched)
}

// touch notes that a run and one of its tasks have changed, or the run alone.
func (o *owner) touch(runID, taskID string) {
	i, ok := o.touched[runID]
	if !ok {
		r, ok := o.st.Run(runID)
		if !ok {
			return
		}
		i = o.another(r)
	}
	c := &o.changes[i]
	if t, ok := c.r.Find(taskID); ok {
		c.tasks = append(c.tasks, t.Index)
	}
}

// another begins the changes of a run, with what an earlier batch left of memory.
func (o *owner) another(r *run.Run) int {
	i := len(o.changes)
	if i < cap(o.changes) {
		o.changes = o.changes[:i+1]
		o.changes[i] = change{r: r, tasks: o.changes[i].tasks[:0]}
	} else {
		o.changes = append(o.changes, change{r: r})
	}
	o.touched[r.ID] = i
	return i
}
