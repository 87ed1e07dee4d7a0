package session_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/run"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func TestATaskIsGrantedOnce(t *testing.T) {
	f := newFarm(t, 2)
	a, b := f.connect("a", nil), f.connect("b", nil)
	g := a.ask(f.tokens[0])
	if g == nil {
		t.Fatal("refused")
	}
	if g.GetRun() != f.run || g.GetTaskId() != "build/s0" || g.GetCommit() != commit || g.GetTimeout().AsDuration() != time.Minute ||
		g.GetTraceparent() != "trace/build/s0/1" || g.GetBuild().GetDockerfile() != "s0/Dockerfile" || g.GetLease().GetAttempt() != 1 {
		t.Errorf("grant: %v", g)
	}
	for _, token := range []string{f.tokens[0], "0_nobody_0", "9_" + f.run + "_0", "nonsense"} {
		if got := b.ask(token); got != nil {
			t.Errorf("%s was granted: %v", token, got)
		}
	}
	other := b.lease(f.tokens[1])
	if proto.Equal(other.GetFence(), g.GetLease().GetFence()) {
		t.Errorf("two leases with the fence %v", other.GetFence())
	}
}

func TestASessionBeginsWithAHello(t *testing.T) {
	f := newFarm(t, 1)
	p := f.open(&pb.SessionRequest{LeaseRequests: []*pb.LeaseRequest{{Token: f.tokens[0]}}})
	select {
	case err := <-p.ended:
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("a session without a hello: %v", err)
		}
	case <-time.After(patience):
		t.Error("a session without a hello was served")
	}
}

func TestAHeartbeatKeepsWhatItNames(t *testing.T) {
	f := newFarm(t, 2)
	a, b := f.connect("a", nil), f.connect("b", nil)
	kept, lost := a.lease(f.tokens[0]), a.lease(f.tokens[1])
	for range 3 {
		f.advance(ttl * 2 / 3)
		a.holding(kept)
	}
	f.find(func(_ *partition.Tx, r *run.Run) { // what ran out has been seen to
		if got := r.Tasks[0].Current(); got == nil || got.Number != 1 {
			t.Errorf("the attempt that was kept: %+v", r.Tasks[0].Attempts)
		}
	})
	var again *pb.LeaseRef
	for deadline := time.Now().Add(patience); again == nil && time.Now().Before(deadline); {
		f.advance(time.Second) // the wait before another attempt
		a.holding(kept)
		if g := b.ask(f.tokens[1]); g != nil {
			again = g.GetLease()
		}
	}
	if again.GetAttempt() != 2 || proto.Equal(again.GetFence(), lost.GetFence()) {
		t.Fatalf("lease after the lost one: %v", again)
	}
	a.holding(kept, lost)
	if r := a.revocation(f.tokens[1]); r.GetCause() != pb.Revocation_CAUSE_LOST || !proto.Equal(r.GetLease(), lost) {
		t.Errorf("revocation: %v", r)
	}
	if ack := a.complete(lost, 0); !ack.GetAborted() {
		t.Error("a completion with an old fence was used")
	}
	if ack := b.complete(again, 0); ack.GetAborted() {
		t.Error("the holder's completion was not used")
	}
	if ack := a.complete(kept, 0); ack.GetAborted() {
		t.Error("the completion of a lease that was kept was not used")
	}
}

func TestOnlyTheHolderWritesTheLog(t *testing.T) {
	f := newFarm(t, 1)
	a := f.connect("a", nil)
	ref := a.lease(f.tokens[0])
	thief := f.connect("thief", func(h *pb.Hello) { h.Running = []*pb.LeaseRef{ref} })
	w := thief.until("welcome", func(m *pb.SessionResponse) bool { return m.GetWelcome() != nil }).GetWelcome()
	if len(w.GetRejected()) != 1 || !proto.Equal(w.GetRejected()[0], ref) {
		t.Errorf("rejected: %v; want somebody else's lease", w.GetRejected())
	}
	thief.writes(ref, 0, "forged")
	thief.holding(ref)
	if r := thief.revocation(f.tokens[0]); r.GetCause() != pb.Revocation_CAUSE_LOST {
		t.Errorf("revocation: %v", r)
	}
	thief.writes(ref, 0, "forged again")
	thief.holding()
	a.writes(ref, 0, "mine")
	a.logged(ref, 4)
	// An older fence is no right to the log of this one either.
	old, ok := proto.Clone(ref).(*pb.LeaseRef)
	if !ok {
		t.Fatal("a clone of another type")
	}
	old.Fence.Counter++
	a.writes(old, 0, "of another fence")
	a.holding(ref)
	if ack := a.complete(ref, 9, chunk(ref, 4, " alone")); ack.GetAborted() {
		t.Error("the completion was not used")
	}
	if got := f.log(ref, 10); got != "mine alone" {
		t.Errorf("log: %q", got)
	}
	if n, err := f.logs.Size(t.Context(), key(old)); n != 0 || err != nil {
		t.Errorf("%d bytes of a fence that holds nothing, %v", n, err)
	}
}

