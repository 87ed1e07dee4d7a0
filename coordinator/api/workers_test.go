package api

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/cordon"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }

func leaseOf(name, instance, token string) partition.Held {
	return partition.Held{Ref: partition.Ref{Token: token, Attempt: 1}, Run: "shop-1", Task: "build/" + token, Can: "build", Worker: partition.Worker{Name: name, Instance: instance}, LeasedAt: at(1)}
}

func TestWorkersAreOneRowEach(t *testing.T) {
	cordons := []cordon.Cordon{{Name: "b", Reason: "its disk is slow", By: "anna", At: at(5)}, {Name: "gone", By: "anna", At: at(6)}}
	slots := map[string]int32{"render": 4, "build": 2}
	here := known([]session.Seen{
		{Name: "a", Instance: "a1", Version: "1", Since: at(0), Slots: slots, Held: 2, Pressed: "3 % of memory is free"},
		{Name: "b", Instance: "b1", Version: "1", Since: at(3), Slots: slots},
		{Name: "c", Instance: "c1", Version: "1", Since: at(0), Slots: slots, Draining: true},
	}, []partition.Held{leaseOf("a", "a1", "t1"), leaseOf("b", "", "t2"), leaseOf("lost", "", "t3")}, cordons)
	there := known([]session.Seen{
		{Name: "a", Instance: "a1", Version: "1", Since: at(1), Slots: slots},
		{Name: "b", Instance: "b1", Version: "1", Since: at(2), Slots: slots, Held: 1},
	}, []partition.Held{leaseOf("a", "a1", "t4"), leaseOf("c", "c0", "t5")}, cordons)
	var got []string
	list := merged(append(here, there...))
	for _, w := range list {
		got = append(got, w.GetName()+" "+w.GetInstance()+" "+w.GetState().String()[len("WORKER_STATE_"):]+": "+w.GetReason())
	}
	want := []string{
		"a a1 PRESSED: 3 % of memory is free", "b b1 CORDONED: its disk is slow", "c c0 AWAY: it has no session", "c c1 DRAINING: it is about to stop",
		"gone  AWAY: it has no session", "lost  AWAY: it has no session",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("workers (-want +got):\n%s", diff)
	}
	a, b := list[0], list[1]
	if len(a.GetAttempts()) != 2 || a.GetHeld() != 2 || a.GetSlots()[0].GetTaken() != 2 || a.GetSlots()[1].GetTaken() != 0 {
		t.Errorf("a: %v", a)
	}
	if !b.GetSince().AsTime().Equal(at(2)) || len(b.GetAttempts()) != 1 || b.GetHeld() != 1 || b.GetCordon().GetBy() != "anna" {
		t.Errorf("b: %v", b)
	}
	if list[4].GetCordon() == nil || list[5].GetCordon() != nil {
		t.Errorf("cordons of those that are away: %v, %v", list[4], list[5])
	}
}

// Whoever is asked, and in whatever order the others answer, the list is the same, and merging
// it again changes nothing.
func TestWorkersAreTheSameWhoeverIsAsked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rows []*pb.Worker
		for range rapid.IntRange(0, 8).Draw(t, "rows") {
			name := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name")
			instance := rapid.SampledFrom([]string{"", name + "1", name + "2"}).Draw(t, "instance")
			w := &pb.Worker{Name: name, Instance: instance}
			if instance != "" && rapid.Bool().Draw(t, "session") {
				// No two coordinators begin a session of a process at the same moment, of which one is its own.
				w.Since = timestamppb.New(at(len(rows)))
				w.Held = int32(rapid.IntRange(0, 2).Draw(t, "held"))
				w.Slots = []*pb.WorkerSlots{{Capability: "build", Slots: 2}}
				if rapid.Bool().Draw(t, "pressed") {
					w.Pressed = "disk"
				}
			} else if rapid.Bool().Draw(t, "lease") {
				token := rapid.SampledFrom([]string{"t1", "t2", "t3"}).Draw(t, "token")
				w.Attempts = []*pb.WorkerAttempt{{Lease: &pb.LeaseRef{Token: token}, Task: token, Capability: "build"}}
			} else {
				w.Instance = ""
				w.Cordon = &pb.WorkerCordon{Reason: "r", At: timestamppb.New(began)}
			}
			rows = append(rows, w)
		}
		clone := func(in []*pb.Worker) []*pb.Worker {
			out := make([]*pb.Worker, len(in))
			for i, w := range in {
				out[i] = proto.CloneOf(w)
			}
			return out
		}
		want := merged(clone(rows))
		got := merged(clone(rapid.Permutation(rows).Draw(t, "order")))
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Fatalf("in another order (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, merged(clone(want)), protocmp.Transform()); diff != "" {
			t.Fatalf("merged again (-want +got):\n%s", diff)
		}
	})
}
