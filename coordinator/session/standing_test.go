package session_test

import (
	"strings"
	"testing"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// told waits until the worker was told how it stands, for the nth time.
func (p *peer) told(n int) *pb.Standing {
	p.f.t.Helper()
	var got []*pb.Standing
	p.until("standing", func(*pb.SessionResponse) bool {
		got = all(p, func(m *pb.SessionResponse) []*pb.Standing {
			if m.GetStanding() == nil {
				return nil
			}
			return []*pb.Standing{m.GetStanding()}
		})
		return len(got) >= n
	})
	return got[n-1]
}

func TestACordonedWorkerIsGivenNothing(t *testing.T) {
	f := newFarm(t, 4)
	w := f.connect("w", nil)
	first, second := w.lease(f.tokens[0]), w.lease(f.tokens[1])
	f.cordons.set("w", "its disk is slow")
	if s := w.told(1); !s.GetCordoned() || s.GetReason() != "its disk is slow" {
		t.Errorf("told %v", s)
	}
	if n := f.presence.of("instance-w"); n != 0 {
		t.Errorf("%d slots count", n)
	}
	if got := f.presence.Place("build").HeldBack; len(got) != 1 || got[0] != "w is cordoned (its disk is slow)" {
		t.Errorf("held back: %q", got)
	}
	// One that does not know what it was told asks, and is refused.
	if g := w.ask(f.tokens[2]); g != nil {
		t.Errorf("granted: %v", g)
	}
	if r := all(w, (*pb.SessionResponse).GetRefusals); len(r) != 1 || !r[0].GetOthers() || r[0].GetReason() != "the worker is cordoned: its disk is slow" {
		t.Errorf("refused: %v", r)
	}
	// What it carries out goes on, and its slots are passed.
	w.holding(first, second)
	if g := w.ends(first, "build"); g != nil {
		t.Errorf("its slot is given %v", g)
	}
	if a := w.complete(second, 0); a.GetAborted() {
		t.Error("a cordoned worker's completion was not used")
	}
	// A process of that name which starts is told with its welcome; another is not concerned.
	again := f.connect("w", func(h *pb.Hello) { h.Instance = "instance-w-again" })
	if s := again.told(1); !s.GetCordoned() || again.ask(f.tokens[2]) != nil {
		t.Errorf("after a restart it stands at %v, and is given tasks", s)
	}
	if n := f.presence.of("instance-w-again"); n != 0 {
		t.Errorf("%d slots of it count", n)
	}
	f.connect("other", nil).lease(f.tokens[2])
	f.cordons.lift("w")
	if s := w.told(2); s.GetCordoned() {
		t.Errorf("uncordoned, it is told %v", s)
	}
	again.told(2)
	if n := f.presence.of("instance-w"); n != 2 {
		t.Errorf("%d slots count again, want 2", n)
	}
	if got := f.presence.Place("build").HeldBack; len(got) != 0 {
		t.Errorf("held back: %q", got)
	}
	w.lease(f.tokens[3])
}

func TestACordonedWorkerIsOfferedNothing(t *testing.T) {
	f := newFarm(t, 2)
	w := f.connect("w", offers)
	w.heartbeat(free(2))
	w.offers(2)
	f.cordons.set("w", "")
	w.told(1)
	w.heartbeat(free(2))
	other := f.connect("other", offers) // which gets the offers that were not answered
	other.heartbeat(free(2))
	other.offers(2)
	if got := all(w, (*pb.SessionResponse).GetOffers); len(got) != 2 {
		t.Errorf("%d offers, want the two from before", len(got))
	}
	other.hangUp()
	f.cordons.lift("w")
	w.told(2)
	w.heartbeat(free(2))
	if got := w.offers(4); len(got) != 4 {
		t.Errorf("%d offers", len(got))
	}
}

func TestAPressedWorkerIsOfferedNothing(t *testing.T) {
	f := newFarm(t, 2)
	w := f.connect("w", offers)
	w.heartbeat(free(2))
	given := w.offers(2)
	ref := w.lease(given[0].GetToken())
	w.heartbeat(&pb.Heartbeat{Held: []*pb.LeaseRef{ref}, Free: free(1).GetFree(), Pressed: "3 % of memory is free"})
	if n := f.presence.of("instance-w"); n != 0 {
		t.Errorf("%d slots count", n)
	}
	if got := f.presence.Place("build").HeldBack; len(got) != 1 || got[0] != "w is pressed (3 % of memory is free)" {
		t.Errorf("held back: %q", got)
	}
	if g := w.ends(ref, "build"); g != nil {
		t.Errorf("its slot is given %v", g)
	}
	seen := f.sessions.Workers()
	if len(seen) != 1 || seen[0].Name != "w" || seen[0].Held != 1 || !strings.HasPrefix(seen[0].Pressed, "3 %") || seen[0].Slots["build"] != 2 {
		t.Errorf("seen: %+v", seen)
	}
	w.heartbeat(free(2))
	if got := w.offers(3); got[2].GetToken() != given[1].GetToken() {
		t.Errorf("offered %v, want what it had not asked for", got[2])
	}
	if n := f.presence.of("instance-w"); n != 2 {
		t.Errorf("%d slots count again, want 2", n)
	}
}
