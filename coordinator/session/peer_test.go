package session_test

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// peer is a worker that says only what the test tells it to.
type peer struct {
	f    *farm
	st   grpc.BidiStreamingClient[pb.SessionRequest, pb.SessionResponse]
	beat uint64

	mu    sync.Mutex
	seen  []*pb.SessionResponse
	came  chan struct{} // closed and made anew with every frame
	ended chan error
}

// connect opens a session of a process and waits for its welcome.
func (f *farm) connect(name string, change func(*pb.Hello)) *peer {
	f.t.Helper()
	h := &pb.Hello{Name: name, Instance: "instance-" + name, Capacity: []*pb.Capacity{{Capability: "build", Slots: 2}}}
	if change != nil {
		change(h)
	}
	p := f.open(&pb.SessionRequest{Hello: h})
	p.until("welcome", func(m *pb.SessionResponse) bool { return m.GetWelcome() != nil })
	return p
}

func (f *farm) open(first *pb.SessionRequest) *peer {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.t.Context()))
	st, err := f.client.Session(ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	p := &peer{f: f, st: st, came: make(chan struct{}), ended: make(chan error, 1)}
	p.send(first)
	var reading sync.WaitGroup
	reading.Go(p.read)
	f.t.Cleanup(func() {
		cancel()
		reading.Wait()
	})
	return p
}

func (p *peer) read() {
	for {
		m, err := p.st.Recv()
		if err != nil {
			p.ended <- err
			return
		}
		p.mu.Lock()
		p.seen = append(p.seen, m)
		close(p.came)
		p.came = make(chan struct{})
		p.mu.Unlock()
	}
}

// hangUp ends the session in order and waits until the coordinator has noticed.
func (p *peer) hangUp() {
	p.f.t.Helper()
	if err := p.st.CloseSend(); err != nil {
		p.f.t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.f.t.Fatal("the session does not end")
	}
}

func (p *peer) send(m *pb.SessionRequest) {
	p.f.t.Helper()
	if err := p.st.Send(m); err != nil {
		p.f.t.Fatalf("send: %v", err)
	}
}

// until waits for a frame that satisfies ok, and answers the first.
func (p *peer) until(what string, ok func(*pb.SessionResponse) bool) *pb.SessionResponse {
	p.f.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		p.mu.Lock()
		seen, came := p.seen, p.came
		p.mu.Unlock()
		for _, m := range seen {
			if ok(m) {
				return m
			}
		}
		select {
		case <-came:
		case <-timeout.C:
			p.f.t.Fatalf("no %s among %d frames: %v", what, len(seen), seen)
		}
	}
}

// all that has come so far, of one kind.
func all[T any](p *peer, of func(*pb.SessionResponse) []T) []T {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []T
	for _, m := range p.seen {
		out = append(out, of(m)...)
	}
	return out
}

// ask asks for a lease. It answers nil for a refusal.
func (p *peer) ask(token string) *pb.Grant {
	p.f.t.Helper()
	before := len(all(p, (*pb.SessionResponse).GetRefusals))
	p.send(&pb.SessionRequest{LeaseRequests: []*pb.LeaseRequest{{Token: token}}})
	var g *pb.Grant
	p.until("answer for "+token, func(*pb.SessionResponse) bool {
		for _, got := range all(p, (*pb.SessionResponse).GetGrants) {
			if got.GetLease().GetToken() == token {
				g = got
				return true
			}
		}
		return len(all(p, (*pb.SessionResponse).GetRefusals)) > before
	})
	return g
}

// lease asks for a lease that must be granted.
func (p *peer) lease(token string) *pb.LeaseRef {
	p.f.t.Helper()
	g := p.ask(token)
	if g == nil {
		p.f.t.Fatalf("%s was refused: %v", token, all(p, (*pb.SessionResponse).GetRefusals))
	}
	return g.GetLease()
}

// heartbeat waits for its acknowledgment: whatever was sent before has been read.
func (p *peer) heartbeat(h *pb.Heartbeat) {
	p.f.t.Helper()
	p.beat++
	h.Sequence = p.beat
	p.send(&pb.SessionRequest{Heartbeat: h})
	p.until("heartbeat acknowledgment", func(m *pb.SessionResponse) bool { return m.GetHeartbeatAck().GetSequence() == h.GetSequence() })
}

func (p *peer) holding(refs ...*pb.LeaseRef) { p.f.t.Helper(); p.heartbeat(&pb.Heartbeat{Held: refs}) }

func free(n int32) *pb.Heartbeat {
	return &pb.Heartbeat{Free: []*pb.Capacity{{Capability: "build", Slots: n}}}
}

func (p *peer) revocation(token string) *pb.Revocation {
	p.f.t.Helper()
	var found *pb.Revocation
	p.until("revocation of "+token, func(m *pb.SessionResponse) bool {
		for _, r := range m.GetRevocations() {
			if r.GetLease().GetToken() == token {
				found = r
			}
		}
		return found != nil
	})
	return found
}

func chunk(ref *pb.LeaseRef, offset int64, text string) *pb.LogChunk {
	return &pb.LogChunk{Lease: ref, Offset: offset, Data: []byte(text)}
}

func (p *peer) writes(ref *pb.LeaseRef, offset int64, text string) {
	p.f.t.Helper()
	p.send(&pb.SessionRequest{Logs: []*pb.LogChunk{chunk(ref, offset, text)}})
}

// logged waits until a log is durable up to an offset.
func (p *peer) logged(ref *pb.LeaseRef, offset int64) {
	p.f.t.Helper()
	p.until("log acknowledgment", func(m *pb.SessionResponse) bool {
		for _, a := range m.GetLogAcks() {
			if a.GetLease().GetToken() == ref.GetToken() && a.GetOffset() >= offset {
				return true
			}
		}
		return false
	})
}

// complete ends an attempt and answers how often it was acknowledged, and the last one.
func (p *peer) complete(ref *pb.LeaseRef, logSize int64, logs ...*pb.LogChunk) *pb.CompletionAck {
	p.f.t.Helper()
	before := len(all(p, (*pb.SessionResponse).GetCompletionAcks))
	p.send(&pb.SessionRequest{
		Logs: logs, Completions: []*pb.Completion{{Lease: ref, Outcome: pb.Outcome_OUTCOME_SUCCEEDED, LogSize: logSize, Result: &pb.Result{Image: "i"}}},
	})
	var acks []*pb.CompletionAck
	p.until("completion acknowledgment", func(*pb.SessionResponse) bool {
		acks = all(p, (*pb.SessionResponse).GetCompletionAcks)
		return len(acks) > before
	})
	return acks[before]
}

// offers waits for the nth offer and answers all.
func (p *peer) offers(n int) []*pb.Offer {
	p.f.t.Helper()
	var got []*pb.Offer
	p.until("offer", func(*pb.SessionResponse) bool {
		got = all(p, (*pb.SessionResponse).GetOffers)
		return len(got) >= n
	})
	return got
}
