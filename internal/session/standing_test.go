package session_test

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/slipway-build/slipway/internal/natstest"
	"github.com/slipway-build/slipway/internal/queue"
	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func TestACordonedWorkerLeavesHintsToOthers(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	q, err := queue.Open(t.Context(), js, 1)
	if err == nil {
		err = q.EnsureConsumer(t.Context(), "build")
	}
	if err != nil {
		t.Fatal(err)
	}
	c := newCoordinator(t)
	w := run(t, c, func(cfg *session.Config) {
		cfg.Hints = map[string]session.Hints{"build": queue.NewPuller(js, "build")}
	})
	n := c.accept(t)
	n.send(&pb.SessionResponse{Welcome: &pb.Welcome{Ttl: durationpb.New(ttl)}, Standing: &pb.Standing{Cordoned: true, Reason: "its disk is slow"}})
	n.beat(0, func(*pb.Heartbeat) bool { return true })
	if err := q.Publish(t.Context(), "build", "a", "b"); err != nil {
		t.Fatal(err)
	}
	other := make(chan string, 2)
	for len(other) < 2 {
		if err := queue.NewPuller(js, "build").Fetch(t.Context(), 2-len(other), patience, func(h queue.Hint) {
			other <- h.Token
			_ = h.Ack()
		}); err != nil {
			t.Fatal(err)
		}
	}
	n.send(&pb.SessionResponse{Standing: &pb.Standing{}})
	if err := q.Publish(t.Context(), "build", "c"); err != nil {
		t.Fatal(err)
	}
	if got := n.requests(1); !slices.Equal(got, []string{"c"}) {
		t.Errorf("asked for %v", got)
	}
	// It is refused since it is cordoned, and was not told yet: the hint is not used up.
	n.send(&pb.SessionResponse{Refusals: []*pb.Refusal{{Token: "c", Others: true}}, Standing: &pb.Standing{Cordoned: true}})
	got := ""
	for got == "" {
		if err := queue.NewPuller(js, "build").Fetch(t.Context(), 1, patience, func(h queue.Hint) { got = h.Token }); err != nil {
			t.Fatal(err)
		}
	}
	if got != "c" {
		t.Errorf("others get %q", got)
	}
	finished(t, w)
}

func TestAPressedWorkerAsksForNothing(t *testing.T) {
	c := newCoordinator(t)
	w := run(t, c, nil)
	n := c.generous(t)
	a := begin(t, w, n, "a")
	w.session.Press("3 % of memory is free")
	beat := n.beat(0, func(h *pb.Heartbeat) bool { return h.GetPressed() == "3 % of memory is free" })
	n.send(offer("b"))
	n.beat(beat.GetSequence()+1, func(*pb.Heartbeat) bool { return true })
	a.finish <- pb.Outcome_OUTCOME_SUCCEEDED
	if got := n.completion("a").GetNext(); got != "" {
		t.Errorf("its slot asks for %q", got)
	}
	n.send(&pb.SessionResponse{CompletionAcks: []*pb.CompletionAck{{Lease: ref("a", 1)}}})
	w.session.Press("")
	n.beat(beat.GetSequence(), func(h *pb.Heartbeat) bool { return h.GetPressed() == "" })
	n.send(offer("c"))
	if got := n.requests(2); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("asked for %v", got)
	}
	n.send(&pb.SessionResponse{Refusals: []*pb.Refusal{{Token: "c"}}})
	finished(t, w)
}
