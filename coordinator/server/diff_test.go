package server_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-build/slipway/coordinator/webhook"
	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// answers carries out everything, and every comparison with the same answer.
func answers(d *pb.Diff) session.Handler {
	return func(ctx context.Context, l *session.Lease) *pb.Completion {
		c := good(ctx, l)
		if w := l.Grant.GetDiff(); w != nil {
			c.Result.Diff = d
			if want := digest("render/" + strings.TrimPrefix(l.Grant.GetTaskId(), "diff/")); w.GetManifests() != want || w.GetTarget().GetNamespace() != "shop" {
				c.Outcome, c.Message = pb.Outcome_OUTCOME_FAILED, "granted "+w.String()
			}
		}
		return c
	}
}

func TestADiffReleasesNothingAndItsAnswersStay(t *testing.T) {
	f := start(t)
	want := &pb.Diff{
		Created: 1, Changed: 2, Deleted: 3, Unchanged: 4, Namespace: true,
		Objects: []*pb.ObjectChange{{Object: "Deployment/api", Action: "changed", Reason: "r", More: 5, Fields: []*pb.FieldChange{{Path: "spec.replicas", From: "1", To: "2"}}}},
	}
	defer f.work(t, answers(want))()
	p, err := f.runs.Plan(t.Context(), &pb.PlanRequest{Repository: f.url(), Ref: "main", Diff: true})
	if err != nil || !strings.Contains(string(p.GetPlanJson()), `"diff/api@prod/one"`) {
		t.Errorf("plan: %v %s", err, p.GetPlanJson())
	}
	r, err := f.runs.Submit(t.Context(), &pb.SubmitRequest{IdempotencyKey: "k", Repository: f.url(), Ref: "main", Diff: true})
	if err != nil {
		t.Fatal(err)
	}
	done := f.end(t, r.GetRun().GetId())
	for range 2 { // and when they were read from the journal
		if done.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
			t.Fatalf("%s\n%s", done.GetMessage(), states(done))
		}
		compared := 0
		for _, task := range done.GetTasks() {
			switch task.GetKind() {
			case "diff":
				compared++
				if !proto.Equal(task.GetResult().GetDiff(), want) {
					t.Errorf("%s: %v", task.GetId(), task.GetResult())
				}
			case "checkout", "build", "render":
			default:
				t.Errorf("a comparison has a task %s", task.GetId())
			}
		}
		if compared != 4 { // two services, two clusters
			t.Errorf("%d comparisons", compared)
		}
		f.stop()
		f.run(t)
		done = f.end(t, r.GetRun().GetId())
	}
	if _, err := f.runs.Submit(t.Context(), &pb.SubmitRequest{IdempotencyKey: "k", Repository: f.url(), Ref: "main"}); err == nil {
		t.Error("one key for a comparison and for a release")
	}
}

func TestAPullRequestIsComparedUnlessAStrangersIs(t *testing.T) {
	f := startHooked(t, "slipway.yaml", pipelineFile+"\ntriggers:\n  pull_request: { run: [build, test, diff] }\n")
	f.stop()
	f.forks = true
	f.serve(t)
	var mu sync.Mutex
	compared := map[string]bool{}
	handler := answers(&pb.Diff{Changed: 1})
	defer f.work(t, func(ctx context.Context, l *session.Lease) *pb.Completion {
		if l.Grant.GetDiff() != nil {
			mu.Lock()
			compared[l.Grant.GetRun()] = true
			mu.Unlock()
		}
		return handler(ctx, l)
	})()
	green := func(a hookAnswer) hookAnswer { // and then the next: it would supersede this one
		if r := f.end(t, a.Run); r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
			t.Errorf("%+v: %s\n%s", a, r.GetMessage(), states(r))
		}
		return a
	}
	own := green(f.deliver(t, f.genuine(t, webhook.GitHub, "pull")))
	stranger := green(f.deliver(t, f.asks(t, webhook.GitHub, f.fork(t, webhook.GitHub, "services/api/stranger", "x"))))
	mu.Lock()
	defer mu.Unlock()
	if !compared[own.Run] || compared[stranger.Run] {
		t.Errorf("compared: %v; own %s, stranger's %s", compared, own.Run, stranger.Run)
	}
}