func TestALogEndsWithItsAttempt(t *testing.T) {
	f := newFarm(t, 1)
	a := f.connect("a", nil)
	ref := a.lease(f.tokens[0])
	if ack := a.complete(ref, 5, chunk(ref, 0, "hello")); ack.GetAborted() {
		t.Error("the completion was not used")
	}
	// Durable when the completion is, without waiting for anything more.
	if n, err := f.logs.Size(t.Context(), key(ref)); n != 5 || err != nil {
		t.Errorf("log of %d bytes, %v; want 5", n, err)
	}
	if ack := a.complete(ref, 5); ack.GetAborted() {
		t.Error("the repeat of a durable completion was aborted")
	}
	a.writes(ref, 5, " after the end")
	a.holding()
	if !f.logs.Flushed(key(ref), 0, 16, func() {}) { // at once, if nothing was taken
		t.Error("the log of an ended attempt was written")
	}
	if n, err := f.logs.Size(t.Context(), key(ref)); n != 5 || err != nil {
		t.Errorf("log of %d bytes, %v; want 5", n, err)
	}
	f.find(func(_ *partition.Tx, r *run.Run) {
		if got := r.Tasks[0]; got.State != run.TaskSucceeded || got.Result.Image != "i" || len(got.Attempts) != 1 || got.Attempts[0].LogSize != 5 {
			t.Errorf("task: %s %+v %+v", got.State, got.Result, got.Attempts)
		}
	})
}

func TestALeaseGoesOnInTheNextSession(t *testing.T) {
	f := newFarm(t, 2)
	before := f.connect("a", nil)
	named, late := before.lease(f.tokens[0]), before.lease(f.tokens[1])
	before.writes(named, 0, "be")
	before.logged(named, 2)
	// late began after the process had said hello.
	now := f.connect("a", func(h *pb.Hello) { h.Running = []*pb.LeaseRef{named} })
	w := now.until("welcome", func(m *pb.SessionResponse) bool { return m.GetWelcome() != nil }).GetWelcome()
	if len(w.GetRejected()) != 0 {
		t.Errorf("rejected: %v", w.GetRejected())
	}
	now.holding(named, late)
	before.hangUp()
	if n := f.presence.of("instance-a"); n != 2 {
		t.Errorf("%d slots after the end of the older session, want 2", n)
	}
	now.writes(named, 2, "fore")
	now.writes(late, 0, "late")
	now.logged(named, 6)
	now.logged(late, 4)
	if got := f.log(named, 6) + f.log(late, 4); got != "beforelate" {
		t.Errorf("logs: %q", got)
	}
	f.find(func(tx *partition.Tx, _ *run.Run) {
		if _, err := tx.Cancel(f.run, "by ada"); err != nil {
			t.Error(err)
		}
	})
	for _, token := range f.tokens {
		if r := now.revocation(token); r.GetCause() != pb.Revocation_CAUSE_CANCELED || r.GetMessage() != "by ada" {
			t.Errorf("revocation: %v", r)
		}
	}
	now.hangUp()
	if n := f.presence.of("instance-a"); n != 0 {
		t.Errorf("%d slots of a process that is gone", n)
	}
}

func TestProgressIsTheHolders(t *testing.T) {
	f := newFarm(t, 1)
	a, b := f.connect("a", nil), f.connect("b", nil)
	ref := a.lease(f.tokens[0])
	follower := f.hub.Follow(f.run)
	defer follower.Close()
	b.send(&pb.SessionRequest{Progress: []*pb.LeaseProgress{{Lease: ref, Started: true, Steps: []*pb.ProgressStep{{Name: "forged"}}}}})
	b.holding()
	f.find(func(_ *partition.Tx, r *run.Run) {
		if got := r.Tasks[0].Current(); got == nil || !got.StartedAt.IsZero() {
			t.Errorf("somebody else began the attempt: %+v", got)
		}
	})
	a.send(&pb.SessionRequest{Progress: []*pb.LeaseProgress{{Lease: ref, Started: true, Steps: []*pb.ProgressStep{{Name: "mine"}}}}})
	timeout := time.After(patience)
	for {
		select {
		case c := <-follower.C:
			if c.Progress == nil {
				continue
			}
			if got := c.Progress; got.Task != "build/s0" || got.Attempt != 1 || len(got.Steps) != 1 || got.Steps[0].GetName() != "mine" {
				t.Errorf("progress: %+v", got)
			}
			return
		case <-timeout:
			t.Fatal("no progress was shown")
		}
	}
}

func TestSourceIsForTheHolderOfAFence(t *testing.T) {
	f := newFarm(t, 1)
	ref := f.connect("a", nil).lease(f.tokens[0])
	if repo, at, _, err := f.sessions.Source(t.Context(), ref); err != nil || repo != repository || at != commit {
		t.Errorf("source: %s %s %v", repo, at, err)
	}
	ref.Fence.Counter++
	if repo, _, _, err := f.sessions.Source(t.Context(), ref); err == nil {
		t.Errorf("the source of %s for a fence that holds nothing", repo)
	}
}
