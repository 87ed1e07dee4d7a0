package session

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sort"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/internal/logblock"
	"github.com/slipway-build/slipway/internal/queue"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const (
	logFrame = 256 << 10 // log bytes of one attempt in one frame
	maxFrame = 1 << 20   // log bytes in one frame
)

// refused reports that connecting again cannot help.
func refused(err error) bool {
	switch status.Code(err) {
	case codes.Unauthenticated, codes.PermissionDenied, codes.InvalidArgument, codes.Unimplemented:
		return true
	default:
		return false
	}
}

// stream opens one stream and serves it until it breaks.
func (s *Session) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	st, err := s.cfg.Client.Session(ctx)
	if err != nil {
		return fmt.Errorf("open session: %w", err)
	}
	if err := st.Send(&pb.SessionRequest{Hello: s.hello()}); err != nil {
		_, err = st.Recv()
		return fmt.Errorf("say hello: %w", err)
	}
	first, err := st.Recv()
	if err != nil {
		return fmt.Errorf("wait for welcome: %w", err)
	}
	s.welcome(ctx, first.GetWelcome(), first.GetStanding())
	defer s.unheard()
	var sender sync.WaitGroup
	sender.Go(func() {
		if err := s.send(ctx, st); err != nil {
			cancel(err)
		}
	})
	defer sender.Wait()
	defer cancel(nil)
	s.link.open()
	defer s.link.lost()
	s.handleResponse(ctx, first)
	for {
		m, err := st.Recv()
		if err != nil {
			return fmt.Errorf("session: %w", err)
		}
		s.handleResponse(ctx, m)
	}
}

// hello names what still runs, and puts back what the last stream may have lost.
func (s *Session) hello() *pb.Hello {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &pb.Hello{Name: s.cfg.Name, Instance: s.cfg.Instance, Version: s.cfg.Version, Capacity: s.capacity(func(p *pool) int { return cap(p.slots) }), Offers: s.cfg.Hints == nil}
	if s.cfg.Holdings != nil {
		h.Directed, h.Holdings = true, s.cfg.Holdings()
	}
	s.out = outbox{beat: true}
	s.opened = s.cfg.Now()
	s.hellos++
	h.Session = s.hellos
	for token, w := range s.waiting {
		w.at = s.opened
		s.out.requests = append(s.out.requests, token)
	}
	for _, l := range s.held {
		if l.lost { // its handler has not returned yet; nobody may take the lease back
			continue
		}
		h.Running = append(h.Running, l.Grant.GetLease())
		l.named = s.hellos
		l.log.rewind()
		if l.started { // the last stream may have lost it
			s.out.progress = append(s.out.progress, &pb.LeaseProgress{Lease: l.Grant.GetLease(), Started: true})
		}
		if l.completion != nil {
			s.out.done = append(s.out.done, l)
		}
	}
	clear(s.beats)
	return h
}

func (s *Session) capacity(n func(*pool) int) []*pb.Capacity {
	out := make([]*pb.Capacity, 0, len(s.pools))
	for c, p := range s.pools {
		out = append(out, &pb.Capacity{Capability: c, Slots: int32(n(p))})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].GetCapability() < out[j].GetCapability() })
	return out
}

func (s *Session) welcome(ctx context.Context, w *pb.Welcome, as *pb.Standing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stand(ctx, as)
	s.ttl, s.next, s.packs = w.GetTtl().AsDuration(), w.GetNext(), w.GetPacked()
	for _, ref := range w.GetRejected() {
		s.lose(ref, ErrLost)
	}
	unsure := refs(w.GetUnconfirmed())
	// The coordinator took the others back after the hello was sent; one that began since then it was not asked about.
	for token, l := range s.held {
		if !l.lost && l.named == s.hellos && !unsure[token] {
			l.deadline, l.since = s.opened.Add(s.ttl), s.beat+1
		}
	}
	s.cfg.Log.InfoContext(ctx, "session open", "ttl", s.ttl, "running", len(s.held))
}

