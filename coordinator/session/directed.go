package session

import (
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// A worker that answers directed offers is told of tasks that it is placed best for, before they go on the queue. Dispatch
// chooses by what the worker says it holds, and by how many of its slots are free.

// Offer offers a task to a worker; not ok: it has no session here.
func (s *Server) Offer(instance, capability, token string) (ok bool) {
	s.mu.Lock()
	st, ok := s.streams[instance]
	s.mu.Unlock()
	if !ok || st.ctx.Err() != nil || !st.hello.GetDirected() {
		return false
	}
	if st.relay != nil {
		st.relay.spend(capability)
	}
	st.later(func(m *pb.SessionResponse) {
		m.Offers = append(m.Offers, &pb.Offer{Token: token, Capability: capability, Directed: true})
	})
	return true
}

// free tells dispatch how many slots the worker has free: those that no lease of this session occupies. Of leases
// that other coordinators gave it, a session that was handed on knows from heartbeats alone.
func (st *stream) free() {
	if !st.hello.GetDirected() {
		return
	}
	st.told.Lock() // what was counted last is said last
	defer st.told.Unlock()
	st.mu.Lock()
	busy := map[string]int{}
	for _, h := range st.tasks {
		busy[h.can]++
	}
	said := st.unused
	quiet := !st.ready || st.forwarded && said == nil || st.ctx.Err() != nil
	st.mu.Unlock()
	if quiet { // nothing is known yet, or not to be known any more
		return
	}
	for _, c := range st.hello.GetCapacity() {
		n := int(c.GetSlots()) - busy[c.GetCapability()]
		if st.forwarded {
			n = min(n, int(said[c.GetCapability()]))
		}
		st.cfg.Presence.Free(c.GetCapability(), st.worker.Instance, max(0, n), int(c.GetSlots()))
	}
}

// unclaimed forgets leases that the worker does not name though two heartbeats have come since they were given: it has not
// taken them up, or they are another coordinator's to know of now. They run out; their slots are free. mu is held.
func (st *stream) unclaimed(named []*pb.LeaseRef) {
	names := make(map[string]bool, len(named))
	for _, ref := range named {
		names[ref.GetToken()] = true
	}
	for token, h := range st.tasks {
		if !names[token] && h.beat+2 <= st.heard {
			delete(st.tasks, token)
		}
	}
}

// holdings takes what the worker holds since its hello, and hands it on to the other coordinators.
func (st *stream) holdings(h *pb.Holdings) {
	if h == nil || !st.hello.GetDirected() {
		return
	}
	st.mu.Lock()
	st.keys.Drop(h.GetDropped()...)
	st.keys.Add(h.GetAdded()...)
	st.mu.Unlock()
	st.cfg.Presence.Held(st.worker.Instance, h.GetAdded(), h.GetDropped())
	for up := range st.upstreams() {
		up.later(func(m *pb.SessionRequest) {
			if m.Holdings == nil {
				m.Holdings = &pb.Holdings{}
			}
			m.Holdings.Added, m.Holdings.Dropped = append(m.Holdings.Added, h.GetAdded()...), append(m.Holdings.Dropped, h.GetDropped()...)
		})
	}
}

// declined: the worker does not take what it was offered.
func (st *stream) declined(tokens []string) {
	for _, token := range tokens {
		part, err := st.cfg.Partitions.Of(token)
		if err != nil {
			continue
		}
		switch up, err := st.elsewhere(part.Number()); {
		case err != nil: // it is published soon in any case
		case up != nil:
			up.later(func(m *pb.SessionRequest) { m.Declined = append(m.Declined, token) })
		default:
			st.cfg.Presence.Declined(token)
		}
	}
}

// holding are keys of what the worker holds.
func (st *stream) holding() []uint64 {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.keys.All()
}
