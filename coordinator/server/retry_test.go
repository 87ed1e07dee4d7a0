package server_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func TestARetryBeginsWhereItFailed(t *testing.T) {
	f := start(t)
	var broken atomic.Bool
	broken.Store(true)
	defer f.work(t, func(ctx context.Context, l *session.Lease) *pb.Completion {
		if l.Grant.GetApply() != nil && broken.Load() {
			return &pb.Completion{Outcome: pb.Outcome_OUTCOME_FAILED, FailureClass: pb.FailureClass_FAILURE_CLASS_USER, Message: "it does not become healthy"}
		}
		return good(ctx, l)
	})()
	old := f.end(t, f.submit(t, "k1").GetId())
	if old.GetState() != pb.RunState_RUN_STATE_FAILED {
		t.Fatalf("%s: %s\n%s", old.GetState(), old.GetMessage(), states(old))
	}
	broken.Store(false)
	req := &pb.RetryRequest{IdempotencyKey: "again", Run: old.GetId()}
	res, err := f.runs.Retry(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	r := f.end(t, res.GetRun().GetId())
	if r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED || r.GetCommit() != old.GetCommit() || r.GetId() == old.GetId() {
		t.Fatalf("%s: %s\n%s", r.GetState(), r.GetMessage(), states(r))
	}
	for _, task := range r.GetTasks() { // the workers of this test push nothing
		if slices.Contains([]string{"build", "test", "render"}, task.GetKind()) && task.GetReason() != "what run "+old.GetId()+" left of it is gone" {
			t.Errorf("%s is %s: %s", task.GetId(), task.GetState(), task.GetReason())
		}
	}
	again, err := f.runs.Retry(t.Context(), req)
	if err != nil || !again.GetReplayed() || again.GetRun().GetId() != r.GetId() {
		t.Errorf("a repeat answers %s, %v; want %s", again.GetRun().GetId(), err, r.GetId())
	}
	for _, c := range []struct{ run, want string }{
		{r.GetId(), "succeeded"},
		{old.GetId(), "the newer run " + r.GetId() + " has begun a rollout to"},
	} {
		_, err := f.runs.Retry(t.Context(), &pb.RetryRequest{IdempotencyKey: "another " + c.run, Run: c.run})
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), c.want) {
			t.Errorf("a retry of %s: %v, want %q", c.run, err, c.want)
		}
	}
	if _, err := f.runs.Retry(t.Context(), &pb.RetryRequest{IdempotencyKey: "again", Run: r.GetId()}); status.Code(err) != codes.AlreadyExists {
		t.Errorf("the key for another run: %v, want ALREADY_EXISTS", err)
	}
}