// send writes frames while there is something to say, and heartbeats in any case.
func (s *Session) send(ctx context.Context, st grpc.BidiStreamingClient[pb.SessionRequest, pb.SessionResponse]) error {
	s.mu.Lock()
	every, packs := max(s.ttl/4, 10*time.Millisecond), s.packs
	s.mu.Unlock()
	var packer logblock.Packer
	beat := time.NewTicker(every)
	defer beat.Stop()
	for {
		runtime.Gosched() // those who are about to say something do so in this frame
		m, more := s.frame()
		if m != nil {
			if packs {
				pack(&packer, m.GetLogs())
			}
			if err := st.Send(m); err != nil {
				return fmt.Errorf("send: %w", err)
			}
			s.sentFrame(m)
		}
		if more {
			continue
		}
		select {
		case <-s.wake:
		case <-beat.C:
			s.mu.Lock()
			s.out.beat = true
			s.mu.Unlock()
		case <-ctx.Done():
			return nil
		}
	}
}

// pack makes chunks of logs smaller.
func pack(p *logblock.Packer, chunks []*pb.LogChunk) {
	for _, c := range chunks {
		b := p.Pack(c.GetData())
		c.Data, c.Packed = b.Data, int64(b.Packed)
	}
}

// frame takes what waits. more: there is log left for another frame.
func (s *Session) frame() (m *pb.SessionRequest, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m = &pb.SessionRequest{Progress: s.out.progress}
	s.out.progress = nil
	for _, t := range s.out.requests {
		m.LeaseRequests = append(m.LeaseRequests, &pb.LeaseRequest{Token: t})
	}
	s.out.requests = nil
	s.out.said(m)
	bytes := 0
	for _, l := range s.held {
		if l.lost || bytes >= maxFrame {
			more = more || bytes >= maxFrame
			continue
		}
		if offset, data, rest := l.log.chunk(logFrame); len(data) > 0 {
			bytes += len(data)
			more = more || rest
			m.Logs = append(m.Logs, &pb.LogChunk{Lease: l.Grant.GetLease(), Offset: offset, Data: data})
		}
	}
	var later []*Lease
	for _, l := range s.out.done {
		if _, ok := s.held[l.Grant.GetLease().GetToken()]; !ok {
			continue
		}
		if l.log.unsent() {
			later = append(later, l)
			continue
		}
		l.completion.Next = l.askNext()
		m.Completions = append(m.Completions, l.completion)
	}
	s.out.done = later
	if s.out.beat {
		s.out.beat = false
		m.Heartbeat = s.heartbeat()
	}
	if len(m.GetLeaseRequests())+len(m.GetProgress())+len(m.GetLogs())+len(m.GetCompletions())+len(m.GetDeclined()) == 0 && m.GetHeartbeat() == nil && m.GetHoldings() == nil {
		return nil, false
	}
	return m, more
}

// heartbeat is sent in the next frame; mu is held.
func (s *Session) heartbeat() *pb.Heartbeat {
	s.beat++
	s.beats[s.beat] = s.cfg.Now()
	h := &pb.Heartbeat{Sequence: s.beat, Draining: s.draining, Pressed: s.pressed, Free: s.capacity((*pool).unused)}
	for _, l := range s.held {
		if !l.lost {
			h.Held = append(h.Held, l.Grant.GetLease())
		}
	}
	return h
}

// sentFrame frees the slots of completions that are on their way.
func (s *Session) sentFrame(m *pb.SessionRequest) {
	if len(m.GetCompletions()) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range m.GetCompletions() {
		if l, ok := s.held[c.GetLease().GetToken()]; ok {
			l.release()
		}
	}
}

func (s *Session) handleResponse(ctx context.Context, m *pb.SessionResponse) {
	settled, others := s.understand(ctx, m)
	for _, h := range settled {
		s.reply(ctx, h, true)
	}
	for _, h := range others {
		s.leave(ctx, h)
	}
	s.offered(ctx, slices.DeleteFunc(m.GetOffers(), func(o *pb.Offer) bool { return !o.GetDirected() }))
}

