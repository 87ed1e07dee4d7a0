package server_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// shards is a worker that says of each shard what its item took.
type shards struct {
	mu     sync.Mutex
	took   map[int32]int64 // by number
	fails  int32           // the number of one that fails
	listed string
	grants map[string]*pb.ShardWork
}

func (s *shards) handle(ctx context.Context, l *session.Lease) *pb.Completion {
	c := good(ctx, l)
	w := l.Grant.GetTest().GetShard()
	if w == nil {
		return c
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grants[l.Grant.GetTaskId()] = w
	if w.GetNumber() == s.fails {
		c.Outcome, c.FailureClass, c.Message = pb.Outcome_OUTCOME_FAILED, pb.FailureClass_FAILURE_CLASS_USER, "exit code 1"
		return c
	}
	c.Result = &pb.Result{Tests: &pb.TestSummary{Total: 3, Passed: 2, Skipped: 1, Millis: s.took[w.GetNumber()], Listed: s.listed, Items: []*pb.TestItem{{Name: fmt.Sprint("item", w.GetNumber()), Millis: s.took[w.GetNumber()]}}}}
	return c
}

// granted are the shards that were leased since it was asked last.
func (s *shards) granted() map[string]*pb.ShardWork {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.grants
	s.grants = map[string]*pb.ShardWork{}
	return out
}

func taskOf(t *testing.T, r *pb.Run, id string) *pb.Task {
	t.Helper()
	i := slices.IndexFunc(r.GetTasks(), func(task *pb.Task) bool { return task.GetId() == id })
	if i < 0 {
		t.Fatalf("there is no %s in\n%s", id, states(r))
	}
	return r.GetTasks()[i]
}

// TestShardsAreSplitByWhatTheyTook: what shards took says how the next run splits the test, and into how many;
// the test is reused as a whole, however it would be split now; and when one shard failed, the others stand.
func TestShardsAreSplitByWhatTheyTook(t *testing.T) {
	f := start(t)
	write(t, f.repo, "slipway.yaml", strings.Replace(pipelineFile, `{ run: "true" }`, `{ run: "true", list: ls, shards: auto }`, 1))
	commitAll(t, f.repo)
	w := &shards{took: map[int32]int64{1: 70_000, 2: 50_000, 3: 40_000, 4: 1000}, grants: map[string]*pb.ShardWork{}, listed: "a hash"}
	stop := f.work(t, w.handle)
	first := f.end(t, f.submit(t, "k1").GetId())
	want := map[string]*pb.ShardWork{}
	for n := range int32(4) {
		want[fmt.Sprintf("test/api/unit/%dof4", n+1)] = &pb.ShardWork{Number: n + 1, Of: 4, List: "ls"}
	}
	if d := cmp.Diff(want, w.granted(), protocmp.Transform()); d != "" {
		t.Errorf("shards of a test that was not measured (-want +got):\n%s", d)
	}
	whole := taskOf(t, first, "test/api/unit")
	if d := cmp.Diff(&pb.TestSummary{Total: 12, Passed: 8, Skipped: 4, Millis: 161_000, Listed: "a hash"}, whole.GetResult().GetTests(), protocmp.Transform()); d != "" || whole.GetState() != pb.TaskState_TASK_STATE_SUCCEEDED {
		t.Errorf("the test is %s, with (-want +got):\n%s", whole.GetState(), d)
	}

	again := f.end(t, f.submit(t, "k2").GetId())
	if task := taskOf(t, again, "test/api/unit"); task.GetState() != pb.TaskState_TASK_STATE_REUSED || task.GetResult().GetTests().GetTotal() != 12 || len(w.granted()) > 0 {
		t.Errorf("the same commit again: %v\n%s", task, states(again))
	}

	stop()
	f.stop()
	f.run(t) // what was learned is in the journal
	defer f.work(t, w.handle)()
	write(t, f.repo, "services/api/more", "x")
	commitAll(t, f.repo)
	w.fails = 2
	items := []*pb.TestItem{{Name: "item1", Millis: 70_000}, {Name: "item2", Millis: 50_000}, {Name: "item3", Millis: 40_000}, {Name: "item4", Millis: 1000}}
	failed := f.end(t, f.submit(t, "k3").GetId())
	want = map[string]*pb.ShardWork{}
	for n := range int32(3) {
		want[fmt.Sprintf("test/api/unit/%dof3", n+1)] = &pb.ShardWork{Number: n + 1, Of: 3, List: "ls", Items: items}
	}
	if d := cmp.Diff(want, w.granted(), protocmp.Transform()); d != "" {
		t.Errorf("shards of a test that took 161 s (-want +got):\n%s", d)
	}
	if task := taskOf(t, failed, "test/api/unit"); failed.GetState() != pb.RunState_RUN_STATE_FAILED || task.GetState() != pb.TaskState_TASK_STATE_SKIPPED || !strings.Contains(task.GetMessage(), "test/api/unit/2of3, which failed") {
		t.Errorf("a shard failed: %s, %v", failed.GetState(), task)
	}

	w.fails, w.took = 0, map[int32]int64{1: 10_000, 2: 10_000, 3: 10_000}
	mended := f.end(t, f.submit(t, "k4").GetId())
	if got := w.granted(); len(got) != 1 || !cmp.Equal(want["test/api/unit/2of3"], got["test/api/unit/2of3"], protocmp.Transform()) {
		t.Errorf("after one shard failed, these were carried out: %v", got)
	}
	if got := states(mended); mended.GetState() != pb.RunState_RUN_STATE_SUCCEEDED || !strings.Contains(got, "test/api/unit/1of3 REUSED") {
		t.Errorf("the others do not stand:\n%s", got)
	}

	write(t, f.repo, "services/api/more", "y")
	commitAll(t, f.repo)
	f.end(t, f.submit(t, "k5").GetId())
	// Shard 2 was measured again, and halves the distance; of the others, which were reused, nothing new is known.
	items[1].Millis = 30_000
	if got := w.granted()["test/api/unit/1of3"].GetItems(); !cmp.Equal(items, got, protocmp.Transform()) {
		t.Errorf("items (-want +got):\n%s", cmp.Diff(items, got, protocmp.Transform()))
	}
}

// TestAWorkerThatDoesNotKnowListsIsNotBelieved: it may have tested something else.
func TestAWorkerThatDoesNotKnowListsIsNotBelieved(t *testing.T) {
	f := start(t)
	write(t, f.repo, "slipway.yaml", strings.Replace(pipelineFile, `{ run: "true" }`, `{ run: "true", list: ls, shards: 2, retry: { infra: 1 } }`, 1))
	commitAll(t, f.repo)
	w := &shards{took: map[int32]int64{}, grants: map[string]*pb.ShardWork{}}
	defer f.work(t, w.handle)()
	r := f.end(t, f.submit(t, "k1").GetId())
	task := taskOf(t, r, "test/api/unit/1of2")
	if task.GetState() != pb.TaskState_TASK_STATE_ERRORED || !strings.Contains(task.GetMessage(), "worker w0 does not know lists of tests, and may have tested something else: upgrade it") {
		t.Errorf("%s: %s", task.GetState(), task.GetMessage())
	}
}

// TestARetryOfATestThatIsNotInThePlan: the run reused it, and what it reused was forgotten since.
func TestARetryOfATestThatIsNotInThePlan(t *testing.T) {
	f := start(t)
	write(t, f.repo, "slipway.yaml", strings.Replace(pipelineFile, `{ run: "true" }`, `{ run: "true", list: ls, shards: 2 }`, 1))
	commitAll(t, f.repo)
	w := &shards{took: map[int32]int64{}, grants: map[string]*pb.ShardWork{}, listed: "a hash"}
	var fails atomic.Bool
	defer f.work(t, func(ctx context.Context, l *session.Lease) *pb.Completion {
		if fails.Load() && l.Grant.GetApply() != nil {
			return &pb.Completion{Outcome: pb.Outcome_OUTCOME_FAILED, FailureClass: pb.FailureClass_FAILURE_CLASS_USER, Message: "no"}
		}
		return w.handle(ctx, l)
	})()
	f.end(t, f.submit(t, "k1").GetId())
	fails.Store(true)
	failed := f.end(t, f.submit(t, "k2").GetId())
	if task := taskOf(t, failed, "test/api/unit"); task.GetState() != pb.TaskState_TASK_STATE_REUSED || failed.GetState() != pb.RunState_RUN_STATE_FAILED {
		t.Fatalf("%s: %v", failed.GetState(), task)
	}
	if _, err := f.runs.Forget(t.Context(), &pb.ForgetRequest{Run: failed.GetId(), Task: "test/api/unit"}); err != nil {
		t.Fatal(err)
	}
	_, err := f.runs.Retry(t.Context(), &pb.RetryRequest{Run: failed.GetId(), IdempotencyKey: "again"})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "what run "+failed.GetId()+" knew of test/api/unit is gone, and its plan does not say how it is tested; run its commit anew") {
		t.Errorf("retry: %v", err)
	}
}
