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
	missed bool  // log or a completion was not taken
	log    bool  // log was not,
	from   int64 // from this offset on
}

// lacks notes that a piece of the log was not taken.
func (d *doubt) lacks(offset int64) {
	if !d.log || offset < d.from {
		d.from = offset
	}
	d.missed, d.log = true, true
}

// strangers bounds how many leases that are nobody's here are remembered for their logs.
const strangers = 4096

// takes reports that the stream may write a piece of a lease's log. Where it may not, the log comes
// again once the lease is confirmed: it is in doubt, or was given to the session before this
// one and is not named in the hello of this one, so that a heartbeat is the first to tell of
// it. Until what was not taken has come, nothing behind it is taken either.
func (st *stream) takes(ref *pb.LeaseRef, offset int64) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	token := ref.GetToken()
	if d, ok := st.doubt[token]; ok && same(d.ref, ref) {
		d.lacks(offset)
		return false
	}
	d, strange := st.strange[token]
	if h, ok := st.tasks[token]; !ok || !same(h.ref, ref) || strange && same(d.ref, ref) {
		if !strange || !same(d.ref, ref) {
			if len(st.strange) >= strangers { // of leases that have ended, all but a few
				clear(st.strange)
			}
			d = &doubt{ref: ref}
			st.strange[token] = d
		}
		d.lacks(offset)
		return false
	}
	if from, owed := st.owed[token]; owed {
		if offset > from {
			return false
		}
		delete(st.owed, token)
	}
	return true
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
	_, owed := st.owed[ref.GetToken()]
	return owed // its log comes again, and then it does
}

// doubts reports that nobody has confirmed a lease of which something may have come; mu is held.
func (st *stream) doubts(ref *pb.LeaseRef) bool {
	d, in := st.doubt[ref.GetToken()]
	s, strange := st.strange[ref.GetToken()]
	return in && same(d.ref, ref) || strange && same(s.ref, ref)
}

// confirm: the owner says that the worker has the lease.
func (st *stream) confirm(ref *pb.LeaseRef) {
	st.mu.Lock()
	d, ok := st.doubt[ref.GetToken()]
	delete(st.doubt, ref.GetToken())
	if s := st.strange[ref.GetToken()]; s != nil && same(s.ref, ref) {
		d, ok = s, true
	}
	delete(st.strange, ref.GetToken())
	if ok && d.log {
		st.owed[ref.GetToken()] = d.from
	}
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
