package session

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/coordinator/peer"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Peers are the other coordinators, which own what this one does not.
type Peers interface {
	// Of answers who answers for a partition now; not ok: nobody.
	Of(ctx context.Context, partition int) (peer.Place, bool, error)
	// Others are the coordinators beside this one.
	Others(ctx context.Context) ([]peer.Place, error)
	// Changed is closed at the next change of either.
	Changed() <-chan struct{}
}

// upstream is this worker's session with another coordinator, which this one holds for it:
// what the worker says of leases there goes on, and the answers come back. The log stays
// here: any coordinator may store it.
type upstream struct {
	st    *stream
	place peer.Place

	mu    sync.Mutex
	open  bool
	out   *pb.SessionRequest
	wake  chan struct{}
	asked map[string]bool // lease requests that were not answered
}

// follow has the streams of this coordinator meet the others whenever those change, until
// there is no stream. It is one for all: workers are many, and idle ones should cost little.
func (s *Server) follow(alone <-chan struct{}) {
	for {
		changed := s.cfg.Peers.Changed()
		for _, st := range s.all() {
			if st.follows() {
				st.meet()
			}
		}
		select {
		case <-changed:
		case <-alone:
			return
		}
	}
}

// follows: the stream is the worker's own, and there may be other coordinators.
func (st *stream) follows() bool { return st.cfg.Peers != nil && !st.forwarded }

// meet begins a session with every other coordinator that has none, so that each knows of
// this worker's slots.
func (st *stream) meet() {
	others, err := st.cfg.Peers.Others(st.ctx)
	if err != nil {
		if st.ctx.Err() == nil {
			st.cfg.Log.WarnContext(st.ctx, "other coordinators cannot be reached", "err", err)
		}
		return
	}
	for _, o := range others {
		u := &upstream{st: st, place: o, out: &pb.SessionRequest{}, wake: make(chan struct{}, 1), asked: map[string]bool{}}
		st.mu.Lock()
		_, have := st.ups[o.ID]
		if !have {
			st.ups[o.ID] = u
		}
		st.mu.Unlock()
		if !have {
			st.beside(u.run)
		}
	}
}

// run keeps the session open while the other coordinator is there.
func (u *upstream) run() {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 20*time.Millisecond, time.Second
	for u.st.ctx.Err() == nil && u.there() {
		started := time.Now()
		err := u.serve()
		if time.Since(started) > b.MaxInterval { // it was open: what broke it says nothing of the next one
			b.Reset()
		}
		u.lost()
		if u.st.ctx.Err() != nil {
			return
		}
		if status.Code(err) == codes.Aborted { // the worker has a newer session than this one
			u.st.cancel()
			return
		}
		u.st.cfg.Log.DebugContext(u.st.ctx, "session with another coordinator ended", "worker", u.st.worker.Name, "err", err)
		select {
		case <-time.After(b.NextBackOff()):
		case <-u.st.ctx.Done():
		}
	}
	u.st.mu.Lock()
	delete(u.st.ups, u.place.ID)
	u.st.mu.Unlock()
	if u.st.ctx.Err() == nil {
		u.st.meet() // it may have come back at another place meanwhile
	}
}

func (u *upstream) there() bool {
	others, err := u.st.cfg.Peers.Others(u.st.ctx)
	if err != nil {
		return true
	}
	for _, o := range others {
		if o.ID == u.place.ID && o.Conn == u.place.Conn {
			return true
		}
	}
	return false
}

// serve opens the session and hands on, until it breaks.
func (u *upstream) serve() error {
	ctx, cancel := context.WithCancel(u.st.ctx)
	defer cancel()
	s, err := pb.NewWorkerServiceClient(u.place.Conn).Session(rpc.Forward(ctx))
	if err != nil {
		return err //nolint:wrapcheck // its code is looked at
	}
	h := u.st.hello
	running := u.st.heldAt(u.place)
	hello := &pb.Hello{Name: h.GetName(), Instance: h.GetInstance(), Version: h.GetVersion(), Capacity: h.GetCapacity(), Session: h.GetSession(), Running: running, Directed: h.GetDirected(), Holdings: u.st.holding()}
	if err := s.Send(&pb.SessionRequest{Hello: hello}); err != nil {
		_, err = s.Recv()
		return err //nolint:wrapcheck // its code is looked at
	}
	first, err := s.Recv()
	if err != nil {
		return err //nolint:wrapcheck // its code is looked at
	}
	u.welcome(first.GetWelcome(), running)
	u.mu.Lock()
	u.open = true
	u.mu.Unlock()
	var sender sync.WaitGroup
	defer sender.Wait()
	defer cancel()
	sender.Go(func() {
		if err := u.send(ctx, s); err != nil {
			cancel()
		}
	})
	for {
		u.answered(first)
		if first, err = s.Recv(); err != nil {
			return err //nolint:wrapcheck // its code is looked at
		}
	}
}

