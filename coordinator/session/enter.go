package session

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/slipway-build/slipway/coordinator/partition"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// enter makes this the stream of its process. One before it may not have noticed yet
// that its connection is gone: it must not take hints any more. Not ok: the process has
// a newer one.
func (st *stream) enter() bool {
	st.Server.mu.Lock()
	defer st.Server.mu.Unlock()
	if old, ok := st.streams[st.worker.Instance]; ok {
		if old.hello.GetSession() > st.hello.GetSession() || !old.forwarded && st.forwarded && old.hello.GetSession() == st.hello.GetSession() {
			return false
		}
		old.cancel()
	}
	st.streams[st.worker.Instance] = st
	if st.hello.GetDirected() {
		st.keys.Set(st.hello.GetHoldings())
		st.cfg.Presence.Holds(st.worker.Instance, st.hello.GetHoldings())
	} else { // a session before this one may have said it
		st.cfg.Presence.Forget(st.worker.Instance)
	}
	if st.cfg.Peers != nil && st.alone == nil {
		st.alone = make(chan struct{})
		go st.follow(st.alone)
	}
	st.stood = st.standing()
	st.place()
	return true
}

// leave says that the process is gone, unless it has come back on another stream.
func (st *stream) leave() {
	st.Server.mu.Lock()
	defer st.Server.mu.Unlock()
	if st.streams[st.worker.Instance] == st {
		delete(st.streams, st.worker.Instance)
		if len(st.streams) == 0 && st.alone != nil {
			close(st.alone)
			st.alone = nil
		}
		for _, c := range st.hello.GetCapacity() {
			st.cfg.Presence.Worker(c.GetCapability(), st.worker.Instance, 0)
			st.cfg.Presence.Aside(c.GetCapability(), st.worker.Instance, "")
		}
		st.cfg.Presence.Forget(st.worker.Instance)
	}
}

// welcome takes the leases that go on back into this stream. Of those that another
// coordinator owns, that one is asked beside.
func (st *stream) welcome() error {
	w := &pb.Welcome{Ttl: durationpb.New(st.cfg.TTL), Next: !st.forwarded && !st.hello.GetOffers(), Packed: st.cfg.Packed == nil || st.cfg.Packed()}
	for _, ref := range st.hello.GetRunning() {
		part, err := st.cfg.Partitions.Of(ref.GetToken())
		if err != nil {
			w.Rejected = append(w.Rejected, ref)
			continue
		}
		kept := false
		up, err := st.elsewhere(part.Number())
		if up == nil && err == nil {
			err = part.Do(st.ctx, func(tx *partition.Tx) error {
				kept = st.reclaim(tx, ref)
				return nil
			})
		}
		switch {
		case st.ctx.Err() != nil:
			return status.Error(codes.Unavailable, "the session ended") //nolint:wrapcheck // the edge
		case up != nil || err != nil:
			st.mu.Lock()
			st.doubt[ref.GetToken()] = &doubt{ref: ref}
			st.mu.Unlock()
			w.Unconfirmed = append(w.Unconfirmed, ref)
		case !kept:
			w.Rejected = append(w.Rejected, ref)
		}
	}
	defer st.free()
	st.mu.Lock()
	defer st.mu.Unlock()
	st.ready = true
	st.out.Welcome = w
	if c, ok := st.cordon(); ok && !st.forwarded {
		st.out.Standing = &pb.Standing{Cordoned: true, Reason: c.Reason}
	}
	return nil
}

// reclaim takes a lease that goes on into this stream, in a command of its partition.
// Only then may the stream write its log: that a lease exists says nothing about whose.
func (st *stream) reclaim(tx *partition.Tx, ref *pb.LeaseRef) bool {
	if !tx.Reclaim(fromRef(ref), st.worker, st) {
		return false
	}
	if r, t, err := tx.Holder(fromRef(ref)); err == nil { // else it has completed
		st.note(ref, held{run: r, task: t.ID, can: t.Can})
	}
	return true
}
