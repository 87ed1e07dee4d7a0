package server_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// explained waits until a task of a run waits for a reason.
func (f *farm) explained(t *testing.T, id, task string, want pb.WaitReason) *pb.Wait {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	var last *pb.Wait
	for {
		res, err := f.runs.Explain(ctx, &pb.ExplainRequest{Run: id, Task: task})
		switch {
		case err == nil && (len(res.GetWaits()) != 1 || res.GetWaits()[0].GetTask() != task):
			t.Fatalf("asked for %s, answered %v", task, res)
		case err == nil:
			if last = res.GetWaits()[0]; last.GetReason() == want {
				return last
			}
		case status.Code(err) != codes.Unavailable: // which a coordinator that begins is
			t.Fatalf("%s of %s does not wait for %s, but %v: %v", task, id, want, last, err)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
		}
	}
}

func TestExplain(t *testing.T) {
	f := start(t)
	r := f.submit(t, "first")
	f.explained(t, r.GetId(), "build/api", pb.WaitReason_WAIT_REASON_NO_WORKER)

	release := make(chan struct{})
	var once sync.Once
	stop := f.work(t, func(ctx context.Context, l *session.Lease) *pb.Completion {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return good(ctx, l)
	})
	defer stop()
	defer once.Do(func() { close(release) })
	if w := f.explained(t, r.GetId(), "build/api", pb.WaitReason_WAIT_REASON_NONE); !strings.Contains(w.GetMessage(), "w0 carries it out") {
		t.Errorf("who carries it out: %q", w.GetMessage())
	}
	f.explained(t, r.GetId(), "build/web", pb.WaitReason_WAIT_REASON_NONE)

	// A run that needs the same waits for the first; one that takes nothing from others, for a slot:
	// both for builds are taken.
	third := f.submit(t, "third")
	if w := f.explained(t, third.GetId(), "build/api", pb.WaitReason_WAIT_REASON_SHARED); !slices.Equal(w.GetOn(), []string{r.GetId()}) {
		t.Errorf("it waits for %v", w.GetOn())
	}
	second := f.submitAnew(t, "second")
	w := f.explained(t, second.GetId(), "build/web", pb.WaitReason_WAIT_REASON_QUEUE)
	if w.GetPosition() < 1 || w.GetPosition() > 2 || w.GetSlots() != 2 {
		t.Errorf("position %d of %d slots, want 1 or 2 of 2", w.GetPosition(), w.GetSlots())
	}
	all, err := f.runs.Explain(t.Context(), &pb.ExplainRequest{Run: r.GetId()})
	if err != nil {
		t.Fatal(err)
	}
	needs := 0
	for _, w := range all.GetWaits() {
		switch w.GetReason() {
		case pb.WaitReason_WAIT_REASON_DEPENDENCY:
			needs++
			if len(w.GetOn()) == 0 {
				t.Errorf("%s waits for tasks, and none is named", w.GetTask())
			}
		default:
			t.Errorf("%s of the first run: %v", w.GetTask(), w)
		}
	}
	if needs == 0 {
		t.Error("no task of the first run waits for another")
	}
	for run, task := range map[string]string{r.GetId(): "build/none", "shop-99": ""} {
		if _, err := f.runs.Explain(t.Context(), &pb.ExplainRequest{Run: run, Task: task}); status.Code(err) != codes.NotFound {
			t.Errorf("explain %s %s: %v, want NotFound", run, task, err)
		}
	}

	// A new coordinator does not know whether the worker, which cannot find it, goes on: the
	// one before could not say that it left in order.
	f.nats.Without(t, f.stop)
	f.run(t)
	for _, id := range []string{r.GetId(), second.GetId()} {
		if w := f.explained(t, id, "build/api", pb.WaitReason_WAIT_REASON_TAKEOVER); w.GetNotBefore() == nil {
			t.Errorf("%s: until when it waits is not said", id)
		}
	}
	once.Do(func() { close(release) })
	stop()
	defer f.work(t, good)()
	f.end(t, r.GetId())
	for _, task := range f.end(t, third.GetId()).GetTasks() {
		if task.GetKind() == "build" && (task.GetState() != pb.TaskState_TASK_STATE_REUSED || !strings.Contains(task.GetMessage(), r.GetId())) {
			t.Errorf("%s of the run that waited is %s: %s", task.GetId(), task.GetState(), task.GetMessage())
		}
	}
	if end := f.end(t, second.GetId()); end.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		t.Errorf("the newest run: %s", states(end))
	}
	f.explained(t, r.GetId(), "build/api", pb.WaitReason_WAIT_REASON_ENDED)
}
