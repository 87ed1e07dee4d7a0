package server_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/queue"
	"github.com/slipway-build/slipway/internal/rpc"
	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// join has one more worker take builds and tests.
func (f *farm) join(t *testing.T, name string, h session.Handler) (stop func()) {
	t.Helper()
	js := f.nats.JetStream(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		c := session.Config{
			Client: f.workers, Name: name, Instance: rpc.NewToken()[:16], Slots: map[string]int{"build": 1}, Log: slog.New(slog.DiscardHandler), Now: time.Now,
			Hints: map[string]session.Hints{"build": queue.NewPuller(js, "build")},
		}
		if err := session.New(c, h).Run(ctx); err != nil {
			t.Errorf("session: %v", err)
		}
	})
	return sync.OnceFunc(func() { cancel(); wg.Wait() })
}

// TestAWorkerThatBreaksEveryTestIsDrained: every test that it fails is carried out by another worker, no run fails, no case is
// called flaky, and it is cordoned with the reason; a test that fails everywhere fails its run.
func TestAWorkerThatBreaksEveryTestIsDrained(t *testing.T) {
	f := start(t)
	tests := make([]string, 12)
	for i := range tests {
		tests[i] = fmt.Sprintf(`t%02d: { run: "true %d" }`, i, i)
	}
	write(t, f.repo, "slipway.yaml", strings.Replace(pipelineFile, `unit: { run: "true" }`, strings.Join(tests, ", "), 1))
	commitAll(t, f.repo)
	var mu sync.Mutex
	bad := map[string]bool{} // tests that fail everywhere
	took := map[string]int{}
	on := func(name string, broken bool) session.Handler {
		return func(ctx context.Context, l *session.Lease) *pb.Completion {
			c := good(ctx, l)
			id := l.Grant.GetTaskId()
			if !strings.HasPrefix(id, "test/") {
				return c
			}
			mu.Lock()
			took[name]++
			broken := broken || bad[id]
			mu.Unlock()
			if broken {
				c.Outcome, c.FailureClass, c.Message = pb.Outcome_OUTCOME_FAILED, pb.FailureClass_FAILURE_CLASS_USER, "exit code 1"
				c.Result = &pb.Result{Tests: &pb.TestSummary{Total: 1, Failed: 1, Failures: []*pb.TestCase{{Name: "case of " + id}}}}
			} else {
				select { // it does something, and so the other one has its turn
				case <-time.After(20 * time.Millisecond):
				case <-ctx.Done():
				}
			}
			return c
		}
	}
	defer f.work(t, on("w0", false))() // of which one takes renders and deploys too
	defer f.join(t, "broken", on("broken", true))()
	farm := f.steers(t)
	cordon := func() string {
		t.Helper()
		res, err := farm.ListWorkers(t.Context(), &pb.ListWorkersRequest{Name: "broken"})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range res.GetWorkers() {
			if c := w.GetCordon(); c != nil && strings.Contains(c.GetReason(), "passed on other workers") {
				return c.GetBy() + ": " + c.GetReason()
			}
		}
		return ""
	}
	doubted := 0
	for n := 0; cordon() == ""; n++ {
		if n == 20 {
			t.Fatalf("not cordoned after %d runs; tests on each worker: %v", n, took)
		}
		write(t, f.repo, "services/api/more", fmt.Sprint(n))
		commitAll(t, f.repo)
		r := f.end(t, f.submit(t, fmt.Sprint("k", n)).GetId())
		if r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
			t.Fatalf("a test is blamed for a machine: %s\n%s", r.GetMessage(), states(r))
		}
		for _, task := range r.GetTasks() {
			for _, a := range task.GetAttempts() {
				if a.GetDoubted() {
					doubted++
					if a.GetWorker() != "broken" || a.GetOutcome() != pb.Outcome_OUTCOME_ERRORED || !strings.Contains(a.GetMessage(), "exit code 1\n(on worker broken, where no test passes: it is carried out on another one before it is believed)") {
						t.Errorf("%s: %v", task.GetId(), a)
					}
				}
			}
		}
	}
	if got := cordon(); !strings.HasPrefix(got, "slipway: 3 tests failed here and passed on other workers, and none passed here: test/api/t") || doubted != took["broken"] {
		t.Errorf("%s; %d attempts were doubted, and it had %d", got, doubted, took["broken"])
	}
	res, err := pb.NewTestServiceClient(f.dial(t, f.admin)).ListTests(t.Context(), &pb.ListTestsRequest{Project: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range res.GetTests() {
		if len(test.GetCases()) > 0 {
			t.Errorf("%s is said to have cases that failed: %v", test.GetId(), test.GetCases())
		}
	}

	mu.Lock()
	bad["test/api/t03"] = true
	had := took["broken"]
	mu.Unlock()
	write(t, f.repo, "services/api/more", "bad")
	commitAll(t, f.repo)
	r := f.end(t, f.submit(t, "bad").GetId())
	if a := taskOf(t, r, "test/api/t03").GetAttempts(); r.GetState() != pb.RunState_RUN_STATE_FAILED || len(a) != 1 || took["broken"] != had {
		t.Errorf("a test that fails everywhere: %s, %v; the cordoned worker had %d tests more", r.GetState(), a, took["broken"]-had)
	}

	if _, err := farm.Uncordon(t.Context(), &pb.UncordonRequest{Name: "broken"}); err != nil || cordon() != "" {
		t.Errorf("uncordon: %v; %s", err, cordon())
	}
}
