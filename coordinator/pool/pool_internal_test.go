package pool

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/schedule"
	"github.com/slipway-build/slipway/coordinator/share"
)

// TestMessagesLoseNothing: what is reported and answered is what arrives.
func TestMessagesLoseNothing(t *testing.T) {
	some := rapid.IntRange(0, 1000)
	name := rapid.StringMatching("[a-z]{1,3}")
	demand := rapid.Custom(func(t *rapid.T) share.Demand {
		return share.Demand{
			Who:     share.Who{Class: rapid.SampledFrom([]schedule.Class{schedule.Normal, schedule.Urgent, schedule.Low}).Draw(t, "class"), Team: name.Draw(t, "team"), Share: some.Draw(t, "share"), Project: name.Draw(t, "project")},
			Running: some.Draw(t, "running"), Waiting: some.Draw(t, "waiting"),
		}
	})
	lane := rapid.Custom(func(t *rapid.T) share.Lane {
		return share.Lane{Slots: some.Draw(t, "slots"), Demand: rapid.SliceOfN(demand, 0, 3).Draw(t, "demand")}
	})
	team := rapid.Custom(func(t *rapid.T) share.Team {
		return share.Team{Limit: some.Draw(t, "limit"), Running: some.Draw(t, "running"), Waiting: some.Draw(t, "waiting"), May: some.Draw(t, "may")}
	})
	lot := rapid.Custom(func(t *rapid.T) share.Lot {
		return share.Lot{Slots: some.Draw(t, "slots"), Scarce: rapid.Bool().Draw(t, "scarce"), Running: some.Draw(t, "running"), Waiting: some.Draw(t, "waiting")}
	})
	part := rapid.Custom(func(t *rapid.T) share.Part {
		return share.Part{May: some.Draw(t, "may"), Running: some.Draw(t, "running")}
	})
	same := cmp.Options{cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(share.Report{})}
	rapid.Check(t, func(t *rapid.T) {
		r := share.Report{
			From: name.Draw(t, "from"), Life: name.Draw(t, "life"), Seq: rapid.Uint64().Draw(t, "sequence"), Moves: some.Draw(t, "moves"), Partitions: rapid.SliceOfN(some, 0, 4).Draw(t, "partitions"),
			Lanes: rapid.MapOfN(name, lane, 0, 3).Draw(t, "lanes"), Teams: rapid.MapOfN(name, team, 0, 3).Draw(t, "teams"),
		}
		if d := cmp.Diff(r, fromReport(toReport(r)), same); d != "" {
			t.Fatalf("report (-sent +arrived):\n%s", d)
		}
		a := share.Answer{Lanes: rapid.MapOfN(name, lot, 0, 3).Draw(t, "lots"), Teams: rapid.MapOfN(name, part, 0, 3).Draw(t, "parts")}
		if d := cmp.Diff(a, fromAnswer(toAnswer(a)), same); d != "" {
			t.Fatalf("answer (-sent +arrived):\n%s", d)
		}
	})
}

// TestBesideAnOlderCoordinatorEachCountsForItself: the answer is that of one that does not know
// the call.
func TestBesideAnOlderCoordinatorEachCountsForItself(t *testing.T) {
	s := &Service{Pool: New(Config{There: func() ([]string, bool) { return []string{"a", "old"}, false }}), Status: func(error) error { return errors.New("another answer") }}
	if _, err := s.Report(t.Context(), toReport(share.Report{From: "a"})); status.Code(err) != codes.Unimplemented {
		t.Errorf("answered %v, want UNIMPLEMENTED", err)
	}
}