// understand does what a frame says, and returns the hints that it settles, and those that
// are for others.
func (s *Session) understand(ctx context.Context, m *pb.SessionResponse) (settled, others []*queue.Hint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.GetStanding() != nil && m.GetWelcome() == nil {
		s.stand(ctx, m.GetStanding())
	}
	for _, g := range m.GetGrants() {
		if g.GetCapability() != "" {
			s.given(g)
			continue
		}
		settled = append(settled, s.answer(g.GetLease().GetToken(), g))
	}
	for _, r := range m.GetRefusals() {
		s.cfg.Log.DebugContext(ctx, "lease refused", "token", r.GetToken(), "reason", r.GetReason())
		if h := s.answer(r.GetToken(), nil); r.GetOthers() {
			others = append(others, h)
		} else {
			settled = append(settled, h)
		}
	}
	if a := m.GetHeartbeatAck(); a != nil {
		if sent, ok := s.beats[a.GetSequence()]; ok {
			unsure := refs(a.GetUnconfirmed())
			for token, l := range s.held {
				if l.since <= a.GetSequence() && !l.lost && !unsure[token] {
					l.deadline = sent.Add(s.ttl)
				}
			}
			for q := range s.beats {
				if q <= a.GetSequence() {
					delete(s.beats, q)
				}
			}
		}
	}
	for _, a := range m.GetCompletionAcks() {
		if l, ok := s.current(a.GetLease()); ok {
			if a.GetAborted() {
				s.cfg.Log.WarnContext(ctx, "result not used: the lease had passed on", "token", a.GetLease().GetToken())
			}
			l.log.stop()
			l.release()
			s.forget(a.GetLease().GetToken())
		}
	}
	for _, a := range m.GetLogAcks() {
		if l, ok := s.current(a.GetLease()); ok {
			l.log.acknowledge(a.GetOffset())
			if a.GetRewind() {
				s.again(l)
			}
		}
	}
	for _, c := range m.GetPassed() {
		s.passed(c)
	}
	for _, r := range m.GetRevocations() {
		cause := fmt.Errorf("%w: %s", ErrCanceled, r.GetMessage())
		if r.GetCause() == pb.Revocation_CAUSE_LOST {
			cause = ErrLost
		}
		s.lose(r.GetLease(), cause)
	}
	for _, o := range m.GetOffers() {
		if o.GetDirected() {
			continue
		}
		select {
		case s.offers[o.GetCapability()] <- o.GetToken():
		default: // it comes again
		}
	}
	return settled, others
}

// again sends what was not taken: the log from its last acknowledged byte on, and then
// the completion; mu is held.
func (s *Session) again(l *Lease) {
	l.log.rewind()
	if l.completion != nil && !slices.Contains(s.out.done, l) {
		s.out.done = append(s.out.done, l)
	}
	s.signal()
}

// refs by token.
func refs(list []*pb.LeaseRef) map[string]bool {
	out := make(map[string]bool, len(list))
	for _, r := range list {
		out[r.GetToken()] = true
	}
	return out
}

// current lease of that fence; mu is held.
func (s *Session) current(ref *pb.LeaseRef) (*Lease, bool) {
	l, ok := s.held[ref.GetToken()]
	if !ok {
		return nil, false
	}
	have := l.Grant.GetLease().GetFence()
	return l, have.GetEpoch() == ref.GetFence().GetEpoch() && have.GetCounter() == ref.GetFence().GetCounter()
}

// lose ends a lease with a cause; mu is held.
func (s *Session) lose(ref *pb.LeaseRef, cause error) {
	l, ok := s.current(ref)
	if !ok {
		return
	}
	s.end(ref.GetToken(), l, cause)
}

// end a lease with a cause; mu is held.
func (s *Session) end(token string, l *Lease, cause error) {
	l.cancel(cause)
	if errors.Is(cause, ErrLost) {
		l.lost = true
		l.log.stop()
		if l.completion != nil {
			l.release()
			s.forget(token)
		}
	}
}
