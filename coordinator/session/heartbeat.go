package session

import (
	"slices"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/internal/failpoint"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// heartbeat renews what the worker holds, and tells it what it does not hold.
func (st *stream) heartbeat(h *pb.Heartbeat) error {
	st.mu.Lock()
	st.held = len(h.GetHeld())
	st.says = standing{draining: h.GetDraining(), pressed: h.GetPressed()}
	st.unused = capacity(h.GetFree())
	st.heard++
	st.unclaimed(h.GetHeld())
	st.mu.Unlock()
	st.stand()
	st.free()
	if st.relay != nil {
		st.relay.free(h.GetFree())
	}
	byPart := map[*partition.Partition][]*pb.LeaseRef{}
	byUp := st.upstreams()
	var unsure []*pb.LeaseRef
	for _, ref := range h.GetHeld() {
		p, err := st.cfg.Partitions.Of(ref.GetToken())
		if err != nil {
			return status.Errorf(codes.InvalidArgument, "heartbeat: %v", err) //nolint:wrapcheck // the edge
		}
		switch up, err := st.elsewhere(p.Number()); {
		case err != nil:
			unsure = append(unsure, ref)
		case up != nil:
			byUp[up] = append(byUp[up], ref)
		default:
			byPart[p] = append(byPart[p], ref)
		}
	}
	st.expect(h.GetSequence(), byPart, byUp, unsure)
	for up, refs := range byUp {
		beat := &pb.Heartbeat{Sequence: h.GetSequence(), Free: h.GetFree(), Held: refs, Draining: h.GetDraining(), Pressed: h.GetPressed()}
		if !up.later(func(m *pb.SessionRequest) { m.Heartbeat = beat }) {
			st.beaten(h.GetSequence(), up.place.ID, refs)
		}
	}
	for p, refs := range byPart {
		renew := func(tx *partition.Tx) error {
			for _, ref := range refs {
				if _, ok := st.holds(ref); ok && tx.Renew(fromRef(ref), st.worker) {
					continue
				}
				// A partition that built its state again knows the lease and not the session;
				// a lease that was given to the session before this one, and began after this
				// one's hello, is known to neither.
				if st.reclaim(tx, ref) {
					st.confirm(ref)
				} else {
					st.revoke(ref, pb.Revocation_CAUSE_LOST, "the lease is not held")
				}
			}
			return nil
		}
		answer := func(err error) {
			failpoint.Hit(failpoint.LeaseRenewed)
			if err != nil {
				st.beaten(h.GetSequence(), here(p), refs)
				return
			}
			st.beaten(h.GetSequence(), here(p), nil)
		}
		if err := p.Go(st.ctx, renew, answer); err != nil {
			answer(err)
		}
	}
	return nil
}

// here names a partition of this coordinator among those that answer a heartbeat.
func here(p *partition.Partition) string { return "partition " + strconv.Itoa(p.Number()) }

// beat is a heartbeat that not all owners have answered.
type beat struct {
	sequence uint64
	waiting  map[string][]*pb.LeaseRef // by who must answer: what was asked
	unsure   []*pb.LeaseRef
}

// expect begins a heartbeat. What has not answered the one before has not renewed it.
func (st *stream) expect(sequence uint64, parts map[*partition.Partition][]*pb.LeaseRef, ups map[*upstream][]*pb.LeaseRef, unsure []*pb.LeaseRef) {
	b := &beat{sequence: sequence, waiting: map[string][]*pb.LeaseRef{}, unsure: unsure}
	for p, refs := range parts {
		b.waiting[here(p)] = refs
	}
	for up, refs := range ups {
		if len(refs) > 0 { // else it is told, and need not answer
			b.waiting[up.place.ID] = refs
		}
	}
	st.mu.Lock()
	old := st.beat
	st.beat = b
	st.mu.Unlock()
	if old != nil && len(old.waiting) > 0 {
		for _, refs := range old.waiting {
			old.unsure = append(old.unsure, refs...)
		}
		st.acknowledge(old)
	}
	if len(b.waiting) == 0 {
		st.acknowledge(b)
	}
}

// beaten: one of the owners has answered a heartbeat, all but unsure. What it is sure of is in doubt
// no more: when the session began it may have been unsure itself.
func (st *stream) beaten(sequence uint64, who string, unsure []*pb.LeaseRef) {
	st.mu.Lock()
	b := st.beat
	if b == nil || b.sequence != sequence {
		st.mu.Unlock()
		return
	}
	asked, waited := b.waiting[who]
	delete(b.waiting, who)
	b.unsure = append(b.unsure, unsure...)
	done := waited && len(b.waiting) == 0
	sure := slices.DeleteFunc(slices.Clone(asked), func(ref *pb.LeaseRef) bool {
		return !st.doubts(ref) || slices.ContainsFunc(unsure, func(u *pb.LeaseRef) bool { return u.GetToken() == ref.GetToken() })
	})
	st.mu.Unlock()
	for _, ref := range sure {
		st.confirm(ref)
	}
	if done {
		st.acknowledge(b)
	}
}

func (st *stream) acknowledge(b *beat) {
	st.later(func(m *pb.SessionResponse) {
		m.HeartbeatAck = &pb.HeartbeatAck{Sequence: b.sequence, Unconfirmed: b.unsure}
	})
}

func (st *stream) upstreams() map[*upstream][]*pb.LeaseRef {
	st.mu.Lock()
	defer st.mu.Unlock()
	out := make(map[*upstream][]*pb.LeaseRef, len(st.ups))
	for _, u := range st.ups {
		out[u] = nil
	}
	return out
}

// Revoke implements partition.Sink.
func (st *stream) Revoke(ref partition.Ref, message string) {
	st.revoke(toRef(ref), pb.Revocation_CAUSE_CANCELED, message)
}

func (st *stream) revoke(ref *pb.LeaseRef, cause pb.Revocation_Cause, message string) {
	if cause == pb.Revocation_CAUSE_LOST {
		st.drop(ref)
	}
	st.later(func(m *pb.SessionResponse) {
		m.Revocations = append(m.Revocations, &pb.Revocation{Lease: ref, Cause: cause, Message: message})
	})
}
