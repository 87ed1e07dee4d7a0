// Package session is a worker's or deployer's end of WorkerService.Session: it asks for
// leases when slots are free, keeps them alive, hands each to a Handler, sends what the
// attempt writes, and repeats completions until they are durable. A lost connection is
// opened again and the leases go on; a lease that can no longer be believed is ended
// with a cause. What a task does is the handler's business.
package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/slipway-build/slipway/internal/queue"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Causes with which a handler's context ends.
var (
	// ErrCanceled: the run does not want the result. Stop and answer CANCELED.
	ErrCanceled = errors.New("canceled")
	// ErrLost: the lease is or may be somebody else's. Stop at once; no answer is sent.
	ErrLost = errors.New("lease lost")
	// ErrShutdown: the process stops and the drain time is over.
	ErrShutdown = errors.New("the worker is shutting down")
)

// Handler carries out one attempt. It returns when the attempt has ended, or soon after
// its context has. The answer's lease and log size are filled in by the caller.
type Handler func(ctx context.Context, l *Lease) *pb.Completion

// Hints is where a worker with a connection to the queue learns of ready tasks.
type Hints interface {
	Fetch(ctx context.Context, maximum int, wait time.Duration, each func(queue.Hint)) error
}

// Config of a session.
type Config struct {
	Client   pb.WorkerServiceClient
	Name     string         // for people, stable over restarts
	Instance string         // chosen anew by each process
	Version  string         //
	Slots    map[string]int // by capability
	// Hints by capability; nil: the coordinator offers tasks on the session.
	Hints map[string]Hints
	// Holdings are keys of Grants whose traces the process still holds, the most recently used last; nil: it says
	// nothing of that, and tasks that are cheaper where they are held come to it as they come to others.
	Holdings func() []uint64
	// Drain is how long Run waits for attempts after its context ended. 0: one minute.
	Drain time.Duration
	// Spool bounds the unacknowledged log of one attempt; a writer waits beyond it. 0: 4 MiB.
	Spool int
	Log   *slog.Logger
	// Now is a monotonic clock.
	Now func() time.Time
}

// Session is one process's connection to the coordinator.
type Session struct {
	cfg    Config
	handle Handler
	pools  map[string]*pool

	mu       sync.Mutex
	out      outbox
	held     map[string]*Lease      // by token, until the completion is acknowledged
	waiting  map[string]*request    // lease requests that were not answered, by token
	next     bool                   // the coordinator gives slots their next task
	packs    bool                   // the coordinator takes packed chunks of logs
	asked    map[string][]time.Time // when a slot asked for its next task, oldest first, by capability
	ttl      time.Duration          // from the last welcome
	beats    map[uint64]time.Time   // when a heartbeat was sent, by sequence
	beat     uint64                 // sequence of the last heartbeat
	opened   time.Time              // when the last hello was sent
	hellos   uint64                 // how many were
	draining bool                   //
	cordoned bool                   // the coordinator gives nothing
	pressed  string                 // why nothing is taken for now; empty: it is
	wake     chan struct{}          // the outbox has something
	idle     chan struct{}          // closed and made anew when held shrinks
	attempts sync.WaitGroup         // handlers
	offers   map[string]chan string // by capability
	link     *link
	taking   *link // open while new tasks are taken
	down     int   // how often in a row it was looked at while no stream was open
}

// maxProgress bounds what waits while there is no stream; it is not durable anyway.
const maxProgress = 4096

// outbox is what the next frame carries.
type outbox struct {
	requests []string
	progress []*pb.LeaseProgress
	done     []*Lease
	beat     bool

	added, dropped []uint64 // of what is held
	declined       []string // tokens of offers
}

// New makes a session; Run opens it.
func New(cfg Config, h Handler) *Session {
	if cfg.Drain == 0 {
		cfg.Drain = time.Minute
	}
	if cfg.Spool == 0 {
		cfg.Spool = 4 << 20
	}
	s := &Session{
		cfg: cfg, handle: h, pools: map[string]*pool{}, held: map[string]*Lease{}, waiting: map[string]*request{}, asked: map[string][]time.Time{},
		beats: map[uint64]time.Time{}, wake: make(chan struct{}, 1), idle: make(chan struct{}), offers: map[string]chan string{},
		link: newLink(), taking: newLink(),
	}
	s.taking.open()
	for c, n := range cfg.Slots {
		s.pools[c] = newPool(n)
		s.offers[c] = make(chan string, 1024)
	}
	return s
}

