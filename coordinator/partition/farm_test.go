package partition_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/slipway-build/slipway/coordinator/journal"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/snapshot/snapshottest"
)

// The clock of an embedded NATS server outlives it for a moment.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

const ttl = 10 * time.Second

// tb is what *testing.T and *rapid.T share.
type tb interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// clock is moved by the test.
type clock struct {
	mu   sync.Mutex
	now  time.Time
	step time.Duration // each look moves it on by this
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(c.step)
	return c.now
}

func (c *clock) runs(step time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.step = step
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// owner is a partition that runs.
type owner struct {
	*partition.Partition
	cancel context.CancelFunc
	done   chan struct{}
	err    error // of Run, once done
}

// leased is the right to be the owner until the process is killed.
type leased struct{ gone atomic.Bool }

func (l *leased) Valid() bool { return !l.gone.Load() }
func (*leased) Settled()      {}

// farm is one partition over a real journal, whose owner can be changed.
type farm struct {
	t        tb
	number   int
	js       *wires
	clock    *clock
	planning sync.Mutex
	plans    map[string]*plan.Plan
	board    *board
	effects  *effects
	shown    *shown
	blobs    *snapshottest.Blobs
	upkeep   partition.Upkeep // of the next owner
	ids      int
	*owner
}

func newFarm(t tb, js jetstream.JetStream, number int) *farm {
	t.Helper()
	f := &farm{
		t: t, number: number, js: &wires{JetStream: js}, clock: &clock{now: time.Unix(1_000_000, 0).UTC()}, plans: map[string]*plan.Plan{},
		effects: &effects{}, blobs: &snapshottest.Blobs{}, shown: &shown{tasks: map[string]run.TaskState{}, runs: map[string]run.State{}},
	}
	f.owner = f.start()
	return f
}

// start begins to serve, and does not wait for it.
func (f *farm) start() *owner {
	f.board = &board{ready: map[string]string{}}
	o := &owner{done: make(chan struct{})}
	o.Partition = partition.New(partition.Config{
		Number: f.number, TTL: ttl, Journal: func(ctx context.Context, number int) (partition.Journal, error) {
			return journal.Open(ctx, f.js, journal.Config{Partition: number, Owner: "test", Snapshots: f.blobs, Log: slog.New(slog.DiscardHandler), Now: f.clock.Now})
		},
		Dispatch: f.board, Effects: f.effects, Listener: f.shown, Upkeep: f.upkeep,
		Plans: func(_ context.Context, hash string) (*plan.Plan, error) {
			f.planning.Lock()
			defer f.planning.Unlock()
			return f.plans[hash], nil
		},
		Log: slog.New(slog.DiscardHandler), Now: f.clock.Now, Suffix: func() string { f.ids++; return fmt.Sprint("x", f.ids) },
	})
	ctx, cancel := context.WithCancel(f.t.Context())
	held := &leased{}
	o.cancel, f.js.kill = cancel, func() {
		held.gone.Store(true)
		cancel()
	}
	go func() {
		defer close(o.done)
		o.err = o.Serve(ctx, held)
	}()
	for !o.Here() && !o.ended() { // until then commands are refused: it is nobody's
		runtime.Gosched()
	}
	return o
}

func (o *owner) stop() error {
	o.cancel()
	<-o.done
	return o.err
}

func (o *owner) ended() bool {
	select {
	case <-o.done:
		return true
	default:
		return false
	}
}

// close ends the farm.
func (f *farm) close() {
	f.t.Helper()
	if err := f.stop(); err != nil {
		f.t.Errorf("partition: %v", err)
	}
}

// must runs a command that cannot fail.
func (f *farm) must(do func(*partition.Tx) error) {
	f.t.Helper()
	if err := f.Do(f.t.Context(), do); err != nil {
		if f.ended() {
			f.t.Fatalf("%v: %v", err, f.err)
		}
		f.t.Fatalf("%v", err)
	}
}

// eventually polls: it fails the test after a deadline that no healthy machine needs.
func (f *farm) eventually(what string, ok func() bool) {
	f.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			f.t.Fatalf("not so after 30 s: %s", what)
		}
	}
}

// idle says that nothing goes on by itself: the coordinator's own work is done.
func (f *farm) idle() bool {
	idle := true
	err := f.Do(f.t.Context(), func(tx *partition.Tx) error {
		for _, r := range tx.State().Runs("", 1<<20) {
			for _, t := range r.Tasks {
				if slices.Contains([]plan.Kind{plan.KindCheckout, plan.KindFindings, plan.KindSign, plan.KindRelease}, t.Spec.Kind) && t.State == run.TaskReady {
					idle = false
				}
			}
		}
		return nil
	})
	if err != nil || !idle {
		return false
	}
	// What a batch makes known follows its answers: the next command comes after that.
	return f.Do(f.t.Context(), func(*partition.Tx) error { return nil }) == nil
}

