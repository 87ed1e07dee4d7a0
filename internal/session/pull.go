package session

import (
	"context"
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
	// againWait is how long a request waits for the next stream when one is lost. Longer, and
	// a worker that cannot reach its coordinator would keep tasks from those that can.
	againWait = 2 * time.Second
)

// request is a lease request that was not answered yet. Its slot is taken.
type request struct {
	capability string
	hint       *queue.Hint // nil: the coordinator offered the task
	at         time.Time   // when it was first sent on this stream, or before
	looks      int         // how often it was looked at since it was asked
}

// pull turns hints of one capability into lease requests while slots are free and a
// stream is open: whoever cannot ask for a lease leaves the hints to others.
func (s *Session) pull(ctx context.Context, capability string) {
	p := s.pools[capability]
	hints := s.cfg.Hints[capability]
	defer s.giveBack(context.WithoutCancel(ctx), func(r *request) bool { return r.capability == capability })
	if hints == nil {
		s.pullOffers(ctx, capability)
		return
	}
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 100*time.Millisecond, 5*time.Second
	for s.taking.wait(ctx) && s.link.wait(ctx) && ctx.Err() == nil {
		n, ok := p.take(ctx, cap(p.slots))
		if !ok {
			return
		}
		p.lend(n)
		err := hints.Fetch(ctx, n, fetchWait, func(h queue.Hint) {
			if !p.claim() { // an offer has taken the slot meanwhile
				s.reply(ctx, &h, false)
				return
			}
			s.ask(ctx, capability, h.Token, &h)
		})
		p.settle()
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
		s.ask(ctx, capability, token, nil)
	}
}

// ask asks for one lease with a slot that is taken already, and does not wait for the
// answer: answer has it, or giveBack when there is none.
func (s *Session) ask(ctx context.Context, capability, token string, hint *queue.Hint) {
	s.mu.Lock()
	_, twice := s.waiting[token]
	_, have := s.held[token]
	if twice || have || s.draining || s.aside() {
		s.pools[capability].free(1)
		s.mu.Unlock()
		s.reply(ctx, hint, twice || have)
		return
	}
	s.waiting[token] = &request{capability: capability, hint: hint, at: s.cfg.Now()}
	s.out.requests = append(s.out.requests, token)
	s.mu.Unlock()
	s.signal()
}

// answer takes the answer to a lease request, and returns the hint that is to be
// acknowledged for it; a nil grant is a refusal. An answer that nobody waits for is
// dropped: the lease is not heartbeaten and passes on. s.mu is held.
func (s *Session) answer(token string, g *pb.Grant) *queue.Hint {
	r, ok := s.waiting[token]
	if !ok {
		return nil
	}
	delete(s.waiting, token)
	if g != nil && !s.late(r.at) {
		s.start(g, r.capability, r.at)
	} else {
		s.pools[r.capability].free(1)
	}
	return r.hint
}

// late: a grant that was asked for then comes so late that somebody else may have the lease
// by now. s.mu is held.
func (s *Session) late(asked time.Time) bool {
	return !s.cfg.Now().Before(asked.Add(s.ttl - 2*look))
}

// unanswered gives hints back whose requests nobody has answered for too long: at most
// answerWait, and not much longer than againWait while no stream is open.
func (s *Session) unanswered(ctx context.Context) {
	s.mu.Lock()
	select {
	case <-s.link.opened():
		s.down = 0
	default:
		s.down++
	}
	cut := s.down > int(againWait/look)
	for _, r := range s.waiting {
		r.looks++
	}
	s.mu.Unlock()
	s.giveBack(ctx, func(r *request) bool { return cut || r.looks > int(answerWait/look) })
}

// giveBack ends requests that were not answered, and leaves their hints to others.
func (s *Session) giveBack(ctx context.Context, which func(*request) bool) {
	var back []*queue.Hint
	s.mu.Lock()
	for token, r := range s.waiting {
		if which(r) {
			delete(s.waiting, token)
			s.pools[r.capability].free(1)
			back = append(back, r.hint)
		}
	}
	s.mu.Unlock()
	for _, h := range back {
		s.reply(ctx, h, false)
	}
}

// reply answers a hint: it is settled, or for somebody else.
func (s *Session) reply(ctx context.Context, h *queue.Hint, settled bool) {
	if h == nil {
		return
	}
	answer := h.Nak
	if settled {
		answer = h.Ack
	}
	if err := answer(); err != nil {
		s.cfg.Log.WarnContext(ctx, "answer hint", "token", h.Token, "err", err)
	}
}
