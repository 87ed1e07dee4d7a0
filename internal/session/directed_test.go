package session_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/queue"
	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// directed are offers that are to be answered at once.
func directed(tokens ...string) *pb.SessionResponse {
	m := offer(tokens...)
	for _, o := range m.GetOffers() {
		o.Directed = true
	}
	return m
}

// declined waits for n tokens that the worker declines.
func (n *conn) declined(count int) []string {
	n.t.Helper()
	var tokens []string
	n.until("declined offer", func(frames []*pb.SessionRequest) bool {
		tokens = nil
		for _, m := range frames {
			tokens = append(tokens, m.GetDeclined()...)
		}
		return len(tokens) >= count
	})
	return tokens
}

// pending is a queue that hands out what the test puts into it, and keeps what was given back.
type pending struct {
	asked chan int // how many were asked for
	give  chan queue.Hint
}

func (p *pending) Fetch(ctx context.Context, n int, _ time.Duration, each func(queue.Hint)) error {
	p.asked <- n
	for range n {
		select {
		case h := <-p.give:
			each(h)
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// settler says which hint is given back.
type settler struct {
	token string
	given chan<- string
}

func (settler) Ack() error                         { return nil }
func (s settler) Nak() error                       { s.given <- s.token; return nil }
func (s settler) NakWithDelay(time.Duration) error { return s.Nak() }

// TestADirectedOfferIsAnsweredAtOnce: with a request where a slot is free, also one that waits for the queue; declined where none is.
func TestADirectedOfferIsAnsweredAtOnce(t *testing.T) {
	c := newCoordinator(t)
	q := &pending{asked: make(chan int, 16), give: make(chan queue.Hint)}
	w := run(t, c, func(cfg *session.Config) {
		cfg.Slots = map[string]int{"build": 2}
		cfg.Hints = map[string]session.Hints{"build": q}
		cfg.Holdings = func() []uint64 { return []uint64{5, 7} }
	})
	n := c.welcome(t)
	if h := n.hello; !h.GetDirected() || !slices.Equal(h.GetHoldings(), []uint64{5, 7}) {
		t.Fatalf("hello: %v", h)
	}
	if got := await(t, "question to the queue", q.asked); got != 2 {
		t.Fatalf("the queue is asked for %d", got)
	}
	if h := n.beat(0, holds()); h.GetFree()[0].GetSlots() != 2 {
		t.Errorf("free while the queue is asked: %v", h.GetFree())
	}
	n.send(directed("a"))
	if got := n.requests(1); !slices.Equal(got, []string{"a"}) {
		t.Fatalf("asked for %v", got)
	}
	n.send(grant("a"))
	a := await(t, "attempt", w.begun)
	var back sync.WaitGroup
	given := make(chan string, 4)
	hint := func(token string) queue.Hint { return queue.NewHint(token, settler{token, given}) }
	back.Go(func() { q.give <- hint("b"); q.give <- hint("c") })
	if got := n.requests(2); !slices.Equal(got, []string{"a", "b"}) {
		t.Fatalf("asked for %v", got)
	}
	if got := await(t, "hint that is given back", given); got != "c" {
		t.Errorf("%s is given back, want what there is no slot for any more", got)
	}
	back.Wait()
	n.send(grant("b"))
	await(t, "attempt", w.begun)
	n.send(directed("d", "e"))
	if got := n.declined(2); !slices.Equal(got, []string{"d", "e"}) {
		t.Errorf("declined: %v", got)
	}
	w.session.Hold([]uint64{9}, []uint64{5})
	n.until("holdings", func(frames []*pb.SessionRequest) bool {
		return slices.ContainsFunc(frames, func(m *pb.SessionRequest) bool {
			return slices.Equal(m.GetHoldings().GetAdded(), []uint64{9}) && slices.Equal(m.GetHoldings().GetDropped(), []uint64{5})
		})
	})
	a.finish <- pb.Outcome_OUTCOME_SUCCEEDED
	n.completion("a")
	await(t, "question to the queue", q.asked)
	n.send(directed("f"))
	if got := n.requests(3); got[2] != "f" {
		t.Errorf("asked for %v", got)
	}
}

// TestAPressedWorkerDeclines what it is offered.
func TestAPressedWorkerDeclines(t *testing.T) {
	c := newCoordinator(t)
	w := run(t, c, func(cfg *session.Config) { cfg.Holdings = func() []uint64 { return nil } })
	n := c.welcome(t)
	w.session.Press("its disk is full")
	n.beat(0, func(h *pb.Heartbeat) bool { return h.GetPressed() != "" })
	n.send(directed("a"))
	if got := n.declined(1); !slices.Equal(got, []string{"a"}) {
		t.Errorf("declined: %v", got)
	}
}