// state is the state that is served, for after the owner has ended.
func (f *farm) state() *project.State {
	f.t.Helper()
	var st *project.State
	f.must(func(tx *partition.Tx) error { st = tx.State(); return nil })
	return st
}

// runs are copies of all runs, oldest first.
func (f *farm) runs() []*run.Run {
	f.t.Helper()
	var out []*run.Run
	f.must(func(tx *partition.Tx) error {
		out = nil
		for _, h := range tx.Runs("", 1<<20) {
			r, err := tx.Run(h.ID)
			if err != nil {
				return err
			}
			out = append(out, r)
		}
		return nil
	})
	slices.Reverse(out)
	return out
}

func (f *farm) run(id string) *run.Run {
	f.t.Helper()
	var r *run.Run
	f.must(func(tx *partition.Tx) (err error) { r, err = tx.Run(id); return err })
	return r
}

// tick moves the clock on and does what a tick does.
func (f *farm) tick(d time.Duration) error {
	f.clock.advance(d)
	return f.Do(f.t.Context(), func(tx *partition.Tx) error { tx.Expire(); return nil })
}

// submission of a plan that Plans knows then.
func (f *farm) submission(p *plan.Plan, key, request string) partition.Submission {
	f.t.Helper()
	hash, err := plan.Hash(*p)
	if err != nil {
		f.t.Fatalf("%v", err)
	}
	f.planning.Lock()
	f.plans[hash] = p
	f.planning.Unlock()
	return partition.Submission{Plan: p, PlanHash: hash, Key: key, RequestHash: request, SubmittedBy: "anna", TraceID: func(id string) string { return "trace of " + id }}
}

// submit accepts a plan as a run.
func (f *farm) submit(p *plan.Plan) string {
	f.t.Helper()
	s := f.submission(p, "", "")
	var id string
	f.must(func(tx *partition.Tx) (err error) { id, _, err = tx.Accept(s); return err })
	f.eventually("the commit is pinned", f.idle)
	return id
}

// lease gives a task of a run to a worker.
func (f *farm) lease(id, task string, sink partition.Sink) (partition.Work, error) {
	var work partition.Work
	err := f.Do(f.t.Context(), func(tx *partition.Tx) error {
		r, err := tx.Run(id)
		if err != nil {
			return err
		}
		t, ok := r.Find(task)
		if !ok {
			return partition.ErrNotFound
		}
		work, _, err = tx.Lease(tx.Token(r, t), partition.Worker{Name: "w", Instance: "w's process"}, sink)
		return err
	})
	return work, err
}

func (f *farm) hold(id, task string) partition.Work {
	f.t.Helper()
	w, err := f.lease(id, task, nil)
	if err != nil {
		f.t.Fatalf("lease %s of %s: %v", task, id, err)
	}
	return w
}

func (f *farm) end(w partition.Work, o run.Outcome) {
	f.t.Helper()
	rep := run.Report{Attempt: run.Attempt{Outcome: o, Message: "so it ended"}}
	if w.Task.Kind == plan.KindRender && o == run.OutcomeSucceeded {
		rep.Result.Manifests = "manifests of " + w.Run
	}
	f.must(func(tx *partition.Tx) error { return tx.Complete(w.Ref, rep) })
	f.eventually("the coordinator's own work is done", f.idle)
}

// do carries out tasks of a run.
func (f *farm) do(id string, tasks ...string) {
	f.t.Helper()
	for _, task := range tasks {
		f.end(f.hold(id, task), run.OutcomeSucceeded)
	}
}

// read folds the journal from its beginning, as the next owner would. It claims it.
func (f *farm) read() (*project.State, []journal.Record) {
	f.t.Helper()
	j, err := journal.Open(f.t.Context(), f.js, journal.Config{Partition: f.number, Owner: "reader", Log: slog.New(slog.DiscardHandler), Now: f.clock.Now})
	if err != nil {
		f.t.Fatalf("%v", err)
	}
	st := project.New(func(hash string) (*plan.Plan, error) { return f.plans[hash], nil })
	var records []journal.Record
	_, err = j.Claim(f.t.Context(), func(rec journal.Record) error {
		records = append(records, rec)
		for _, e := range rec.Events {
			if err := st.Apply(e, rec.Time); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		f.t.Fatalf("read the journal: %v", err)
	}
	return st, records
}
