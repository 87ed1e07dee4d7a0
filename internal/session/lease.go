package session

import (
	"context"
	"fmt"
	"sync"
	"time"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// MaxLog is the largest log of one attempt, in bytes. What comes after it is dropped
// and the log says so.
const MaxLog = 128 << 20

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

// spool is the part of an attempt's log that is not acknowledged.
type spool struct {
	mu    sync.Mutex
	room  *sync.Cond
	limit int
	base  int64 // offset of data[0]
	data  []byte
	next  int64 // offset of the first byte that was not sent on this stream
	full  bool  // MaxLog was reached
	ended bool
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
	q := &l.log
	q.mu.Lock()
	for rest := p; len(rest) > 0; {
		for len(q.data) >= q.limit && !q.ended {
			q.room.Wait()
		}
		if q.ended {
			break
		}
		end := q.base + int64(len(q.data))
		if end >= MaxLog {
			if !q.full {
				q.full = true
				q.data = append(q.data, fmt.Sprintf("\n[log cut: an attempt may write at most %d MiB]\n", MaxLog>>20)...)
			}
			break
		}
		n := min(len(rest), q.limit-len(q.data), int(MaxLog-end))
		q.data = append(q.data, rest[:n]...)
		rest = rest[n:]
		q.mu.Unlock()
		l.s.signal()
		q.mu.Lock()
	}
	q.mu.Unlock()
	l.s.signal()
	return len(p), nil
}

// chunk is what may be sent next, at most n bytes.
func (q *spool) chunk(n int) (offset int64, data []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next = max(q.next, q.base)
	from := int(q.next - q.base)
	data = q.data[from:min(len(q.data), from+n)]
	offset = q.next
	q.next += int64(len(data))
	return offset, append([]byte(nil), data...)
}

func (q *spool) acknowledge(offset int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := int(offset - q.base); n > 0 && n <= len(q.data) {
		q.data = append([]byte(nil), q.data[n:]...)
		q.base = offset
		q.room.Broadcast()
	}
}

// rewind sends again what was not acknowledged, on a new stream.
func (q *spool) rewind() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next = q.base
}

func (q *spool) size() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.base + int64(len(q.data))
}

// widen lets writers go on without waiting for acknowledgements.
func (q *spool) widen() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limit = MaxLog
	q.room.Broadcast()
}

// end lets writers go on without keeping anything.
func (q *spool) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
	q.room.Broadcast()
}

func (l *Lease) finish(c *pb.Completion) {
	token := l.Grant.GetLease().GetToken()
	c.Lease, c.LogSize = l.Grant.GetLease(), l.log.size()
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
