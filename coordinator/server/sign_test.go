package server_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/internal/cosign/cosigntest"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// TestNothingIsReleasedThatIsNotSigned: what cannot be signed is not released, and a retry does not sign with another key
// than the plan was made for.
func TestNothingIsReleasedThatIsNotSigned(t *testing.T) {
	f := start(t)
	f.stop()
	f.signing = cosigntest.Key(t)
	f.run(t)
	stop := f.work(t, good) // which says that it built what is in no registry
	failed := f.end(t, f.submit(t, "k1").GetId())
	sign := taskOf(t, failed, "sign/api")
	if sign.GetState() != pb.TaskState_TASK_STATE_ERRORED || !strings.HasSuffix(sign.GetMessage(), "the registry has no such image: push it first; it was there when it was built: run the commit anew, which builds it again") || taskOf(t, failed, "release").GetState() != pb.TaskState_TASK_STATE_SKIPPED {
		t.Fatalf("%v\n%s", sign, states(failed))
	}
	stop()
	f.stop()
	f.signing = cosigntest.Key(t)
	f.run(t)
	_, err := f.runs.Retry(t.Context(), &pb.RetryRequest{Run: failed.GetId(), IdempotencyKey: "again"})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "were to be signed with another key than the farm has now; run its commit anew") {
		t.Errorf("retry with another key: %v", err)
	}
}
