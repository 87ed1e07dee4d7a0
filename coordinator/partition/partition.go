package partition

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/coordinator/journal"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
)

// Errors of this package.
var (
	// ErrUnavailable: the partition is not served now (starting, or the journal cannot
	// be written). The command may or may not take effect; ask again.
	ErrUnavailable = errors.New("the partition is not available")
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
}

// Priority orders ready tasks of a capability: smaller first.
type Priority struct {
	Run   uint64 // older runs first
	Index int    // then the order of the plan
}

// Effects are what only the coordinator may do for a task, outside the partition.
type Effects interface {
	// Pin keeps the commit in the mirror for the run.
	Pin(ctx context.Context, repository, commit, run string) error
	// PutBlob stores data under its digest.
	PutBlob(ctx context.Context, data []byte) (digest string, err error)
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
	// Claim reads the journal from its beginning, and makes its caller the owner.
	Claim(ctx context.Context, fold func(journal.Record) error) (epoch uint64, err error)
	// Append makes events durable at a time that Now gave.
	Append(ctx context.Context, at time.Time, events []run.Event) (journal.Record, error)
	// Now is the journal time of an append made now.
	Now() time.Time
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
	Log       *slog.Logger
	Now       func() time.Time
	Suffix    func() string // of a run id: makes it unique over wiped journals
}

// Partition owns one partition while Run runs.
type Partition struct {
	cfg   Config
	cmds  chan command
	ended chan struct{} // closed when Run has ended: nobody answers any more
}

type command struct {
	do    func(*Tx) error
	reply func(error)
}

// New makes a partition that serves when Run runs.
func New(cfg Config) *Partition {
	return &Partition{cfg: cfg, cmds: make(chan command, 4096), ended: make(chan struct{})}
}

// Do runs a command and answers after what it decided is durable. What do read is true
// then too: reads are commands without events. When the context ends first, the command
// may or may not have run, but it does not run any more: do may write the caller's
// variables.
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
	done := make(chan error, 1)
	if err := p.Go(ctx, run, func(err error) { done <- err }); err != nil {
		return err
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

// Go is Do that calls reply instead of waiting: once, if Go answers nil, and never
// otherwise. reply must not block: it is called from the partition's goroutine, or, when
// the partition ends, from whichever notices.
func (p *Partition) Go(ctx context.Context, do func(*Tx) error, reply func(error)) error {
	select {
	case <-p.ended:
		return ErrUnavailable
	default:
	}
	select {
	case p.cmds <- command{do, reply}:
		p.late()
		return nil
	case <-p.ended:
		return ErrUnavailable
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// late answers commands that came while the partition ended. Run does so after it has
// said that it ended, and a sender after it has sent, so one of the two sees the command.
func (p *Partition) late() {
	select {
	case <-p.ended:
		p.refuse(ErrUnavailable)
	default:
	}
}

// Run claims the partition and serves it until the context ends. It claims again after
// a failed append; it gives up when another owner has claimed, or the journal is corrupt.
// It runs once.
func (p *Partition) Run(ctx context.Context) error {
	defer p.late()
	defer close(p.ended)
	j, err := p.cfg.Journal(ctx, p.cfg.Number)
	if err != nil {
		return err
	}
	for {
		err := p.own(ctx, j)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, journal.ErrLost):
			return fmt.Errorf("partition %d: %w: another coordinator runs with the same NATS; stop one of them (replicas arrive with a later version)", p.cfg.Number, err)
		case errors.Is(err, journal.ErrCorrupt), errors.Is(err, journal.ErrNewer):
			return fmt.Errorf("partition %d: %w", p.cfg.Number, err)
		}
		p.cfg.Log.ErrorContext(ctx, "partition stopped, building its state again from the journal", "partition", p.cfg.Number, "err", err)
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// refuse answers what waits.
func (p *Partition) refuse(err error) {
	for {
		select {
		case c := <-p.cmds:
			c.reply(err)
		default:
			return
		}
	}
}

// own claims, replays and serves.
func (p *Partition) own(ctx context.Context, j Journal) error {
	st := project.New(func(hash string) (*plan.Plan, error) { return p.cfg.Plans(ctx, hash) })
	records := 0
	start := p.cfg.Now()
	epoch, err := j.Claim(ctx, func(rec journal.Record) error {
		records++
		for i, e := range rec.Events {
			if err := st.Apply(e, rec.Time); err != nil {
				return fmt.Errorf("event %d: %w", i, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("claim: %w", err)
	}
	p.cfg.Log.InfoContext(ctx, "partition claimed", "partition", p.cfg.Number, "epoch", epoch, "records", records, "took", p.cfg.Now().Sub(start))
	o := newOwner(ctx, p.cfg, st, j, epoch, p.Go)
	defer o.stop()
	if records > 1 {
		o.inherit()
	}
	return o.serve(p.cmds)
}