// welcome: what the owner does not know any more is the worker's no longer.
func (u *upstream) welcome(w *pb.Welcome, running []*pb.LeaseRef) {
	unsure := map[string]bool{}
	for _, ref := range w.GetUnconfirmed() {
		unsure[ref.GetToken()] = true
	}
	for _, ref := range w.GetRejected() {
		unsure[ref.GetToken()] = true
		u.st.revoke(ref, pb.Revocation_CAUSE_LOST, "the lease is not held")
	}
	for _, ref := range running {
		if !unsure[ref.GetToken()] {
			u.st.confirm(ref)
		}
	}
}

// lost: nobody answers what was asked.
func (u *upstream) lost() {
	u.mu.Lock()
	asked := u.asked
	u.open, u.out, u.asked = false, &pb.SessionRequest{}, map[string]bool{}
	u.mu.Unlock()
	for token := range asked {
		u.st.refuse(token, "the owner of the task is being replaced")
	}
}

// later adds to the next frame; not ok: there is no session.
func (u *upstream) later(f func(*pb.SessionRequest)) bool {
	u.mu.Lock()
	if !u.open {
		u.mu.Unlock()
		return false
	}
	f(u.out)
	u.mu.Unlock()
	select {
	case u.wake <- struct{}{}:
	default:
	}
	return true
}

func (u *upstream) send(ctx context.Context, s grpc.BidiStreamingClient[pb.SessionRequest, pb.SessionResponse]) error {
	for {
		u.mu.Lock()
		out := u.out
		u.out = &pb.SessionRequest{}
		u.mu.Unlock()
		if out.GetHeartbeat() != nil || out.GetHoldings() != nil || len(out.GetLeaseRequests())+len(out.GetProgress())+len(out.GetCompletions())+len(out.GetDeclined()) > 0 {
			if err := s.Send(out); err != nil {
				return err //nolint:wrapcheck // the receiving end says why
			}
		}
		select {
		case <-u.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// answered hands the owner's answers to the worker.
func (u *upstream) answered(m *pb.SessionResponse) {
	u.mu.Lock()
	for _, g := range m.GetGrants() {
		delete(u.asked, g.GetLease().GetToken())
	}
	for _, r := range m.GetRefusals() {
		delete(u.asked, r.GetToken())
	}
	u.mu.Unlock()
	for _, g := range m.GetGrants() {
		u.st.note(g.GetLease(), held{run: g.GetRun(), task: g.GetTaskId(), can: g.GetCan()})
	}
	for _, a := range m.GetCompletionAcks() {
		u.st.completed(a.GetLease())
	}
	for _, r := range m.GetRevocations() {
		if r.GetCause() == pb.Revocation_CAUSE_LOST {
			u.st.drop(r.GetLease())
		}
	}
	if a := m.GetHeartbeatAck(); a != nil {
		u.st.beaten(a.GetSequence(), u.place.ID, a.GetUnconfirmed())
	}
	if len(m.GetGrants())+len(m.GetRefusals())+len(m.GetCompletionAcks())+len(m.GetRevocations())+len(m.GetOffers()) == 0 {
		return
	}
	if u.st.relay != nil {
		for _, o := range m.GetOffers() {
			u.st.relay.spend(o.GetCapability())
		}
	}
	u.st.later(func(out *pb.SessionResponse) {
		out.Grants = append(out.Grants, m.GetGrants()...)
		out.Refusals = append(out.Refusals, m.GetRefusals()...)
		out.CompletionAcks = append(out.CompletionAcks, m.GetCompletionAcks()...)
		out.Revocations = append(out.Revocations, m.GetRevocations()...)
		out.Offers = append(out.Offers, m.GetOffers()...)
	})
}

var errNobody = errors.New("the task's partition has no owner now")

// elsewhere answers the session with the owner of a token; nil: the owner is here, or is
// taken to be, since this session is handed on already.
func (st *stream) elsewhere(number int) (*upstream, error) {
	if st.cfg.Peers == nil || st.forwarded {
		return nil, nil //nolint:nilnil // here
	}
	p, ok, err := st.cfg.Peers.Of(st.ctx, number)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, errNobody
	case p.Here:
		return nil, nil //nolint:nilnil // here
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	u, ok := st.ups[p.ID]
	if !ok {
		return nil, errNobody
	}
	return u, nil
}
