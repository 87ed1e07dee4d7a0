package partition

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/coordinator/findings"
	"github.com/slipway-build/slipway/coordinator/journal"
	"github.com/slipway-build/slipway/coordinator/placement"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/internal/failpoint"
)

// Errors of this package.
var (
	// ErrUnavailable: the partition is not served now (starting, or the journal cannot
	// be written). The command may or may not take effect; ask again.
	ErrUnavailable = errors.New("the partition is not available")
	// ErrElsewhere: another coordinator owns the partition, or nobody does. The command
	// took no effect.
	ErrElsewhere = fmt.Errorf("%w: another coordinator has it", ErrUnavailable)
	// ErrBusy: too many commands wait for the partition already. The command took no effect.
	ErrBusy = fmt.Errorf("%w: %d requests wait for it already, ask again", ErrUnavailable, maxInbox)
	// ErrNotFound: there is no such run or task.
	ErrNotFound = errors.New("not found")
	// ErrKeyReused: the idempotency key came with another request before.
	ErrKeyReused = errors.New("the idempotency key was used for another request")
	// ErrAborted: the lease is not held any more; the report is not used.
	ErrAborted = errors.New("the lease is not held")
)

// Dispatcher makes ready tasks known. It is called from the partition's goroutine and
// must not block.
type Dispatcher interface {
	Ready(capability, token string, priority Priority)
	Gone(capability, token string)
	Counter
	// Left: this process is not the owner any more, and what it said of that partition's
	// tasks is not its to say.
	Left(partition int)
}

// Counter knows how much is leased in all partitions of this process.
type Counter interface {
	// Running says how many tasks of a team a partition has leased.
	Running(partition int, team string, n int)
	// Room asks whether one more task of a team may be leased, of those that the limit of its
	// plan leaves to this process, and says how many are and may be if not. One that may counts
	// until Running says otherwise.
	Room(partition int, team string, limit int) (room Room, ok bool)
	// Leased says how many tasks of a kind a partition has leased.
	Leased(partition int, l Load, n int)
	// Serves: all leases of the partition are known here, and were said.
	Serves(partition int)
}

// Load is what leases are counted by: the workers that they take, and for whom.
type Load struct {
	Capability string
	Class      string // of plan.Class…
	Team       string // empty: nobody's
	Share      int    // of the team
	Project    string
}

// Room is how many tasks of a team are leased, and may be.
type Room struct {
	Running int // in the farm, as far as is known
	Limit   int // of the farm
	May     int // of this process; less than Limit where there are others
}

// Priority is what the order of ready tasks of a capability is decided from.
type Priority struct {
	Team    string // empty: nobody's
	Share   int    // of the team
	Running int    // how many tasks of the team may be leased at once; 0: any number
	Project string
	Run     string
	Since   uint64        // when the run was accepted
	Index   int           // in the order of the plan
	Bottom  time.Duration // of the longest path from the task to the end of the run
	Class   string        // of plan.Class…
	Needs   []placement.Need
}

// Effects are what only the coordinator may do for a task, outside the partition.
type Effects interface {
	// Pin keeps the commit in the mirror for the run.
	Pin(ctx context.Context, repository, commit, run string) error
	// PutBlob stores data under its digest, for the run.
	PutBlob(ctx context.Context, run string, data []byte) (digest string, err error)
	// Judge says what is to be said about what scans found, for the run.
	Judge(ctx context.Context, run string, in findings.Input) (sum plan.FindingsSummary, message string, err error)
	// Sign signs the image that a build left with a key, for the run, and what is known about it.
	Sign(ctx context.Context, run, key string, built plan.Result) (message string, err error)
}

// Listener is shown what was committed. It is called from the partition's goroutine with
// copies, and must not block.
type Listener interface {
	// Changed: the run or some of its tasks changed. tasks are those that changed.
	Changed(r *run.Run, tasks []*run.Task)
}

