package session_test

import (
	"testing"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/run"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// ends completes a lease whose slot asks for another task, and waits for the answer to
// that: a grant, or that the slot was passed.
func (p *peer) ends(ref *pb.LeaseRef, next string) *pb.Grant {
	p.f.t.Helper()
	grants, passed := len(all(p, (*pb.SessionResponse).GetGrants)), len(all(p, (*pb.SessionResponse).GetPassed))
	p.send(&pb.SessionRequest{Completions: []*pb.Completion{{Lease: ref, Outcome: pb.Outcome_OUTCOME_SUCCEEDED, Result: &pb.Result{Image: "i"}, Next: next}}})
	var given *pb.Grant
	p.until("answer to a slot", func(*pb.SessionResponse) bool {
		if got := all(p, (*pb.SessionResponse).GetGrants); len(got) > grants {
			given = got[grants]
		}
		return given != nil || len(all(p, (*pb.SessionResponse).GetPassed)) > passed
	})
	return given
}

func TestTheEndOfATaskBringsTheNext(t *testing.T) {
	var f *farm
	var a *peer
	var g *pb.Grant
	for i := 0; g == nil && i < 5; i++ { // a hint that is published anew in the moment of the end is for those who pull
		f = newFarm(t, 2)
		a = f.connect("a", nil)
		if w := a.until("welcome", func(m *pb.SessionResponse) bool { return m.GetWelcome() != nil }).GetWelcome(); !w.GetNext() {
			t.Fatal("the coordinator does not say that slots may ask")
		}
		first := a.lease(f.tokens[0])
		f.fetch(1) // the other task's hint is with somebody, who may never ask
		f.advance(1e9)
		g = a.ends(first, "build")
	}
	if g.GetTaskId() != "build/s1" || g.GetCapability() != "build" || g.GetLease().GetAttempt() != 1 {
		t.Fatalf("the next task: %v", g)
	}
	f.find(func(_ *partition.Tx, r *run.Run) {
		if r.Tasks[0].State != run.TaskSucceeded || r.Tasks[1].Current() == nil {
			t.Errorf("tasks: %s, %s", r.Tasks[0].State, r.Tasks[1].State)
		}
	})
	if b := f.connect("b", nil); b.ask(f.tokens[1]) != nil {
		t.Error("the task was granted twice")
	}
	if g := a.ends(g.GetLease(), "build"); g != nil {
		t.Errorf("of nothing: %v", g)
	}
	passed := all(a, (*pb.SessionResponse).GetPassed)
	if len(passed) != 1 || passed[0].GetCapability() != "build" || passed[0].GetSlots() != 1 {
		t.Errorf("passed: %v", passed)
	}
}

func TestASlotIsAnsweredOnce(t *testing.T) {
	f := newFarm(t, 6)
	a := f.connect("a", nil)
	f.fetch(6) // as above
	first := a.lease(f.tokens[0])
	f.advance(1e9)
	given, ended := a.ends(first, "build"), 1
	for ; given == nil && ended < 4; ended++ { // a hint that is published anew in that moment is for those who pull
		first = a.lease(f.tokens[ended])
		f.advance(1e9)
		given = a.ends(first, "build")
	}
	if given == nil {
		t.Fatal("nothing is given, and two tasks wait")
	}
	answers := func() int {
		return len(all(a, (*pb.SessionResponse).GetGrants)) + len(all(a, (*pb.SessionResponse).GetPassed))
	}
	before := answers()
	a.complete(first, 0) // said again, as after a stream that broke, it asks for nothing
	a.holding()
	if got := answers(); got != before {
		t.Errorf("%d answers more, of an end that was answered", got-before)
	}
	a.send(&pb.SessionRequest{Completions: []*pb.Completion{{Lease: given.GetLease(), Outcome: pb.Outcome_OUTCOME_SUCCEEDED, Result: &pb.Result{Image: "i"}, Next: "render"}}})
	a.until("acknowledgment", func(*pb.SessionResponse) bool { return len(all(a, (*pb.SessionResponse).GetCompletionAcks)) == ended+2 })
	a.holding()
	if got := answers(); got != before {
		t.Errorf("%d answers more; of a capability that the worker does not have there is none", got-before)
	}
}
