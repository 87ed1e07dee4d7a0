package session

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// A lease that begins between a hello and its welcome was not in the hello: the
// coordinator has confirmed nothing about it, and its clock runs from the request.
func TestAWelcomeConfirmsWhatTheHelloNamed(t *testing.T) {
	const ttl = 10 * time.Second
	began := time.Unix(1_000_000, 0)
	now := began
	s := New(Config{
		Name: "w", Instance: "instance-1", Slots: map[string]int{"build": 2}, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now },
	}, func(ctx context.Context, _ *Lease) *pb.Completion {
		<-ctx.Done()
		return &pb.Completion{}
	})
	s.ttl = ttl
	grant := func(token string) *pb.Grant { return &pb.Grant{Lease: &pb.LeaseRef{Token: token}} }
	for range 2 {
		if _, ok := s.pools["build"].take(t.Context(), 1); !ok {
			t.Fatal("no slot")
		}
	}
	s.start(grant("named"), "build", began)
	now = began.Add(6 * time.Second)
	if h := s.hello(); len(h.GetRunning()) != 1 {
		t.Fatalf("hello names %d leases, want 1", len(h.GetRunning()))
	}
	s.start(grant("unnamed"), "build", began)
	now = began.Add(7 * time.Second)
	s.welcome(t.Context(), &pb.Welcome{Ttl: durationpb.New(ttl)}, nil)
	for token, want := range map[string]time.Duration{"named": 16 * time.Second, "unnamed": 10 * time.Second} {
		if got := s.held[token].deadline.Sub(began); got != want {
			t.Errorf("%s is believed for %s, want %s", token, got, want)
		}
	}
	s.endAll(ErrShutdown)
	s.attempts.Wait()
}