// Journal is the record of a partition, as one owner sees it; journal.Journal is the
// real one.
type Journal interface {
	// Resume reads the journal from the newest snapshot on that begin can use, and makes its
	// caller the owner.
	Resume(ctx context.Context, begin func(project.Saved) error, fold func(journal.Record) error) (epoch uint64, err error)
	// Append makes events durable at a time that Now gave.
	Append(ctx context.Context, at time.Time, events []run.Event) (journal.Record, error)
	// Leave notes that the owner leaves in order.
	Leave(ctx context.Context) error
	// Now is the journal time of an append made now.
	Now() time.Time
	Snapshots
}

// Config of a partition.
type Config struct {
	Number int
	// Journal opens the journal of a partition, for one owner.
	Journal  func(ctx context.Context, number int) (Journal, error)
	Replicas int                 // of the map of projects
	JS       jetstream.JetStream // of a Set, for its map of projects
	Plans    func(ctx context.Context, hash string) (*plan.Plan, error)
	TTL      time.Duration // of a lease
	Dispatch Dispatcher
	Effects  Effects
	Listener Listener
	// Inherited is told of runs that the owner before may not have spoken of to the end:
	// those that go on and those that ended lately. May be nil; must not block.
	Inherited func(*run.Run)
	Upkeep    Upkeep
	// Trust says whose fault it is that tests fail; nil: always theirs.
	Trust Trust
	Log   *slog.Logger
	Now   func() time.Time
	// Yield lets those who are about to bring a command do so before a batch is made of
	// those that are there; nil: nobody is waited for, as in a simulation that replays.
	Yield  func()
	Suffix func() string // of a run id: makes it unique over wiped journals
}

// Trust says whose fault it is that a test failed: trust.Watch. It does not block.
type Trust interface {
	// Passed notes that a test passed on a worker.
	Passed(worker string)
	// Failed notes that one failed. True: it must be carried out on another worker.
	Failed(worker, token, name string) (doubted bool)
	// Judged notes what became of a test of which that was true.
	Judged(token string, became run.TaskState)
}

// Lease is the right to be the owner.
type Lease interface {
	// Valid reports that nobody else can be the owner now.
	Valid() bool
	// Settled is called once the owner waits no more for what the one before it may have given away.
	Settled()
}

// Always is the lease of an owner that has no rival.
type Always struct{}

// Valid implements Lease.
func (Always) Valid() bool { return true }

// Settled implements Lease.
func (Always) Settled() {}

// Partition owns one partition while Serve runs.
type Partition struct {
	cfg Config

	mu   sync.Mutex
	term *term // nil: not the owner
}

// term is one time of being the owner.
type term struct{ in *inbox }

type command struct {
	do    func(*Tx) error
	reply func(error)
}

// New makes a partition that serves when Serve runs.
func New(cfg Config) *Partition { return &Partition{cfg: cfg} }

// Number of the partition.
func (p *Partition) Number() int { return p.cfg.Number }

// Here reports that this process is the owner, or about to be.
func (p *Partition) Here() bool { return p.current() != nil }

func (p *Partition) current() *term {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.term
}

// Do runs a command and answers after what it decided is durable. What do read is true
// then too: reads are commands without events. When the context ends first, the command
// may or may not have run, but it does not run any more: do may write the caller's
// variables. It does not wait for room among the commands that wait.
func (p *Partition) Do(ctx context.Context, do func(*Tx) error) error {
	var mu sync.Mutex
	gone := false
	run := func(tx *Tx) error {
		mu.Lock()
		defer mu.Unlock()
		if gone {
			return context.Cause(ctx)
		}
		return do(tx)
	}
	t := p.current()
	if t == nil {
		return ErrElsewhere
	}
	done := make(chan error, 1)
	room, err := t.in.try(command{run, func(err error) { done <- err }})
	switch {
	case err != nil:
		return err
	case room != nil:
		return ErrBusy
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		mu.Lock()
		defer mu.Unlock()
		gone = true
		return context.Cause(ctx)
	}
}

// Try is Go that does not wait for room, and answers ErrBusy instead: for those who are called
// by a partition themselves.
func (p *Partition) Try(do func(*Tx) error, reply func(error)) error {
	t := p.current()
	if t == nil {
		return ErrElsewhere
	}
	room, err := t.in.try(command{do, reply})
	if room != nil {
		return ErrBusy
	}
	return err
}

