package cordon_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/coordinator/cordon"
	"github.com/slipway-build/slipway/internal/natstest"
)

func open(t *testing.T, js jetstream.JetStream) *cordon.Store {
	t.Helper()
	s, err := cordon.Open(t.Context(), js, 1, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// follow has a store hear of what others write.
func follow(t *testing.T, s *cordon.Store) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// until waits until a store says of a name what it should.
func until(t *testing.T, s *cordon.Store, name string, want bool) cordon.Cordon {
	t.Helper()
	for {
		changed := s.Changed()
		c, ok := s.Of(name)
		if ok == want {
			return c
		}
		select {
		case <-changed:
		case <-time.After(20 * time.Second):
			t.Fatalf("cordon of %s: %v, want %v", name, ok, want)
		}
	}
}

func TestEveryStoreSeesACordon(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	a, b := open(t, js), open(t, js)
	follow(t, b)
	want := cordon.Cordon{Name: "Builder 3/eu.example ✓", Reason: "its disk is slow", By: "anna", At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	if err := a.Set(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if got, ok := a.Of(want.Name); !ok || got != want {
		t.Errorf("who set it knows %v, %v", got, ok)
	}
	if diff := cmp.Diff(want, until(t, b, want.Name, true)); diff != "" {
		t.Errorf("another coordinator (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]cordon.Cordon{want}, open(t, js).All()); diff != "" {
		t.Errorf("one that was started since (-want +got):\n%s", diff)
	}
	if err := b.Lift(t.Context(), want.Name); err != nil {
		t.Fatal(err)
	}
	if _, ok := b.Of(want.Name); ok {
		t.Error("who took it back still has it")
	}
	if err := a.Refresh(t.Context(), want.Name); err != nil { // it follows nothing
		t.Fatal(err)
	}
	if _, ok := a.Of(want.Name); ok {
		t.Error("a store that looked again still has what was taken back")
	}
	if err := a.Lift(t.Context(), want.Name); err != nil {
		t.Errorf("take it back again: %v", err)
	}
	if err := a.Set(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	until(t, b, want.Name, true)
	if err := a.Refresh(t.Context(), "nobody"); err != nil {
		t.Errorf("a name that was never cordoned: %v", err)
	}
}

// A bucket that was made anew counts from one again: what it says is believed.
func TestABucketThatIsLost(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	s := open(t, js)
	for range 3 {
		if err := s.Set(t.Context(), cordon.Cordon{Name: "w"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := js.DeleteKeyValue(t.Context(), "SLIPWAY_CORDONS"); err != nil {
		t.Fatal(err)
	}
	other := open(t, js)
	follow(t, s)
	until(t, s, "w", false)
	if err := other.Set(t.Context(), cordon.Cordon{Name: "w"}); err != nil {
		t.Fatal(err)
	}
	until(t, s, "w", true)
}

// A cordon that this coordinator has not heard of yet is taken back all the same.
func TestACordonOfAnotherIsTakenBack(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	a, b := open(t, js), open(t, js) // b hears of it late
	if err := a.Set(t.Context(), cordon.Cordon{Name: "w"}); err != nil {
		t.Fatal(err)
	}
	if err := b.Lift(t.Context(), "w"); err != nil {
		t.Fatal(err)
	}
	if _, ok := open(t, js).Of("w"); ok {
		t.Error("uncordon has answered, and the worker stays cordoned")
	}
}
