package session

import (
	"context"
	"sync"
	"time"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Lease is the right to one attempt, while its handler's context lives.
type Lease struct {
	Grant *pb.Grant

	s          *Session
	capability string
	cancel     context.CancelCauseFunc
	lost       bool           // guarded by s.mu
	completion *pb.Completion // guarded by s.mu; set when the handler has returned
	sent       bool           // guarded by s.mu; the slot was freed
	started    bool           // guarded by s.mu; the work itself has begun
	// deadline is until when the lease may be believed: from the sending of what the
	// coordinator last confirmed it with. Guarded by s.mu.
	deadline time.Time
	since    uint64 // guarded by s.mu; the first heartbeat that names it
	named    uint64 // guarded by s.mu; the last hello that named it
	log      spool
}

// start carries out a grant that was asked for at a time: before the coordinator gave it.
// s.mu is held.
func (s *Session) start(g *pb.Grant, capability string, asked time.Time) {
	ctx, cancel := context.WithCancelCause(context.Background())
	l := &Lease{Grant: g, s: s, capability: capability, cancel: cancel}
	l.log.room = sync.NewCond(&l.log.mu)
	l.log.limit = s.cfg.Spool
	l.deadline, l.since = asked.Add(s.ttl), s.beat+1
	s.held[g.GetLease().GetToken()] = l
	s.attempts.Go(func() {
		defer cancel(nil)
		c := s.handle(ctx, l)
		l.finish(c)
	})
}

// Started says that the work itself has begun, after fetching and preparing.
func (l *Lease) Started() {
	l.Progress(true)
}

// Progress says what the attempt is doing now.
func (l *Lease) Progress(started bool, steps ...*pb.ProgressStep) {
	l.s.mu.Lock()
	l.started = l.started || started
	if n := len(l.s.out.progress); n >= maxProgress {
		l.s.out.progress = append(l.s.out.progress[:0], l.s.out.progress[n/2:]...)
	}
	l.s.out.progress = append(l.s.out.progress, &pb.LeaseProgress{Lease: l.Grant.GetLease(), Started: started, Steps: steps})
	l.s.mu.Unlock()
	l.s.signal()
}

// Write appends to the attempt's log. It waits while too much is unacknowledged, and
// never fails: a log that cannot be kept must not fail the work.
func (l *Lease) Write(p []byte) (int, error) {
	l.log.write(p, l.s.signal)
	return len(p), nil
}

func (l *Lease) finish(c *pb.Completion) {
	token := l.Grant.GetLease().GetToken()
	c.Lease, c.LogSize = l.Grant.GetLease(), l.log.written()
	l.s.mu.Lock()
	defer l.s.signal()
	defer l.s.mu.Unlock()
	if l.lost {
		l.s.forget(token)
		l.release()
		return
	}
	l.completion = c
	l.s.out.done = append(l.s.out.done, l)
}

// release frees the slot once; s.mu is held.
func (l *Lease) release() {
	if !l.sent {
		l.sent = true
		l.s.pools[l.capability].free(1)
	}
}
