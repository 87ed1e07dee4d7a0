package session

import (
	"slices"

	"github.com/slipway-build/slipway/coordinator/peer"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// doubt is a lease that the worker says it has, while its owner cannot be asked. Its log
// is not taken meanwhile, and comes again when the owner has confirmed the lease.
type doubt struct {
	ref    *pb.LeaseRef
	missed bool // log or a completion was not taken
}

// missed notes that something of a lease in doubt was not taken. False: it is in none.
func (st *stream) missed(ref *pb.LeaseRef) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	d, ok := st.doubt[ref.GetToken()]
	if ok && same(d.ref, ref) {
		d.missed = true
		return true
	}
	return false
}

// confirm: the owner says that the worker has the lease.
func (st *stream) confirm(ref *pb.LeaseRef) {
	st.mu.Lock()
	d, ok := st.doubt[ref.GetToken()]
	delete(st.doubt, ref.GetToken())
	if _, have := st.tasks[ref.GetToken()]; !have {
		st.tasks[ref.GetToken()] = held{ref: ref}
	}
	st.mu.Unlock()
	if ok && d.missed {
		st.later(func(m *pb.SessionResponse) { m.LogAcks = append(m.LogAcks, &pb.LogAck{Lease: ref, Rewind: true}) })
	}
}

// heldAt are the leases whose owner is at a place, those in doubt included.
func (st *stream) heldAt(where peer.Place) []*pb.LeaseRef {
	st.mu.Lock()
	refs := make([]*pb.LeaseRef, 0, len(st.tasks)+len(st.doubt))
	for _, h := range st.tasks {
		refs = append(refs, h.ref)
	}
	for _, d := range st.doubt {
		refs = append(refs, d.ref)
	}
	st.mu.Unlock()
	return slices.DeleteFunc(refs, func(ref *pb.LeaseRef) bool {
		part, err := st.cfg.Partitions.Of(ref.GetToken())
		if err != nil {
			return true
		}
		p, ok, err := st.cfg.Peers.Of(st.ctx, part.Number())
		return err != nil || !ok || p.ID != where.ID
	})
}
