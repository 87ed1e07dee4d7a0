package session_test

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// generous accepts the next session as a coordinator that gives slots their next task.
func (c *coordinator) generous(t *testing.T) *conn {
	t.Helper()
	n := c.accept(t)
	n.send(&pb.SessionResponse{Welcome: &pb.Welcome{Ttl: durationpb.New(ttl), Next: true}})
	return n
}

// next is a grant for a slot whose attempt has ended, with the end's acknowledgment.
func next(token, after string) *pb.SessionResponse {
	m := grant(token)
	m.Grants[0].Capability = "build"
	m.CompletionAcks = []*pb.CompletionAck{{Lease: ref(after, 1)}}
	return m
}

// one has one slot.
func one(cfg *session.Config) { cfg.Slots = map[string]int{"build": 1} }

func TestASlotAsksForItsNextTask(t *testing.T) {
	c := newCoordinator(t)
	w := run(t, c, one)
	n := c.generous(t)
	a := begin(t, w, n, "a")
	n.send(offer("c")) // for a slot that is free
	a.finish <- pb.Outcome_OUTCOME_SUCCEEDED
	if got := n.completion("a").GetNext(); got != "build" {
		t.Fatalf("the end asks for %q, want build", got)
	}
	n.send(next("b", "a"))
	b := await(t, "attempt", w.begun)
	if got := b.lease.Grant.GetLease().GetToken(); got != "b" {
		t.Fatalf("%s was begun, want b", got)
	}
	if h := n.beat(0, holds("b")); h.GetFree()[0].GetSlots() != 0 {
		t.Errorf("free beside the next task: %v", h.GetFree())
	}
	if got := n.requests(1); !slices.Equal(got, []string{"a"}) {
		t.Errorf("asked for %v while the slot was never free", got)
	}
	b.finish <- pb.Outcome_OUTCOME_SUCCEEDED
	n.completion("b")
	// There is nothing: the slot is free, for the offer that has waited.
	n.send(&pb.SessionResponse{CompletionAcks: []*pb.CompletionAck{{Lease: ref("b", 1)}}, Passed: []*pb.Capacity{{Capability: "build", Slots: 1}}})
	if got := n.requests(2); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("asked for %v", got)
	}
	n.send(&pb.SessionResponse{Refusals: []*pb.Refusal{{Token: "c"}}})
	finished(t, w)
}

func TestASlotIsFreeWhenNobodyCanAnswer(t *testing.T) {
	c := newCoordinator(t)
	w := run(t, c, one)
	n := c.generous(t)
	begin(t, w, n, "a").finish <- pb.Outcome_OUTCOME_SUCCEEDED
	n.completion("a")
	n.hangUp(status.Error(codes.Unavailable, "going away"))
	n = c.generous(t)
	if got := n.completion("a").GetNext(); got != "" {
		t.Errorf("the end that is said again asks for %q once more", got)
	}
	n.send(&pb.SessionResponse{CompletionAcks: []*pb.CompletionAck{{Lease: ref("a", 1)}}})
	n.send(next("stale", "a")) // of the session before: nobody waits for it
	begin(t, w, n, "b").finish <- pb.Outcome_OUTCOME_SUCCEEDED
	n.completion("b")
	n.send(&pb.SessionResponse{CompletionAcks: []*pb.CompletionAck{{Lease: ref("b", 1)}}, Passed: []*pb.Capacity{{Capability: "build", Slots: 1}}})
	finished(t, w)
}

func TestAnOldCoordinatorIsNotAsked(t *testing.T) {
	c := newCoordinator(t)
	w := run(t, c, one)
	n := c.welcome(t)
	begin(t, w, n, "a").finish <- pb.Outcome_OUTCOME_SUCCEEDED
	if got := n.completion("a").GetNext(); got != "" {
		t.Errorf("it is asked for %q", got)
	}
	n.send(&pb.SessionResponse{CompletionAcks: []*pb.CompletionAck{{Lease: ref("a", 1)}}})
	finished(t, w)
}

// TestADrainingWorkerTakesWhatItHasAskedFor: the coordinator may have given it already.
func TestADrainingWorkerTakesWhatItHasAskedFor(t *testing.T) {
	c := newCoordinator(t)
	w := run(t, c, func(cfg *session.Config) { cfg.Drain = patience })
	n := c.generous(t)
	a, b := begin(t, w, n, "a"), begin(t, w, n, "b")
	a.finish <- pb.Outcome_OUTCOME_SUCCEEDED
	n.completion("a")
	w.stop()
	n.beat(0, func(h *pb.Heartbeat) bool { return h.GetDraining() })
	b.finish <- pb.Outcome_OUTCOME_SUCCEEDED
	if got := n.completion("b").GetNext(); got != "" {
		t.Errorf("a draining worker asks for %q", got)
	}
	n.send(&pb.SessionResponse{CompletionAcks: []*pb.CompletionAck{{Lease: ref("b", 1)}}})
	n.send(next("c", "a"))
	last := await(t, "attempt", w.begun)
	select {
	case err := <-w.done:
		t.Fatalf("Run ended beside its last task: %v", err)
	case <-time.After(10 * time.Millisecond):
	}
	last.finish <- pb.Outcome_OUTCOME_SUCCEEDED
	n.completion("c")
	n.send(&pb.SessionResponse{CompletionAcks: []*pb.CompletionAck{{Lease: ref("c", 1)}}})
	if err := await(t, "end of Run", w.done); err != nil {
		t.Errorf("Run: %v", err)
	}
}
