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

	"github.com/slipway-build/slipway/internal/natstest"
	"github.com/slipway-build/slipway/internal/queue"
	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

var errGone = status.Error(codes.PermissionDenied, "the test is over")

// finished ends a test's session in order: everything that is held was acknowledged.
func finished(t *testing.T, w *worker) {
	t.Helper()
	w.stop()
	if err := await(t, "end of Run", w.done); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func begin(t *testing.T, w *worker, n *conn, token string) *attempt {
	t.Helper()
	n.send(offer(token))
	n.until("request for "+token, func(frames []*pb.SessionRequest) bool {
		return slices.ContainsFunc(frames, func(m *pb.SessionRequest) bool {
			return slices.ContainsFunc(m.GetLeaseRequests(), func(r *pb.LeaseRequest) bool { return r.GetToken() == token })
		})
	})
	n.send(grant(token))
	return await(t, "attempt", w.begun)
}

func TestLeasesAreAskedForWhileSlotsAreFree(t *testing.T) {
	c := newCoordinator(t)
	w := run(t, c, nil)
	n := c.welcome(t)
	if h := n.hello; !h.GetOffers() || h.GetInstance() != "instance-1" || len(h.GetCapacity()) != 1 || h.GetCapacity()[0].GetSlots() != 2 {
		t.Errorf("hello: %v", h)
	}
	a, b := begin(t, w, n, "a"), begin(t, w, n, "b")
	n.send(offer("c"))
	if h := n.beat(0, holds("a", "b")); h.GetFree()[0].GetSlots() != 0 {
		t.Errorf("free beside two leases: %v", h.GetFree())
	}
	a.finish <- pb.Outcome_OUTCOME_SUCCEEDED
	if got := n.completion("a"); got.GetOutcome() != pb.Outcome_OUTCOME_SUCCEEDED || got.GetLease().GetFence().GetEpoch() != 7 {
		t.Errorf("completion: %v", got)
	}
	// The slot is free once the completion is sent, before it is acknowledged.
	if got := n.requests(3); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("requests: %v", got)
	}
	n.until("that c was asked for after a had ended", func(frames []*pb.SessionRequest) bool {
		ended := false
		for _, m := range frames {
			ended = ended || len(m.GetCompletions()) > 0
			for _, r := range m.GetLeaseRequests() {
				if r.GetToken() == "c" && !ended {
					t.Error("c was asked for without a free slot")
				}
			}
		}
		return true
	})
	n.send(&pb.SessionResponse{Refusals: []*pb.Refusal{{Token: "c", Reason: "already leased"}}})
	n.send(&pb.SessionResponse{CompletionAcks: []*pb.CompletionAck{{Lease: ref("a", 1)}}})
	b.finish <- pb.Outcome_OUTCOME_FAILED
	n.completion("b")
	n.send(&pb.SessionResponse{CompletionAcks: []*pb.CompletionAck{{Lease: ref("b", 1)}}})
	begin(t, w, n, "d").finish <- pb.Outcome_OUTCOME_SUCCEEDED // the refused one's slot is free again
	n.completion("d")
	n.send(&pb.SessionResponse{CompletionAcks: []*pb.CompletionAck{{Lease: ref("d", 1)}}})
	finished(t, w)
}

