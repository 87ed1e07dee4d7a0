package session_test

import (
	"slices"
	"testing"

	"github.com/slipway-build/slipway/coordinator/placement"
	"github.com/slipway-build/slipway/coordinator/plan"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// left are the keys of what a build of the farm's plan leaves.
func left(service string) []uint64 {
	for _, t := range builds(8).Tasks {
		if t.Service == service {
			return placement.Left("shop", &t)
		}
	}
	return nil
}

// warm is a worker with one slot that answers directed offers, and holds what builds of services have left.
func warm(services ...string) func(*pb.Hello) {
	return func(h *pb.Hello) {
		h.Directed = true
		h.Capacity = []*pb.Capacity{{Capability: plan.CapabilityBuild, Slots: 1}}
		for _, s := range services {
			h.Holdings = append(h.Holdings, left(s)...)
		}
	}
}

// directedTo waits for n directed offers and answers their tokens.
func (p *peer) directedTo(n int) []string {
	p.f.t.Helper()
	var tokens []string
	p.until("directed offer", func(*pb.SessionResponse) bool {
		tokens = nil
		for _, o := range all(p, (*pb.SessionResponse).GetOffers) {
			if o.GetDirected() {
				tokens = append(tokens, o.GetToken())
			}
		}
		return len(tokens) >= n
	})
	return tokens
}

// TestATaskIsOfferedWhereItIsWarm, and a grant says what will be left. What a worker says it holds counts from then on.
func TestATaskIsOfferedWhereItIsWarm(t *testing.T) {
	f := newFarm(t, 1)
	f.fetch(1) // published before anybody was there, and nobody asks for it
	a, b := f.connect("a", warm("s1")), f.connect("b", warm("s2"))
	f.accept(builds(3))
	s0, s1, s2 := f.tokens[1], f.tokens[2], f.tokens[3]
	if got := a.directedTo(1); !slices.Equal(got, []string{s1}) {
		t.Errorf("a is offered %v, want s1", got)
	}
	if got := b.directedTo(1); !slices.Equal(got, []string{s2}) {
		t.Errorf("b is offered %v, want s2", got)
	}
	g := a.ask(s1)
	if g == nil || g.GetCan() != plan.CapabilityBuild || !slices.Equal(g.GetKeys(), left("s1")) {
		t.Fatalf("grant: %v", g)
	}
	b.send(&pb.SessionRequest{Declined: []string{s2}})
	if got := f.fetch(1)[0].Token; got != s2 {
		t.Errorf("published: %s, want what was declined", got)
	}
	b.heartbeat(free(1))
	if got := b.directedTo(2); got[1] != s0 {
		t.Errorf("b, which says that its slot is free, is offered %v, want s0", got)
	}
}

// TestWhatAWorkerHoldsIsWhatItSays: in its hello, and since then.
func TestWhatAWorkerHoldsIsWhatItSays(t *testing.T) {
	f := newFarm(t, 1)
	f.fetch(1)
	a, b := f.connect("a", warm("s0")), f.connect("b", warm())
	a.send(&pb.SessionRequest{Holdings: &pb.Holdings{Dropped: left("s0")}})
	b.send(&pb.SessionRequest{Holdings: &pb.Holdings{Added: left("s0")}})
	a.holding() // what was said before it has been heard
	b.holding()
	f.accept(builds(1))
	if got := b.directedTo(1); !slices.Equal(got, f.tokens[1:]) {
		t.Errorf("offered: %v", got)
	}
	b.hangUp()
	if got := f.fetch(1)[0].Token; got != f.tokens[1] {
		t.Errorf("when the worker is gone, published: %s", got)
	}
}
