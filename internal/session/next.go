package session

import (
	"time"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// With the end of an attempt its slot asks the coordinator for the next task. It is free, for
// the queue's hints, when the coordinator has none, or the stream ends.

// askNext answers for which capability the slot of an attempt asks, whose completion goes into
// the next frame; empty: it is free when that was sent. mu is held.
func (l *Lease) askNext() string {
	if !l.s.next || l.s.draining || l.s.aside() || l.sent {
		return ""
	}
	l.sent = true
	l.s.asked[l.capability] = append(l.s.asked[l.capability], l.s.cfg.Now())
	return l.capability
}

// given takes a slot's next task. mu is held.
func (s *Session) given(g *pb.Grant) {
	at, ok := s.heard(g.GetCapability())
	switch {
	case !ok: // of a stream before this one: the lease passes on
	case s.late(at):
		s.pools[g.GetCapability()].free(1)
	default:
		s.start(g, g.GetCapability(), at)
	}
}

// passed frees slots for which there is nothing. mu is held.
func (s *Session) passed(c *pb.Capacity) {
	for range c.GetSlots() {
		if _, ok := s.heard(c.GetCapability()); ok {
			s.pools[c.GetCapability()].free(1)
		}
	}
	s.less()
}

// heard is when the slot asked that is answered now. mu is held.
func (s *Session) heard(capability string) (at time.Time, ok bool) {
	list := s.asked[capability]
	if len(list) == 0 {
		return time.Time{}, false
	}
	s.asked[capability] = list[1:]
	return list[0], true
}

// unheard frees all slots that nobody will answer: their stream has ended.
func (s *Session) unheard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = false
	for c, list := range s.asked {
		s.pools[c].free(len(list))
		delete(s.asked, c)
	}
	s.less()
}

// asking is how many slots wait for an answer. mu is held.
func (s *Session) asking() (n int) {
	for _, list := range s.asked {
		n += len(list)
	}
	return n
}