func TestHintsOfTheQueueAreAnswered(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	q, err := queue.Open(t.Context(), js, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.EnsureConsumer(t.Context(), "build"); err != nil {
		t.Fatal(err)
	}
	if err := q.Publish(t.Context(), "build", "0-refused", "0-unanswered"); err != nil {
		t.Fatal(err)
	}
	c := newCoordinator(t)
	w := run(t, c, func(cfg *session.Config) { cfg.Hints = map[string]session.Hints{"build": queue.NewPuller(js, "build")} })
	n := c.welcome(t)
	if n.hello.GetOffers() {
		t.Error("it asks for offers although it has the queue")
	}
	n.requests(2)
	n.send(&pb.SessionResponse{Refusals: []*pb.Refusal{{Token: "0-refused"}}})
	if err := q.Publish(t.Context(), "build", "0-next"); err != nil {
		t.Fatal(err)
	}
	if got := n.requests(3); got[2] != "0-next" { // in the slot of the refused one
		t.Errorf("requests: %v", got)
	}
	n.send(&pb.SessionResponse{Refusals: []*pb.Refusal{{Token: "0-next"}}})
	w.stop()
	if err := await(t, "end of Run", w.done); err != nil {
		t.Errorf("Run: %v", err)
	}
	// What was not answered is somebody else's at once; what was refused is nobody's.
	var left []string
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !slices.Contains(left, "0-unanswered") && ctx.Err() == nil {
		err := queue.NewPuller(js, "build").Fetch(ctx, 3, time.Second, func(h queue.Hint) {
			left = append(left, h.Token)
			if err := h.Ack(); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Contains(left, "0-unanswered") || slices.Contains(left, "0-refused") {
		t.Errorf("left in the queue: %v", left)
	}
}

// A worker that cannot reach its coordinator must not keep tasks from one that can: not
// the one it asked for, and none that is published afterwards.
func TestHintsAreLeftToOthersWhileNoStreamIsOpen(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	q, err := queue.Open(t.Context(), js, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.EnsureConsumer(t.Context(), "build"); err != nil {
		t.Fatal(err)
	}
	publish := func(token string) {
		if err := q.Publish(t.Context(), "build", token); err != nil {
			t.Fatal(err)
		}
	}
	publish("0-asked")
	c := newCoordinator(t)
	w := run(t, c, func(cfg *session.Config) {
		cfg.Slots = map[string]int{"build": 4}
		cfg.Hints = map[string]session.Hints{"build": queue.NewPuller(js, "build")}
	})
	n := c.welcome(t)
	n.requests(1)
	n.hangUp(status.Error(codes.Unavailable, "going away"))
	c.accept(t) // and no welcome any more
	publish("0-next")
	var left []string
	// Shorter than a request may stay unanswered while a stream is open.
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
	defer cancel()
	other := queue.NewPuller(js, "build")
	for len(left) < 2 && ctx.Err() == nil {
		if err := other.Fetch(ctx, 1, time.Second, func(h queue.Hint) {
			left = append(left, h.Token)
			if err := h.Ack(); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(left)
	if !slices.Equal(left, []string{"0-asked", "0-next"}) {
		t.Errorf("another worker got %v, want both tasks", left)
	}
	w.stop()
	if err := await(t, "end of Run", w.done); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestOnlyTheFenceThatHoldsTheLeaseEndsIt(t *testing.T) {
	c := newCoordinator(t)
	w := run(t, c, nil)
	n := c.welcome(t)
	a := begin(t, w, n, "a")
	// All of an older fence: nothing of it may touch the lease.
	n.send(&pb.SessionResponse{
		Revocations:    []*pb.Revocation{{Lease: ref("a", 0), Cause: pb.Revocation_CAUSE_LOST}},
		CompletionAcks: []*pb.CompletionAck{{Lease: ref("a", 0)}},
		LogAcks:        []*pb.LogAck{{Lease: ref("a", 0), Offset: 2}},
	})
	if _, err := a.lease.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	n.until("log", func([]*pb.SessionRequest) bool { return n.log("a", 0) == "hello" })
	n.send(&pb.SessionResponse{Revocations: []*pb.Revocation{{Lease: ref("a", 1), Cause: pb.Revocation_CAUSE_CANCELED, Message: "by ada"}}})
	await(t, "end of the attempt's context", a.ctx.Done())
	if cause := context.Cause(a.ctx); !errors.Is(cause, session.ErrCanceled) || !strings.Contains(cause.Error(), "by ada") {
		t.Errorf("cause: %v", cause)
	}
	if got := n.completion("a"); got.GetOutcome() != pb.Outcome_OUTCOME_CANCELED || got.GetLogSize() != 5 {
		t.Errorf("completion: %v", got)
	}
	n.send(&pb.SessionResponse{CompletionAcks: []*pb.CompletionAck{{Lease: ref("a", 1)}}})
	finished(t, w)
}

func TestALostLeaseSaysNothingMore(t *testing.T) {
	c := newCoordinator(t)
	w := run(t, c, func(cfg *session.Config) { cfg.Slots = map[string]int{"build": 1}; cfg.Spool = 4 })
	n := c.welcome(t)
	a := begin(t, w, n, "a")
	written := make(chan struct{})
	t.Cleanup(func() { await(t, "end of the writer", written) })
	go func() { // the cleanup waits for it
		defer close(written)
		_, _ = a.lease.Write([]byte("more than the spool may hold"))
	}()
	n.until("log", func([]*pb.SessionRequest) bool { return n.log("a", 0) == "more" })
	n.send(&pb.SessionResponse{Revocations: []*pb.Revocation{{Lease: ref("a", 1), Cause: pb.Revocation_CAUSE_LOST}}})
	await(t, "end of the attempt's context", a.ctx.Done())
	if cause := context.Cause(a.ctx); !errors.Is(cause, session.ErrLost) {
		t.Errorf("cause: %v", cause)
	}
	// Its slot is free: the next one runs, and nothing was said of the lost one.
	begin(t, w, n, "b").finish <- pb.Outcome_OUTCOME_SUCCEEDED
	n.completion("b")
	n.until("silence about a", func(frames []*pb.SessionRequest) bool {
		for _, m := range frames {
			for _, done := range m.GetCompletions() {
				if done.GetLease().GetToken() == "a" {
					t.Error("a lost lease was completed")
				}
			}
		}
		return true
	})
	n.send(&pb.SessionResponse{CompletionAcks: []*pb.CompletionAck{{Lease: ref("b", 1)}}})
	finished(t, w)
}

func TestAWriterWaitsForAcknowledgments(t *testing.T) {
	c := newCoordinator(t)
	w := run(t, c, func(cfg *session.Config) { cfg.Spool = 10 })
	n := c.welcome(t)
	a := begin(t, w, n, "a")
	written := make(chan struct{})
	t.Cleanup(func() { await(t, "end of the writer", written) })
	go func() { // the cleanup waits for it
		defer close(written)
		_, _ = a.lease.Write([]byte("0123456789abcdefghijXYZ"))
	}()
	n.until("the first ten bytes", func([]*pb.SessionRequest) bool { return n.log("a", 0) == "0123456789" })
	select {
	case <-written:
		t.Error("a writer did not wait for room")
	default:
	}
	n.send(&pb.SessionResponse{LogAcks: []*pb.LogAck{{Lease: ref("a", 1), Offset: 10}}})
	n.until("the next ten", func([]*pb.SessionRequest) bool { return n.log("a", 0) == "0123456789abcdefghij" })
	n.send(&pb.SessionResponse{LogAcks: []*pb.LogAck{{Lease: ref("a", 1), Offset: 15}}})
	n.until("the rest", func([]*pb.SessionRequest) bool { return n.log("a", 0) == "0123456789abcdefghijXYZ" })
	await(t, "end of the writer", written)
	a.finish <- pb.Outcome_OUTCOME_SUCCEEDED
	if got := n.completion("a"); got.GetLogSize() != 23 {
		t.Errorf("log size %d, want 23", got.GetLogSize())
	}
	n.send(&pb.SessionResponse{CompletionAcks: []*pb.CompletionAck{{Lease: ref("a", 1)}}})
	finished(t, w)
}

func TestACompletionComesAfterTheWholeLog(t *testing.T) {
	const size = 3 << 20 // many frames
	c := newCoordinator(t)
	w := run(t, c, nil)
	n := c.welcome(t)
	a := begin(t, w, n, "a")
	if _, err := a.lease.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	a.finish <- pb.Outcome_OUTCOME_SUCCEEDED
	n.completion("a")
	n.until("order", func(frames []*pb.SessionRequest) bool {
		got := 0
		for _, m := range frames {
			for _, l := range m.GetLogs() {
				got += len(l.GetData())
			}
			if len(m.GetCompletions()) > 0 && got != size {
				t.Errorf("the completion came with %d of %d bytes", got, size)
			}
		}
		return true
	})
	n.send(&pb.SessionResponse{CompletionAcks: []*pb.CompletionAck{{Lease: ref("a", 1)}}})
	finished(t, w)
}
