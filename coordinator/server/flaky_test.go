package server_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func TestATestThatFailsOnceIsFlakyAndNoFailure(t *testing.T) {
	f := start(t)
	write(t, f.repo, "slipway.yaml", strings.Replace(pipelineFile, `{ run: "true" }`, `{ run: "true", retry: { flaky: 1 } }`, 1))
	commitAll(t, f.repo)
	var fails atomic.Int32
	fails.Store(1)
	defer f.work(t, func(ctx context.Context, l *session.Lease) *pb.Completion {
		return failing(func() bool { return l.Grant.GetLease().GetAttempt() <= fails.Load() })(ctx, l)
	})()
	once := f.end(t, f.submit(t, "k1").GetId()).GetId()
	fails.Store(2)
	write(t, f.repo, "services/api/more", "x")
	commitAll(t, f.repo)
	if r := f.end(t, f.submit(t, "k2").GetId()); r.GetState() != pb.RunState_RUN_STATE_FAILED || !strings.Contains(states(r), "test/api/unit FAILED") {
		t.Errorf("failed twice: %s\n%s", r.GetMessage(), states(r))
	}
	f.stop()
	f.run(t)
	r := f.end(t, once) // as it is in the journal
	for _, task := range r.GetTasks() {
		if task.GetId() != "test/api/unit" {
			continue
		}
		a := task.GetAttempts()
		if task.GetFailureClass() != pb.FailureClass_FAILURE_CLASS_FLAKY || len(a) != 2 || a[0].GetOutcome() != pb.Outcome_OUTCOME_FAILED || a[1].GetOutcome() != pb.Outcome_OUTCOME_SUCCEEDED {
			t.Errorf("%v", task)
		}
		if task.GetMessage() != "passed in attempt 2; attempt 1 failed: exit code 1" {
			t.Errorf("message: %s", task.GetMessage())
		}
	}
	if r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		t.Errorf("%s\n%s", r.GetMessage(), states(r))
	}
}
