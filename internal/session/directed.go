package session

import (
	"context"
	"slices"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// A process that says what earlier work has left with it is offered tasks that are cheaper there, before they
// go on the queue. It asks for the lease at once or declines: what it has no slot for is somebody else's.

// Hold says what the process holds since then, and does not any more; Config.Holdings says it already.
func (s *Session) Hold(added, dropped []uint64) {
	if len(added)+len(dropped) == 0 {
		return
	}
	s.mu.Lock()
	gone := func(k uint64) bool { return slices.Contains(dropped, k) }
	s.out.added = append(slices.DeleteFunc(s.out.added, gone), added...)
	s.out.dropped = append(s.out.dropped, dropped...)
	s.mu.Unlock()
	s.signal()
}

// offered asks for the leases of directed offers for which there is a slot, and declines the others.
func (s *Session) offered(ctx context.Context, list []*pb.Offer) {
	for _, o := range list {
		s.mu.Lock()
		p, ok := s.pools[o.GetCapability()]
		if ok = ok && !s.draining && !s.aside() && p.borrow(); !ok {
			s.out.declined = append(s.out.declined, o.GetToken())
		}
		s.mu.Unlock()
		if ok {
			s.ask(ctx, o.GetCapability(), o.GetToken(), nil)
		}
	}
	if len(list) > 0 {
		s.signal()
	}
}

// said adds to a frame what the process holds and what it does not take; mu is held.
func (o *outbox) said(m *pb.SessionRequest) {
	if len(o.added)+len(o.dropped) > 0 {
		m.Holdings = &pb.Holdings{Added: o.added, Dropped: o.dropped}
	}
	m.Declined = o.declined
	o.added, o.dropped, o.declined = nil, nil, nil
}
