package server_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// moods is a worker whose tests fail with cases that a test says.
type moods struct {
	mu    sync.Mutex
	fails func(attempt int32) []string
}

func (m *moods) set(fails func(attempt int32) []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fails = fails
}

func (m *moods) handle(ctx context.Context, l *session.Lease) *pb.Completion {
	c := good(ctx, l)
	if l.Grant.GetTaskId() != "test/api/unit" {
		return c
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c.Result = &pb.Result{Tests: &pb.TestSummary{Total: 9}}
	for _, name := range m.fails(l.Grant.GetLease().GetAttempt()) {
		c.Outcome, c.FailureClass, c.Message = pb.Outcome_OUTCOME_FAILED, pb.FailureClass_FAILURE_CLASS_USER, "exit code 1"
		c.Result.Tests.Failed++
		c.Result.Tests.Failures = append(c.Result.Tests.Failures, &pb.TestCase{Suite: "cart", Name: name})
	}
	c.Result.Tests.Passed = 9 - c.Result.Tests.GetFailed()
	return c
}

// TestAFlakyCaseGoesIntoQuarantineAndComesOut: found, reported, harmless, and released once it is mended, over a
// change of the coordinator; a case that always fails fails its run, in quarantine or not of another.
func TestAFlakyCaseGoesIntoQuarantineAndComesOut(t *testing.T) {
	f := start(t)
	write(t, f.repo, "slipway.yaml", strings.Replace(pipelineFile, `{ run: "true" }`, `{ run: "true", retry: { flaky: 1 }, quarantine: { release: 3 } }`, 1))
	w := &moods{}
	stop := f.work(t, w.handle)
	n := 0
	next := func() *pb.Run {
		t.Helper()
		n++
		write(t, f.repo, "services/api/more", fmt.Sprint(n))
		commitAll(t, f.repo)
		return f.end(t, f.submit(t, fmt.Sprint("k", n)).GetId())
	}
	tests := pb.NewTestServiceClient(f.dial(t, f.admin))
	flaky := func() []*pb.KnownCase {
		t.Helper()
		res, err := tests.ListTests(t.Context(), &pb.ListTestsRequest{Project: "shop", Flaky: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.GetTests()) == 0 {
			return nil
		}
		return res.GetTests()[0].GetCases()
	}
	w.set(func(attempt int32) []string {
		if attempt == 1 {
			return []string{"TestMoody"}
		}
		return nil
	})
	for want := int32(1); want <= 2; want++ {
		r := next()
		if got := flaky(); len(got) != 1 || got[0].GetFlakes() != want || (got[0].GetQuarantine() != nil) != (want == 2) || r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
			t.Fatalf("after run %d, %s: %v", want, r.GetState(), got)
		}
	}

	w.set(func(int32) []string { return []string{"TestMoody"} })
	task := taskOf(t, next(), "test/api/unit")
	if task.GetState() != pb.TaskState_TASK_STATE_SUCCEEDED || len(task.GetAttempts()) != 1 || task.GetMessage() != "cart TestMoody failed, which is in quarantine; the other 8 did not" {
		t.Errorf("in quarantine: %v", task)
	}
	if a := task.GetAttempts()[0]; a.GetOutcome() != pb.Outcome_OUTCOME_FAILED || len(a.GetFailedTests()) != 1 || a.GetFailedTests()[0].GetName() != "TestMoody" {
		t.Errorf("its attempt: %v", a)
	}
	if r := f.end(t, f.submit(t, "the same again").GetId()); len(taskOf(t, r, "test/api/unit").GetAttempts()) != 1 {
		t.Errorf("what passed because of a quarantine was reused:\n%s", states(r))
	}

	stop()
	f.stop()
	f.run(t)
	defer f.work(t, w.handle)()
	tests = pb.NewTestServiceClient(f.dial(t, f.admin))
	w.set(func(int32) []string { return []string{"TestBroken", "TestMoody"} })
	if r := next(); r.GetState() != pb.RunState_RUN_STATE_FAILED {
		t.Errorf("another case fails, and the run is %s", r.GetState())
	}
	w.set(func(int32) []string { return nil })
	for range 3 {
		if len(flaky()) != 1 {
			t.Errorf("released before it passed three times: %v", flaky())
		}
		next()
	}
	if got := flaky(); len(got) > 0 {
		t.Errorf("it passed three times, and is not released: %v", got)
	}
}

func TestPeopleSteerQuarantines(t *testing.T) {
	f := start(t)
	w := &moods{}
	w.set(func(int32) []string { return []string{"TestNew"} })
	defer f.work(t, w.handle)()
	admin := pb.NewTestServiceClient(f.dial(t, f.admin))
	code := func(what string, err error, want codes.Code) {
		t.Helper()
		if status.Code(err) != want {
			t.Errorf("%s: %v, want %s", what, err, want)
		}
	}
	name := &pb.TestName{Suite: "cart", Name: "TestNew"}
	quarantine := func(by pb.TestServiceClient, project, test string) error {
		_, err := by.Quarantine(t.Context(), &pb.QuarantineRequest{Project: project, Test: test, Case: name, Reason: "waits for the mailer", Days: 30})
		return err
	}
	code("a project without runs", quarantine(admin, "bank", "test/api/unit"), codes.NotFound)
	f.end(t, f.submit(t, "k1").GetId())
	code("no such test", quarantine(admin, "shop", "test/api/units"), codes.NotFound)
	code("who may not", quarantine(pb.NewTestServiceClient(f.dial(t, f.worker)), "shop", "test/api/unit"), codes.PermissionDenied)
	_, err := admin.Quarantine(t.Context(), &pb.QuarantineRequest{Project: "shop", Test: "test/api/unit"})
	code("no case", err, codes.InvalidArgument)
	code("who may", quarantine(admin, "shop", "test/api/unit"), codes.OK)
	if r := f.end(t, f.submit(t, "k2").GetId()); r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		t.Errorf("in quarantine: %s\n%s", r.GetMessage(), states(r))
	}
	res, err := admin.ListTests(t.Context(), &pb.ListTestsRequest{Project: "shop"})
	if err != nil || len(res.GetTests()) != 1 || len(res.GetTests()[0].GetRecent()) != 2 {
		t.Fatalf("%v, %v", res, err)
	}
	if q := res.GetTests()[0].GetCases()[0].GetQuarantine(); q.GetBy() == "" || q.GetReason() != "waits for the mailer" || q.GetUntil().AsTime().Sub(q.GetSince().AsTime()).Hours() != 30*24 {
		t.Errorf("quarantine: %v", q)
	}
	for _, want := range []codes.Code{codes.OK, codes.NotFound} {
		_, err := admin.Release(t.Context(), &pb.ReleaseRequest{Project: "shop", Test: "test/api/unit", Case: name})
		code("release", err, want)
	}
	if r := f.end(t, f.submit(t, "k3").GetId()); r.GetState() != pb.RunState_RUN_STATE_FAILED {
		t.Errorf("released: %s", r.GetState())
	}
}
