package server_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// carried is a worker that notes what it carries out, and whether afresh.
type carried struct {
	t       *testing.T
	workers pb.WorkerServiceClient
	mu      sync.Mutex
	tasks   []string
	fails   string // the id of a task that fails
}

func (c *carried) handle(ctx context.Context, l *session.Lease) *pb.Completion {
	id := l.Grant.GetTaskId()
	c.mu.Lock()
	defer c.mu.Unlock()
	note := id
	if l.Grant.GetBuild().GetFresh() || l.Grant.GetTest().GetBuild().GetFresh() {
		note += " afresh"
	}
	c.tasks = append(c.tasks, note)
	if id == c.fails {
		return &pb.Completion{Outcome: pb.Outcome_OUTCOME_FAILED, FailureClass: pb.FailureClass_FAILURE_CLASS_USER, Message: "exit code 1"}
	}
	done := good(ctx, l)
	if b := l.Grant.GetBuild(); b != nil { // what is reused must be there
		done.Result.Image = b.GetPush() + "@" + pushed(c.t, b.GetPush())
	}
	if l.Grant.GetRender() != nil {
		done.Result.Manifests = c.stored(ctx, id)
	}
	return done
}

// stored is the digest of a blob.
func (c *carried) stored(ctx context.Context, text string) string {
	put, err := c.workers.PutBlob(ctx)
	if err == nil {
		err = put.Send(&pb.PutBlobRequest{Data: []byte(text)})
	}
	if err != nil {
		c.t.Errorf("put a blob: %v", err)
		return ""
	}
	res, err := put.CloseAndRecv()
	if err != nil {
		c.t.Errorf("put a blob: %v", err)
	}
	return res.GetDigest()
}

// since are the builds, tests and renders that were carried out since it was asked last, sorted.
func (c *carried) since() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := slices.DeleteFunc(c.tasks, func(id string) bool { return strings.HasPrefix(id, "apply/") })
	c.tasks = nil
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// TestWhatIsForgottenIsMadeAgain: what a task made, and what was made of that, stands in for nothing any more, over a
// change of the coordinator and for runs that are tried again; what is made then does.
func TestWhatIsForgottenIsMadeAgain(t *testing.T) {
	f := start(t)
	w := &carried{t: t, workers: f.workers}
	stop := f.work(t, w.handle)
	first := f.end(t, f.submit(t, "k1").GetId())
	w.since()
	forget := func(run, task string) ([]string, error) {
		res, err := f.runs.Forget(t.Context(), &pb.ForgetRequest{Run: run, Task: task, Reason: "the mirror lied"})
		return res.GetTasks(), err
	}
	for task, want := range map[string]codes.Code{"build/none": codes.NotFound, "checkout": codes.FailedPrecondition, "release": codes.FailedPrecondition} {
		if _, err := forget(first.GetId(), task); status.Code(err) != want {
			t.Errorf("forget %s: %v, want %s", task, err, want)
		}
	}
	if _, err := forget("shop-9", "build/api"); status.Code(err) != codes.NotFound {
		t.Errorf("forget of no run: %v", err)
	}
	if f.end(t, f.submit(t, "k2").GetId()); w.since() != "" {
		t.Error("what was refused forgot something")
	}

	tasks, err := forget(first.GetId(), "build/api")
	const all = "build/api, render/api@prod/one, render/api@prod/two, test/api/unit"
	if slices.Sort(tasks); err != nil || strings.Join(tasks, ", ") != all {
		t.Fatalf("forgotten: %v, %v", tasks, err)
	}
	stop()
	f.stop()
	f.run(t)
	w.workers = f.workers
	defer f.work(t, w.handle)()
	w.fails = "test/api/unit"
	failed := f.end(t, f.submit(t, "k3").GetId())
	if got := w.since(); got != "build/api afresh, render/api@prod/one, render/api@prod/two, test/api/unit afresh" {
		t.Errorf("made again: %s", got)
	}
	if why := taskOf(t, failed, "build/api").GetReason(); why != "what was made of the same inputs was forgotten by anna: the mirror lied" {
		t.Errorf("why it is built: %s", why)
	}

	// A run that is tried again does not take what was forgotten from the one before, whatever was made since.
	if _, err := forget(failed.GetId(), "build/api"); err != nil {
		t.Fatal(err)
	}
	f.end(t, f.submit(t, "between").GetId())
	if got := w.since(); !strings.HasPrefix(got, "build/api afresh") {
		t.Errorf("forgotten once more: %s", got)
	}
	w.fails = ""
	res, err := f.runs.Retry(t.Context(), &pb.RetryRequest{Run: failed.GetId(), IdempotencyKey: "again"})
	if err != nil {
		t.Fatal(err)
	}
	again := f.end(t, res.GetRun().GetId())
	if got := w.since(); got != "build/api afresh, render/api@prod/one, render/api@prod/two, test/api/unit afresh" || again.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		t.Errorf("tried again: %s; %s", again.GetState(), got)
	}
	if f.end(t, f.submit(t, "k4").GetId()); w.since() != "" {
		t.Error("what was made since is not reused")
	}
}
