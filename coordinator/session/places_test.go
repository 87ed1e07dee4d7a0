package session_test

import (
	"testing"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// TestALeaseThatIsNotTakenUpFreesItsSlot: the worker does not name it, though it was given.
func TestALeaseThatIsNotTakenUpFreesItsSlot(t *testing.T) {
	f := newFarm(t, 1)
	f.fetch(1)
	a := f.connect("a", warm("s1"))
	if a.ask(f.tokens[0]) == nil {
		t.Fatal("not granted")
	}
	f.advance(ttl + time.Second)
	a.heartbeat(free(1))
	a.heartbeat(free(1))
	f.accept(builds(2))
	a.directedTo(1)
}

// TestAWorkerThatIsCordonedTakesNoRoom of those that are free.
func TestAWorkerThatIsCordonedTakesNoRoom(t *testing.T) {
	f := newFarm(t, 1)
	a := f.connect("a", warm())
	a.lease(f.tokens[0])
	b := f.connect("b", warm())
	f.cordons.set("a", "")
	a.told(1)
	f.accept(builds(1))
	b.directedTo(1)
}

// TestAWorkerThatComesBackWithoutOffers is offered nothing: its session is another coordinator's of an earlier version.
func TestAWorkerThatComesBackWithoutOffers(t *testing.T) {
	f := newFarm(t, 1)
	f.fetch(1)
	f.connect("a", func(h *pb.Hello) { warm("s0")(h); h.Session = 1 })
	b := f.connect("b", warm())
	f.connect("a", func(h *pb.Hello) { warm()(h); h.Directed, h.Session = false, 2 })
	f.accept(builds(1))
	b.directedTo(1)
}

// TestARelayPullsNothingForASlotThatIsGone: a directed offer takes the slot that it has asked the queue for.
func TestARelayPullsNothingForASlotThatIsGone(t *testing.T) {
	f := newFarm(t, 1)
	hint := f.fetch(1)[0]
	a := f.connect("a", func(h *pb.Hello) { warm("s1")(h); h.Offers = true })
	a.heartbeat(free(1))
	f.accept(builds(2))
	if a.ask(a.directedTo(1)[0]) == nil {
		t.Fatal("not granted")
	}
	if err := hint.Nak(); err != nil { // published before: it comes while the relay asks
		t.Fatal(err)
	}
	other := f.connect("other", func(h *pb.Hello) {
		h.Offers, h.Capacity = true, []*pb.Capacity{{Capability: plan.CapabilityBuild, Slots: 2}}
	})
	other.heartbeat(free(2))
	other.offers(2)
	for _, o := range all(a, (*pb.SessionResponse).GetOffers) {
		if !o.GetDirected() {
			t.Errorf("%s is offered to a worker whose only slot is taken", o.GetToken())
		}
	}
}