// Go is Do that waits for room, and calls reply instead of waiting for the answer: once, if Go answers nil, and never
// otherwise. reply must not block: it is called from the partition's goroutine, or, when
// the partition ends, from whichever notices.
func (p *Partition) Go(ctx context.Context, do func(*Tx) error, reply func(error)) error {
	t := p.current()
	if t == nil {
		return ErrElsewhere
	}
	return t.in.put(ctx, command{do, reply})
}

// Serve claims the partition and serves it until the context ends, or another owner has
// claimed. It claims again after a failed append, while the lease is valid; it gives up
// when the journal cannot be read. One Serve runs at a time.
func (p *Partition) Serve(ctx context.Context, l Lease) error {
	t := &term{in: newInbox()}
	p.mu.Lock()
	p.term = t
	p.mu.Unlock()
	defer t.in.close()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.term = nil
	}()
	for ctx.Err() == nil {
		err := errExpired
		if l.Valid() {
			err = p.own(ctx, t, l)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, journal.ErrLost):
			p.cfg.Log.WarnContext(ctx, "another coordinator has claimed the partition, leaving it to that one", "partition", p.cfg.Number, "err", err)
			p.pause(ctx)
			return nil
		case errors.Is(err, journal.ErrCorrupt), errors.Is(err, journal.ErrNewer), errors.Is(err, journal.ErrRefused):
			return fmt.Errorf("partition %d: %w", p.cfg.Number, err)
		}
		p.cfg.Log.ErrorContext(ctx, "partition stopped, building its state again from the journal", "partition", p.cfg.Number, "err", err)
		p.pause(ctx)
	}
	return nil
}

// pause before the journal is claimed again.
func (p *Partition) pause(ctx context.Context) {
	select {
	case <-time.After(200 * time.Millisecond):
	case <-ctx.Done():
	}
}

// own claims, replays and serves.
func (p *Partition) own(ctx context.Context, t *term, l Lease) error {
	j, err := p.cfg.Journal(ctx, p.cfg.Number)
	if err != nil {
		return fmt.Errorf("open the journal: %w", err)
	}
	var o *owner
	var loaded map[string]*plan.Plan // of a snapshot
	ahead := newAhead(p.cfg.Plans)
	plans := func(hash string) (*plan.Plan, error) {
		if o != nil && o.plan != nil && o.planHash == hash {
			return o.plan, nil
		}
		if l := loaded[hash]; l != nil {
			return l, nil
		}
		return ahead.plan(ctx, hash)
	}
	st := project.New(plans)
	records, saved := 0, 0
	fold := func(rec journal.Record) error {
		if err := st.Fold(rec.Events, rec.Time); err != nil {
			return fmt.Errorf("record %d: %w", rec.Sequence, err)
		}
		return nil
	}
	var left, last bool // of the record before the claim, and of the claim
	start := p.cfg.Now()
	epoch, err := j.Resume(ctx, func(s project.Saved) (err error) {
		ahead.forget()
		if loaded, err = p.load(ctx, s); err == nil {
			saved = len(s.Runs)
			st, err = project.Restore(s, plans)
		}
		return err
	}, func(rec journal.Record) error {
		records++
		left, last = last, rec.Last
		return ahead.add(ctx, rec, fold)
	})
	if err == nil {
		err = ahead.flush(fold)
	}
	loaded = nil
	if err != nil {
		return fmt.Errorf("claim: %w", err)
	}
	if !l.Valid() { // somebody else may have claimed before, and answers
		return errExpired
	}
	p.cfg.Log.InfoContext(ctx, "partition claimed", "partition", p.cfg.Number, "epoch", epoch, "records", records, "saved", saved, "took", p.cfg.Now().Sub(start))
	failpoint.Hit(failpoint.OwnerClaimed)
	o = newOwner(ctx, p.cfg, l, st, j, epoch, p.Go)
	defer o.stop()
	if records > 1 || saved > 0 {
		o.inherit(left, start)
	}
	failpoint.Hit(failpoint.OwnerInherited)
	return o.serve(t.in)
}

// errExpired: the lease may be somebody else's by now.
var errExpired = errors.New("the lease of the partition is not valid any more")
