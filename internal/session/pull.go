package session

import (
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/slipway-build/slipway/internal/queue"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const (
	fetchWait = 2 * time.Second
	// answerWait is how long a lease request may stay unanswered before the hint is
	// given back; a grant that comes later is completed as lost by not being heartbeaten.
	answerWait = 15 * time.Second
	// againWait is how long it waits for the next stream when one is lost. Longer, and a
	// worker that cannot reach its coordinator would keep tasks from those that can.
	againWait = 2 * time.Second
)

// pull turns hints of one capability into leases while slots are free and a stream is
// open: whoever cannot ask for a lease leaves the hints to others.
func (s *Session) pull(ctx context.Context, capability string) {
	p := s.pools[capability]
	hints := s.cfg.Hints[capability]
	if hints == nil {
		s.pullOffers(ctx, capability)
		return
	}
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 100*time.Millisecond, 5*time.Second
	var asking sync.WaitGroup
	defer asking.Wait()
	for s.link.wait(ctx) && ctx.Err() == nil {
		n, ok := p.take(ctx, cap(p.slots))
		if !ok {
			return
		}
		used := 0
		err := hints.Fetch(ctx, n, fetchWait, func(h queue.Hint) {
			used++
			asking.Go(func() { s.ask(ctx, capability, h) })
		})
		p.free(n - used)
		if err == nil {
			b.Reset()
			continue
		}
		wait := b.NextBackOff()
		s.cfg.Log.WarnContext(ctx, "no hints", "capability", capability, "err", err, "wait", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// ask asks for one lease with a slot that is taken already.
func (s *Session) ask(ctx context.Context, capability string, h queue.Hint) {
	answered, granted := s.request(ctx, capability, h.Token)
	answer := h.Ack
	if !answered {
		answer = h.Nak
	}
	if err := answer(); err != nil {
		s.cfg.Log.WarnContext(ctx, "answer hint", "token", h.Token, "err", err)
	}
	if !granted {
		s.pools[capability].free(1)
	}
}

func (s *Session) pullOffers(ctx context.Context, capability string) {
	for {
		var token string
		select {
		case token = <-s.offers[capability]:
		case <-ctx.Done():
			return
		}
		if _, ok := s.pools[capability].take(ctx, 1); !ok {
			return
		}
		if _, granted := s.request(ctx, capability, token); !granted {
			s.pools[capability].free(1)
		}
	}
}

// request sends a lease request and waits for the answer. With granted the lease runs,
// and its slot is freed when its completion has been sent.
func (s *Session) request(ctx context.Context, capability, token string) (answered, granted bool) {
	w := &request{answer: make(chan *pb.Grant, 1)}
	s.mu.Lock()
	_, twice := s.waiting[token]
	_, have := s.held[token]
	if twice || have || s.draining {
		s.mu.Unlock()
		return twice || have, false
	}
	w.at = s.cfg.Now()
	s.waiting[token] = w
	s.out.requests = append(s.out.requests, token)
	s.mu.Unlock()
	s.signal()
	if g, ok := s.awaitAnswer(ctx, w); ok {
		return true, s.granted(g, capability, w)
	}
	s.mu.Lock()
	delete(s.waiting, token)
	s.mu.Unlock()
	// The answer may have come in between.
	select {
	case g := <-w.answer:
		return true, s.granted(g, capability, w)
	default:
		return false, false
	}
}

// awaitAnswer waits for the answer to a request, over one loss of the stream if the next
// one comes soon: the request is sent again on it.
func (s *Session) awaitAnswer(ctx context.Context, w *request) (*pb.Grant, bool) {
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	for {
		_, down := s.link.states()
		select {
		case g := <-w.answer:
			return g, true
		case <-ctx.Done():
			return nil, false
		case <-down:
		}
		soon, cancel := context.WithTimeout(ctx, againWait)
		again := s.link.wait(soon)
		cancel()
		if !again {
			return nil, false
		}
	}
}

// granted starts what was granted; nil is a refusal.
func (s *Session) granted(g *pb.Grant, capability string, w *request) bool {
	if g == nil {
		return false
	}
	s.mu.Lock()
	asked, ttl := w.at, s.ttl
	s.mu.Unlock()
	if !s.cfg.Now().Before(asked.Add(ttl - 2*look)) {
		return false // it came so late that somebody else may have it by now
	}
	s.start(g, capability, asked)
	return true
}
