package session

import (
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/coordinator/partition"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// heartbeat renews what the worker holds, and tells it what it does not hold.
func (st *stream) heartbeat(h *pb.Heartbeat) error {
	if st.relay != nil {
		if h.GetDraining() {
			st.relay.drain()
		} else {
			st.relay.free(h.GetFree())
		}
	}
	if h.GetDraining() && st.ctx.Err() == nil {
		st.present(false)
	}
	byPart := map[*partition.Partition][]*pb.LeaseRef{}
	for _, ref := range h.GetHeld() {
		p, err := st.cfg.Partitions.Of(ref.GetToken())
		if err != nil {
			return status.Errorf(codes.InvalidArgument, "heartbeat: %v", err) //nolint:wrapcheck // the edge
		}
		byPart[p] = append(byPart[p], ref)
	}
	ack := func() {
		st.later(func(m *pb.SessionResponse) { m.HeartbeatAck = &pb.HeartbeatAck{Sequence: h.GetSequence()} })
	}
	if len(byPart) == 0 {
		ack()
		return nil
	}
	var mu sync.Mutex
	left := len(byPart)
	for p, refs := range byPart {
		renew := func(tx *partition.Tx) error {
			for _, ref := range refs {
				if _, ok := st.holds(ref); ok && tx.Renew(fromRef(ref), st.worker) {
					continue
				}
				// A partition that built its state again knows the lease and not the session;
				// a lease that was given to the session before this one, and began after this
				// one's hello, is known to neither.
				if !st.reclaim(tx, ref) {
					st.revoke(ref, pb.Revocation_CAUSE_LOST, "the lease is not held")
				}
			}
			return nil
		}
		err := p.Go(st.ctx, renew, func(err error) {
			mu.Lock()
			defer mu.Unlock()
			if left--; err == nil && left == 0 {
				ack()
			}
		})
		if err != nil {
			return nil //nolint:nilerr // the stream has ended
		}
	}
	return nil
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
