// Package background carries out what may be done after an answer, or not at all: one job at a time, of each key the
// newest, so many at most, and none when the program stops.
//
// It knows nothing of what the jobs do.
package background

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ErrStopped is why a job's context ends when the program stops.
var ErrStopped = errors.New("the program is stopping")

// errLimit is why a job's context ends when it took too long.
var errLimit = errors.New("it took too long")

// ErrHeld is why a job's context ends when there is a reason to hold jobs back.
var ErrHeld = errors.New("held back")

// Job is something to do.
type Job struct {
	Key  string // a later job of the same key replaces one that waits
	Run  func(ctx context.Context) error
	Done func() // called once, when it has run or will not
}

// Config of a Queue.
type Config struct {
	What  string          // jobs do, for the log: "build cache export"
	Count prometheus.Opts // of a metric of how they end
	Most  int             // jobs that wait; one more drops the one that waits longest. 0: 16
	Limit time.Duration   // of one job; 0: ten minutes
	Drain time.Duration   // how long the one that runs may go on when the queue is closed; 0: two seconds
	// Held says why no job may run now; empty: they may. It is asked before a job and while one runs. Nil: they always may.
	Held     func() string
	Log      *slog.Logger
	Registry prometheus.Registerer
}

const (
	heldEvery = time.Second
	// patience is with a job that does not notice that it has been ended.
	patience = 5 * time.Second
)

// Queue of jobs.
type Queue struct {
	cfg   Config
	count *prometheus.CounterVec

	ctx    context.Context //nolint:containedctx // of the job that runs, until Close
	cancel context.CancelCauseFunc
	wake   chan struct{}
	done   chan struct{}

	mu     sync.Mutex
	wait   []Job
	closed bool
}

// The ways in which a job ends, in metrics.
const (
	resultDone     = "done"
	resultFailed   = "failed"
	resultReplaced = "replaced" // by a newer one of its key
	resultDropped  = "dropped"  // too many waited
	resultHeld     = "held"
	resultStopped  = "stopped"
)

// New makes a queue and begins. Close must be called.
func New(cfg Config) (*Queue, error) {
	if cfg.Most == 0 {
		cfg.Most = 16
	}
	if cfg.Limit == 0 {
		cfg.Limit = 10 * time.Minute
	}
	if cfg.Drain == 0 {
		cfg.Drain = 2 * time.Second
	}
	if cfg.Held == nil {
		cfg.Held = func() string { return "" }
	}
	q := &Queue{cfg: cfg, wake: make(chan struct{}, 1), done: make(chan struct{}), count: prometheus.NewCounterVec(prometheus.CounterOpts(cfg.Count), []string{"result"})}
	if err := cfg.Registry.Register(q.count); err != nil {
		return nil, fmt.Errorf("register metric of %s: %w", cfg.What, err)
	}
	for _, r := range []string{resultDone, resultFailed, resultReplaced, resultDropped, resultHeld, resultStopped} {
		q.count.WithLabelValues(r)
	}
	q.ctx, q.cancel = context.WithCancelCause(context.Background())
	go q.run()
	return q, nil
}

// Add puts a job behind those that wait, in the place of one with its key. It does not block.
func (q *Queue) Add(j Job) {
	q.mu.Lock()
	var gone *Job
	why := resultReplaced
	switch i := slices.IndexFunc(q.wait, func(w Job) bool { return w.Key == j.Key }); {
	case q.closed:
		gone, why = &j, resultStopped
	case i >= 0:
		old := q.wait[i]
		gone, q.wait[i] = &old, j
	default:
		if len(q.wait) == q.cfg.Most {
			old := q.wait[0]
			gone, why, q.wait = &old, resultDropped, q.wait[1:]
		}
		q.wait = append(q.wait, j)
	}
	q.mu.Unlock()
	if gone != nil {
		q.ended(*gone, why)
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *Queue) ended(j Job, result string) {
	j.Done()
	q.count.WithLabelValues(result).Inc()
}

// Close drops what waits, gives what runs a little time, and ends it. It waits for no job that does not end.
func (q *Queue) Close() error {
	q.mu.Lock()
	waiting := q.wait
	q.wait, q.closed = nil, true
	q.mu.Unlock()
	for _, j := range waiting {
		q.ended(j, resultStopped)
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
	for _, d := range []time.Duration{q.cfg.Drain, patience} {
		timer := time.NewTimer(d)
		select {
		case <-q.done:
		case <-timer.C:
		}
		timer.Stop()
		q.cancel(ErrStopped)
	}
	return nil
}

func (q *Queue) run() {
	defer close(q.done)
	for {
		q.mu.Lock()
		var next *Job
		if len(q.wait) > 0 {
			j := q.wait[0]
			next, q.wait = &j, q.wait[1:]
		}
		closed := q.closed
		q.mu.Unlock()
		switch {
		case next != nil:
			q.ended(*next, q.carryOut(*next))
		case closed:
			return
		default:
			<-q.wake
		}
	}
}

// carryOut runs a job and answers how it ended.
func (q *Queue) carryOut(j Job) string {
	if why := q.cfg.Held(); why != "" {
		q.log(j).Info("job held back", "reason", why)
		return resultHeld
	}
	ctx, end := context.WithTimeoutCause(q.ctx, q.cfg.Limit, errLimit)
	defer end()
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		q.watch(ctx, cancel)
	}()
	begin := time.Now()
	err := run(ctx, j)
	cause := context.Cause(ctx)
	cancel(nil)
	<-watched
	log := q.log(j).With("took", time.Since(begin))
	switch {
	case err == nil:
		log.Info("job done")
		return resultDone
	case errors.Is(cause, ErrStopped):
		return resultStopped
	case errors.Is(cause, ErrHeld):
		log.Info("job held back", "reason", cause)
		return resultHeld
	case cause != nil:
		err = cause
	}
	log.Warn("job failed", "err", err)
	return resultFailed
}

func (q *Queue) log(j Job) *slog.Logger { return q.cfg.Log.With("job", q.cfg.What, "key", j.Key) }

// run carries out a job; a panic is its failure.
func run(ctx context.Context, j Job) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return j.Run(ctx)
}

// watch ends a job when there is a reason to hold it back.
func (q *Queue) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(heldEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if why := q.cfg.Held(); why != "" {
			cancel(errors.Join(ErrHeld, errors.New(why)))
			return
		}
	}
}
