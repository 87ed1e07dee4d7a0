package server_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// TestAnArchivedRunStillAnswers: it is in no list, and everything that is asked about it is
// answered as before; what would change it says why it cannot.
func TestAnArchivedRunStillAnswers(t *testing.T) {
	f := start(t)
	stop := f.work(t, func(ctx context.Context, l *session.Lease) *pb.Completion {
		c := good(ctx, l)
		if l.Grant.GetTaskId() == "test/api/unit" {
			return &pb.Completion{Outcome: pb.Outcome_OUTCOME_FAILED, FailureClass: pb.FailureClass_FAILURE_CLASS_USER, Message: "2 of 3 tests failed"}
		}
		return c
	})
	was := f.end(t, f.submit(t, "k1").GetId())
	stop()
	f.stop()
	f.keep, f.moves = time.Millisecond, time.Millisecond
	f.run(t)
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for listed := true; listed; {
		l, err := f.runs.List(t.Context(), &pb.ListRequest{})
		if err != nil {
			t.Fatal(err)
		}
		listed = len(l.GetRuns()) > 0
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the run is not archived")
		}
	}
	for range 2 { // and so it is for the next coordinator
		f.answers(t, was)
		f.stop()
		f.run(t)
	}
}

func (f *farm) answers(t *testing.T, was *pb.Run) {
	t.Helper()
	ctx, id := t.Context(), was.GetId()
	for _, name := range []string{id, "shop-1"} {
		got, err := f.runs.Get(ctx, &pb.GetRequest{Run: name})
		if err != nil {
			t.Fatalf("get %s: %v", name, err)
		}
		if d := cmp.Diff(was, got.GetRun(), protocmp.Transform()); d != "" {
			t.Errorf("get %s (-was +is):\n%s", name, d)
		}
	}
	if got := f.end(t, id); got.GetState() != was.GetState() {
		t.Errorf("watch ends with %s", got.GetState())
	}
	log, err := pb.NewLogServiceClient(f.dial(t, f.admin)).Tail(ctx, &pb.TailRequest{Run: id, Task: "build/api", Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := log.Recv(); err != nil || string(m.GetData()) != "build/api says hello\n" {
		t.Errorf("log: %q, %v", m.GetData(), err)
	}
	why, err := f.runs.Explain(ctx, &pb.ExplainRequest{Run: id})
	if err != nil || len(why.GetWaits()) > 0 || why.GetState() != was.GetState() {
		t.Errorf("explain: %v, %v", why, err)
	}
	stopped, err := f.runs.Cancel(ctx, &pb.CancelRequest{Run: id})
	if err != nil || stopped.GetRun().GetState() != was.GetState() {
		t.Errorf("cancel: %v, %v; a run that has ended stays as it is", stopped.GetRun().GetState(), err)
	}
	if again := f.submit(t, "k1"); again.GetId() != id {
		t.Errorf("the same key began another run: %s", again.GetId())
	}
	_, err = f.runs.Retry(ctx, &pb.RetryRequest{IdempotencyKey: "again", Run: id})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "was archived; run its commit anew") {
		t.Errorf("retry: %v", err)
	}
	if _, err := f.runs.Get(ctx, &pb.GetRequest{Run: "shop-2"}); status.Code(err) != codes.NotFound {
		t.Errorf("a run that never was: %v", err)
	}
}
