package session_test

import (
	"slices"
	"testing"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func offers(h *pb.Hello) { h.Offers = true }

func TestAnOfferTakesASlotUntilItIsAnswered(t *testing.T) {
	f := newFarm(t, 4)
	w := f.connect("w", offers)
	w.heartbeat(free(2))
	first := w.offers(2)
	// The worker does not count what it was offered and has not asked for.
	w.heartbeat(free(2))
	w.heartbeat(free(2))
	rest := f.fetch(2)
	if got := w.offers(2); len(got) != 2 {
		t.Errorf("%d offers for two slots: %v", len(got), got)
	}
	if first[0].GetToken() == first[1].GetToken() || first[0].GetCapability() != "build" {
		t.Errorf("offers: %v", first)
	}
	// One is answered and runs, the other is not: still no slot.
	ref := w.lease(first[0].GetToken())
	w.heartbeat(&pb.Heartbeat{Held: []*pb.LeaseRef{ref}, Free: free(1).GetFree()})
	for _, h := range rest {
		if err := h.Nak(); err != nil {
			t.Fatal(err)
		}
	}
	rest = f.fetch(2)
	if got := w.offers(2); len(got) != 2 {
		t.Errorf("%d offers beside one lease: %v", len(got), got)
	}
	w.complete(ref, 0)
	w.heartbeat(free(2))
	if err := rest[0].Nak(); err != nil {
		t.Fatal(err)
	}
	if got := w.offers(3); got[2].GetToken() != rest[0].Token {
		t.Errorf("third offer: %v, want %s", got[2], rest[0].Token)
	}
}

func TestADrainingWorkerLeavesItsOffersToOthers(t *testing.T) {
	f := newFarm(t, 2)
	w := f.connect("w", offers)
	w.heartbeat(free(2))
	given := w.offers(2)
	ref := w.lease(given[0].GetToken())
	w.heartbeat(&pb.Heartbeat{Held: []*pb.LeaseRef{ref}, Draining: true})
	if n := f.presence.of("instance-w"); n != 0 {
		t.Errorf("%d slots of a draining worker", n)
	}
	other := f.connect("other", offers)
	other.heartbeat(free(2))
	if got := other.offers(1); got[0].GetToken() != given[1].GetToken() {
		t.Errorf("offer %v, want what the draining worker had not asked for", got)
	}
	// What it has asked for stays its own.
	if got := w.complete(ref, 0); got.GetAborted() {
		t.Error("a draining worker's completion was not used")
	}
}

func TestOffersOfAWorkerThatIsGoneAreGivenBack(t *testing.T) {
	f := newFarm(t, 2)
	w := f.connect("w", offers)
	w.heartbeat(free(2))
	var tokens []string
	for _, o := range w.offers(2) {
		tokens = append(tokens, o.GetToken())
	}
	w.hangUp()
	for _, h := range f.fetch(2) {
		if !slices.Contains(tokens, h.Token) {
			t.Errorf("hint %s was never offered", h.Token)
		}
	}
}
