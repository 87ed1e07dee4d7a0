package queue_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/natstest"
	"github.com/slipway-build/slipway/internal/queue"
)

func fetch(t *testing.T, p *queue.Puller, n int, answer func(queue.Hint) error) []string {
	t.Helper()
	var got []string
	err := p.Fetch(t.Context(), n, 2*time.Second, func(h queue.Hint) {
		got = append(got, h.Token)
		if err := answer(h); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestATaskIsKnownOnceUntilItIsAnswered(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	q, err := queue.Open(t.Context(), js, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{"build", "render"} {
		if err := q.EnsureConsumer(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if err := q.Publish(t.Context(), "build", "0_shop-1_3"); err != nil {
			t.Fatalf("publish again: %v", err)
		}
	}
	if err := q.Publish(t.Context(), "build", "0_shop-1_4"); err != nil {
		t.Fatal(err)
	}
	p := queue.NewPuller(js, "build")
	if got := fetch(t, p, 2, queue.Hint.Ack); !slices.Equal(got, []string{"0_shop-1_3", "0_shop-1_4"}) {
		t.Errorf("fetched %v", got)
	}
	if err := q.Publish(t.Context(), "build", "0_shop-1_5"); err != nil {
		t.Fatal(err)
	}
	if got := fetch(t, p, 1, queue.Hint.Nak); len(got) != 1 {
		t.Errorf("before the nak: fetched %v", got)
	}
	if got := fetch(t, p, 1, queue.Hint.Ack); len(got) != 1 {
		t.Errorf("after a nak: fetched %v", got)
	}
}

func TestALostQueueIsMadeAgain(t *testing.T) {
	for _, how := range []string{"the server lost its memory", "dropped"} {
		t.Run(how, func(t *testing.T) { madeAgain(t, how == "dropped") })
	}
}

func madeAgain(t *testing.T, dropped bool) {
	t.Helper()
	srv := natstest.Start(t)
	js := srv.JetStream(t)
	open := func() *queue.Queue {
		q, err := queue.Open(t.Context(), js, 1)
		if err == nil {
			err = q.EnsureConsumer(t.Context(), "build")
		}
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	q := open()
	p := queue.NewPuller(js, "build")
	if err := q.Publish(t.Context(), "build", "a"); err != nil {
		t.Fatal(err)
	}
	if dropped {
		if err := errors.Join(q.Drop(t.Context()), q.Drop(t.Context())); err != nil { // the second time there is none
			t.Fatal(err)
		}
	} else {
		srv.Restart(t)
	}
	// Until the connection is back the error may be another.
	var err error
	for i := 0; i < 100 && !errors.Is(err, queue.ErrGone); i++ {
		err = q.Publish(t.Context(), "build", fmt.Sprint("b", i))
	}
	if !errors.Is(err, queue.ErrGone) {
		t.Fatalf("publish to a lost queue: %v, want ErrGone", err)
	}
	q = open()
	if err := q.Publish(t.Context(), "build", "c"); err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := 0; i < 20 && len(got) == 0; i++ {
		if err := p.Fetch(t.Context(), 1, time.Second, func(h queue.Hint) { got = append(got, h.Token); _ = h.Ack() }); err != nil {
			t.Logf("fetch: %v", err)
		}
	}
	if !slices.Equal(got, []string{"c"}) {
		t.Errorf("fetched %v, want [c]", got)
	}
}

// A worker that took a hint and was never heard of again does not keep the task from others
// for long: not for the length of several leases.
func TestAHintGoesOnToAnotherWhenItIsNotAnswered(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	q, err := queue.Open(t.Context(), js, 1)
	if err == nil {
		err = q.EnsureConsumer(t.Context(), "build")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Publish(t.Context(), "build", "a"); err != nil {
		t.Fatal(err)
	}
	silent := func(queue.Hint) error { return nil }
	if got := fetch(t, queue.NewPuller(js, "build"), 1, silent); len(got) != 1 {
		t.Fatalf("fetched %v", got)
	}
	other := queue.NewPuller(js, "build")
	for range 10 {
		if got := fetch(t, other, 1, queue.Hint.Ack); len(got) == 1 {
			return
		}
	}
	t.Error("the hint stays with a worker that said nothing")
}