// Run works until the context ends, then drains: it takes nothing new, waits for what
// runs, and says goodbye. It answers an error only when the coordinator refuses it for
// good (credential, version).
func (s *Session) Run(ctx context.Context) error {
	work, stop := context.WithCancel(ctx)
	defer stop()
	// The connection outlives ctx: completions of drained attempts must still be sent.
	conn, hangUp := context.WithCancelCause(context.WithoutCancel(ctx))
	defer hangUp(nil)
	var pullers, parts sync.WaitGroup
	for c := range s.pools {
		pullers.Go(func() { s.pull(work, c) })
	}
	parts.Go(func() { s.watchDeadline(conn) })
	var refusal error
	parts.Go(func() {
		if refusal = s.connect(conn); refusal != nil {
			hangUp(refusal)
		}
	})
	select {
	case <-ctx.Done():
		s.stopTaking()
		pullers.Wait()
		s.drain(conn)
	case <-conn.Done():
		stop()
		pullers.Wait()
	}
	s.endAll(ErrShutdown)
	s.attempts.Wait()
	hangUp(ErrShutdown)
	parts.Wait()
	return refusal
}

// stopTaking takes nothing new, and says so.
func (s *Session) stopTaking() {
	s.mu.Lock()
	s.draining = true
	s.out.beat = true
	s.mu.Unlock()
	s.signal()
}

// drain waits until nothing is held. After the drain time it ends what still runs, and
// waits a moment for the coordinator to hear of it.
func (s *Session) drain(conn context.Context) {
	s.mu.Lock()
	n := len(s.held)
	s.mu.Unlock()
	if n > 0 {
		s.cfg.Log.InfoContext(conn, "draining", "running", n, "at_most", s.cfg.Drain)
	}
	if s.waitIdle(conn, s.cfg.Drain) {
		return
	}
	s.endAll(ErrShutdown)
	s.attempts.Wait()
	s.waitIdle(conn, 5*time.Second)
}

// waitIdle waits until nothing is held; false: time is over or the connection for good.
func (s *Session) waitIdle(conn context.Context, limit time.Duration) bool {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		left, idle := len(s.held)+s.asking(), s.idle
		s.mu.Unlock()
		if left == 0 {
			return true
		}
		select {
		case <-idle:
		case <-conn.Done():
			return false
		case <-timeout.C:
			return false
		}
	}
}

func (s *Session) endAll(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.held {
		l.cancel(cause)
		l.log.widen() // its writer must not wait for a coordinator that may be gone
	}
}

// connect keeps a stream open until the context ends or the coordinator refuses.
func (s *Session) connect(ctx context.Context) error {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 50*time.Millisecond, 3*time.Second
	for {
		started := s.cfg.Now()
		err := s.stream(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // it was told to hang up, and that is what the error says
		case refused(err):
			return fmt.Errorf("the coordinator refused the session: %w", err)
		}
		if s.cfg.Now().Sub(started) > b.MaxInterval { // it was open: what broke it says nothing of the next one
			b.Reset()
		}
		wait := b.NextBackOff()
		s.cfg.Log.WarnContext(ctx, "session lost, connecting again", "err", err, "wait", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// watchDeadline ends leases for which too long no heartbeat was acknowledged: before the
// coordinator can give them to somebody else. Requests that nobody answers end too.
func (s *Session) watchDeadline(ctx context.Context) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.overdue(ctx)
		s.unanswered(ctx)
	}
}

// look is how often leases are looked at. One is ended twice that early, so that its
// handler hears of it before the coordinator's own clock of the lease runs out.
const look = 100 * time.Millisecond

// overdue ends leases that were not confirmed for a whole lease time.
func (s *Session) overdue(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	for token, l := range s.held {
		if l.lost || !now.After(l.deadline.Add(-2*look)) {
			continue
		}
		s.cfg.Log.ErrorContext(ctx, "no heartbeat was acknowledged for a whole lease time, stopping the work", "run", l.Grant.GetRun(), "task", l.Grant.GetTaskId())
		s.end(token, l, ErrLost)
	}
}

// forget drops a lease; mu is held.
func (s *Session) forget(token string) {
	if _, ok := s.held[token]; ok {
		delete(s.held, token)
		s.less()
	}
}

// less: less is held, or asked for, than before; mu is held.
func (s *Session) less() {
	close(s.idle)
	s.idle = make(chan struct{})
}

func (s *Session) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
