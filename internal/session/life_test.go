package session_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func TestLeasesGoOnInTheNextSession(t *testing.T) {
	c := newCoordinator(t)
	w := run(t, c, func(cfg *session.Config) { cfg.Slots = map[string]int{"build": 4} })
	n := c.welcome(t)
	goesOn, ended, rejected := begin(t, w, n, "goes-on"), begin(t, w, n, "ended"), begin(t, w, n, "rejected")
	goesOn.lease.Started()
	if _, err := goesOn.lease.Write([]byte("abcdef")); err != nil {
		t.Fatal(err)
	}
	n.until("log", func([]*pb.SessionRequest) bool { return n.log("goes-on", 0) == "abcdef" })
	n.send(&pb.SessionResponse{LogAcks: []*pb.LogAck{{Lease: ref("goes-on", 1), Offset: 2}}})
	ended.finish <- pb.Outcome_OUTCOME_SUCCEEDED
	n.completion("ended") // and no acknowledgment
	n.send(offer("asked"))
	n.requests(4)
	n.hangUp(status.Error(codes.Unavailable, "restarting"))

	n = c.welcome(t, ref("rejected", 1))
	var running []string
	for _, r := range n.hello.GetRunning() {
		running = append(running, r.GetToken())
	}
	slices.Sort(running)
	if !slices.Equal(running, []string{"ended", "goes-on", "rejected"}) {
		t.Errorf("running in the second hello: %v", running)
	}
	if n.hello.GetInstance() != "instance-1" {
		t.Errorf("instance %s: leases belong to another process now", n.hello.GetInstance())
	}
	await(t, "end of the rejected attempt", rejected.ctx.Done())
	if cause := context.Cause(rejected.ctx); !errors.Is(cause, session.ErrLost) {
		t.Errorf("cause of the rejected attempt's end: %v", cause)
	}
	n.completion("ended")
	n.until("the rest of the log", func([]*pb.SessionRequest) bool { return n.log("goes-on", 2) == "cdef" })
	n.until("that it has started", func(frames []*pb.SessionRequest) bool {
		return slices.ContainsFunc(frames, func(m *pb.SessionRequest) bool {
			return slices.ContainsFunc(m.GetProgress(), func(p *pb.LeaseProgress) bool { return p.GetStarted() && p.GetLease().GetToken() == "goes-on" })
		})
	})
	if got := n.requests(1); !slices.Equal(got, []string{"asked"}) {
		t.Errorf("requests in the second session: %v", got)
	}
	n.send(&pb.SessionResponse{
		Refusals: []*pb.Refusal{{Token: "asked"}}, CompletionAcks: []*pb.CompletionAck{{Lease: ref("ended", 1)}},
	})
	n.beat(0, holds("goes-on"))
	if goesOn.ctx.Err() != nil {
		t.Errorf("the attempt that goes on has ended: %v", context.Cause(goesOn.ctx))
	}
	goesOn.finish <- pb.Outcome_OUTCOME_SUCCEEDED
	if got := n.completion("goes-on"); got.GetLogSize() != 6 {
		t.Errorf("log size %d, want 6", got.GetLogSize())
	}
	n.send(&pb.SessionResponse{CompletionAcks: []*pb.CompletionAck{{Lease: ref("goes-on", 1)}}})
	finished(t, w)
}

// A heartbeat confirms the leases that it named, from when it was sent.
func TestEachLeaseIsBelievedFromWhatConfirmedIt(t *testing.T) {
	c := newCoordinator(t)
	c.silent = true
	w := run(t, c, func(cfg *session.Config) { cfg.Slots = map[string]int{"build": 4} })
	n := c.welcome(t)
	first := begin(t, w, n, "first")
	old := n.beat(0, holds("first"))
	w.clock.Store(int64(ttl * 7 / 10))
	second := begin(t, w, n, "second")
	n.ack(old) // sent long ago, and it did not name the second
	w.clock.Store(int64(ttl))
	await(t, "end of the first attempt", first.ctx.Done())
	if cause := context.Cause(first.ctx); !errors.Is(cause, session.ErrLost) {
		t.Errorf("cause: %v", cause)
	}
	last := n.beat(0, holds("second"))
	last = n.beat(last.GetSequence()+3, holds("second")) // it has been looked at in between
	n.ack(last)
	n.send(offer("barrier"))
	n.requests(3) // so the acknowledgment has been read
	w.clock.Store(int64(ttl * 17 / 10))
	last = n.beat(last.GetSequence()+3, holds("second"))
	n.beat(last.GetSequence()+3, holds("second"))
	if second.ctx.Err() != nil {
		t.Errorf("a confirmed lease has ended: %v", context.Cause(second.ctx))
	}
	w.clock.Store(int64(ttl * 19 / 10))
	await(t, "end of the second attempt", second.ctx.Done())
	finished(t, w)
}

func TestDrainWaitsForWhatRuns(t *testing.T) {
	c := newCoordinator(t)
	w := run(t, c, func(cfg *session.Config) { cfg.Drain = patience })
	n := c.welcome(t)
	a := begin(t, w, n, "a")
	w.stop()
	h := n.beat(0, func(h *pb.Heartbeat) bool { return h.GetDraining() })
	n.send(offer("late"))
	n.beat(h.GetSequence()+2, holds("a"))
	if got := n.requests(1); !slices.Equal(got, []string{"a"}) {
		t.Errorf("a draining worker asked for %v", got)
	}
	if a.ctx.Err() != nil {
		t.Errorf("the attempt has ended: %v", context.Cause(a.ctx))
	}
	a.finish <- pb.Outcome_OUTCOME_SUCCEEDED
	n.completion("a")
	select {
	case err := <-w.done:
		t.Errorf("Run ended before its completion was durable: %v", err)
	default:
	}
	n.send(&pb.SessionResponse{CompletionAcks: []*pb.CompletionAck{{Lease: ref("a", 1)}}})
	if err := await(t, "end of Run", w.done); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestDrainTimeEndsWhatStillRuns(t *testing.T) {
	c := newCoordinator(t)
	w := run(t, c, func(cfg *session.Config) { cfg.Drain = time.Millisecond })
	n := c.welcome(t)
	a := begin(t, w, n, "a")
	w.stop()
	await(t, "end of the attempt", a.ctx.Done())
	if cause := context.Cause(a.ctx); !errors.Is(cause, session.ErrShutdown) {
		t.Errorf("cause: %v", cause)
	}
	if got := n.completion("a"); !strings.Contains(got.GetMessage(), session.ErrShutdown.Error()) {
		t.Errorf("completion: %v", got)
	}
	n.send(&pb.SessionResponse{CompletionAcks: []*pb.CompletionAck{{Lease: ref("a", 1)}}})
	if err := await(t, "end of Run", w.done); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestARefusalIsForGood(t *testing.T) {
	c := newCoordinator(t)
	w := run(t, c, nil)
	n := c.welcome(t)
	a := begin(t, w, n, "a")
	n.hangUp(status.Error(codes.Unavailable, "a moment"))
	c.accept(t).hangUp(status.Error(codes.Unauthenticated, "the token was withdrawn"))
	err := await(t, "end of Run", w.done)
	if err == nil || !strings.Contains(err.Error(), "the token was withdrawn") {
		t.Errorf("Run: %v", err)
	}
	if cause := context.Cause(a.ctx); !errors.Is(cause, session.ErrShutdown) {
		t.Errorf("cause of the attempt's end: %v", cause)
	}
}
