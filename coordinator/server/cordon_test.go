package server_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/internal/queue"
	"github.com/slipway-build/slipway/internal/rpc"
	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func (f *farm) steers(t *testing.T) pb.FarmServiceClient {
	t.Helper()
	return pb.NewFarmServiceClient(f.dial(t, f.admin))
}

// workersOf asks until the list is complete, and says what it should.
func (f *farm) workersOf(t *testing.T, what string, ok func([]*pb.Worker) bool) []*pb.Worker {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	farm := f.steers(t)
	for {
		res, err := farm.ListWorkers(ctx, &pb.ListWorkersRequest{})
		if err != nil && status.Code(err) != codes.Unavailable {
			t.Fatalf("no list in which %s: %v", what, err)
		}
		if err == nil && !res.GetStale() && ok(res.GetWorkers()) {
			return res.GetWorkers()
		}
		select {
		case <-again.C:
		case <-ctx.Done():
		}
	}
}

func named(list []*pb.Worker, name string) *pb.Worker {
	i := slices.IndexFunc(list, func(w *pb.Worker) bool { return w.GetName() == name })
	if i < 0 {
		return nil
	}
	return list[i]
}

func inState(name string, s pb.WorkerState) func([]*pb.Worker) bool {
	return func(list []*pb.Worker) bool { return named(list, name).GetState() == s }
}

// The worker has its session with one coordinator, the cordon is set at another, and the run's
// partition is whose it is: whoever grants leases holds to it.
func TestACordonedWorkerGetsNothingFromAnyCoordinator(t *testing.T) {
	a := start(t)
	b, c := a.beside(t), a.beside(t)
	a.owners(t, 3)
	attempts := make(chan string, 100)
	stop := c.work(t, func(ctx context.Context, l *session.Lease) *pb.Completion {
		attempts <- l.Grant.GetTaskId()
		return good(ctx, l)
	})
	defer stop()
	for i, f := range []*farm{a, b, c} {
		list := f.workersOf(t, "both are ready", func(l []*pb.Worker) bool {
			return inState("w0", pb.WorkerState_WORKER_STATE_READY)(l) && inState("w1", pb.WorkerState_WORKER_STATE_READY)(l)
		})
		if w := list[0]; len(list) != 2 || len(w.GetSlots()) != 2 || w.GetSlots()[0].GetCapability() != "build" || w.GetSlots()[0].GetSlots() != 2 {
			t.Errorf("coordinator %d lists %v", i, list)
		}
	}
	if _, err := a.steers(t).Cordon(t.Context(), &pb.CordonRequest{Name: "nobody"}); status.Code(err) != codes.NotFound {
		t.Errorf("cordon nobody: %v", err)
	}
	res, err := a.steers(t).Cordon(t.Context(), &pb.CordonRequest{Name: "w0", Reason: "its disk is slow"})
	if err != nil {
		t.Fatal(err)
	}
	if w := named(res.GetWorkers(), "w0"); w.GetState() != pb.WorkerState_WORKER_STATE_CORDONED || w.GetCordon().GetBy() != "anna" || w.GetReason() != "its disk is slow" {
		t.Errorf("cordoned: %v", w)
	}
	res, err = b.steers(t).Cordon(t.Context(), &pb.CordonRequest{Name: "w0"})
	if err != nil || named(res.GetWorkers(), "w0").GetReason() != "its disk is slow" {
		t.Errorf("cordoned again, without a reason: %v, %v", res, err)
	}
	id := b.submit(t, "k").GetId()
	w := b.explained(t, id, "build/api", pb.WaitReason_WAIT_REASON_NO_WORKER)
	if !strings.Contains(w.GetMessage(), "held back: w0 is cordoned (its disk is slow)") {
		t.Errorf("explained: %q", w.GetMessage())
	}
	// A coordinator that is started anew holds to it as well.
	a.stop()
	a.run(t)
	for _, f := range []*farm{a, b, c} {
		f.workersOf(t, "it is cordoned", inState("w0", pb.WorkerState_WORKER_STATE_CORDONED))
	}
	if len(attempts) > 0 {
		t.Errorf("%s was carried out", <-attempts)
	}
	if _, err := b.steers(t).Uncordon(t.Context(), &pb.UncordonRequest{Name: "w0"}); err != nil {
		t.Fatal(err)
	}
	if r := b.follow(t, id); r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		t.Errorf("run is %s: %s\n%s", r.GetState(), r.GetMessage(), states(r))
	}
	a.workersOf(t, "it is ready", inState("w0", pb.WorkerState_WORKER_STATE_READY))
}

// What a worker carries out when it is cordoned goes on, also over a restart of its
// coordinator, and the list has it until it has ended.
func TestACordonLeavesWhatRuns(t *testing.T) {
	f := start(t)
	begun, release := make(chan struct{}, 10), make(chan struct{})
	stop := f.work(t, func(ctx context.Context, l *session.Lease) *pb.Completion {
		if strings.HasPrefix(l.Grant.GetTaskId(), "build/") {
			l.Started()
			begun <- struct{}{}
			select {
			case <-release:
			case <-ctx.Done():
				return &pb.Completion{Outcome: pb.Outcome_OUTCOME_ERRORED, Message: context.Cause(ctx).Error()}
			}
		}
		return good(ctx, l)
	})
	defer stop()
	id := f.submit(t, "k").GetId()
	<-begun
	<-begun
	if _, err := f.steers(t).Cordon(t.Context(), &pb.CordonRequest{Name: "w0"}); err != nil {
		t.Fatal(err)
	}
	list := f.workersOf(t, "it has both builds", func(l []*pb.Worker) bool { return len(named(l, "w0").GetAttempts()) == 2 })
	w := named(list, "w0")
	if w.GetAttempts()[0].GetTask() != "build/api" || w.GetAttempts()[0].GetRun() != id || w.GetSlots()[0].GetTaken() != 2 {
		t.Errorf("it carries out %v", w)
	}
	close(release)
	f.workersOf(t, "it carries nothing out", func(l []*pb.Worker) bool {
		return len(named(l, "w0").GetAttempts()) == 0 && named(l, "w0").GetHeld() == 0
	})
	f.explained(t, id, "test/api/unit", pb.WaitReason_WAIT_REASON_NO_WORKER)
	if _, err := f.steers(t).Uncordon(t.Context(), &pb.UncordonRequest{Name: "w0"}); err != nil {
		t.Fatal(err)
	}
	r := f.end(t, id)
	if r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		t.Errorf("run is %s: %s\n%s", r.GetState(), r.GetMessage(), states(r))
	}
	for _, task := range r.GetTasks() {
		if len(task.GetAttempts()) > 1 {
			t.Errorf("%s took %d attempts", task.GetId(), len(task.GetAttempts()))
		}
	}
}

func TestWhoMaySteer(t *testing.T) {
	f := start(t)
	worker := pb.NewFarmServiceClient(f.dial(t, f.worker))
	if _, err := worker.ListWorkers(t.Context(), &pb.ListWorkersRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a worker lists workers: %v", err)
	}
	if _, err := worker.Cordon(t.Context(), &pb.CordonRequest{Name: "w0"}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a worker cordons: %v", err)
	}
}

// A worker that says it is pressed is given nothing by any coordinator, and named by each.
func TestAPressedWorkerIsGivenNothing(t *testing.T) {
	a := start(t)
	b := a.beside(t)
	a.owners(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	js := a.nats.JetStream(t)
	w := session.New(session.Config{
		Client: b.workers, Name: "w0", Instance: rpc.NewToken()[:16], Slots: map[string]int{"build": 2, "render": 2}, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: time.Now,
		Hints: map[string]session.Hints{"build": queue.NewPuller(js, "build"), "render": queue.NewPuller(js, "render")},
	}, good)
	w.Press("3 % of memory is free")
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	for i, f := range []*farm{a, b} {
		list := f.workersOf(t, "it is pressed", inState("w0", pb.WorkerState_WORKER_STATE_PRESSED))
		if named(list, "w0").GetReason() != "3 % of memory is free" {
			t.Errorf("coordinator %d: %v", i, list)
		}
	}
	id := a.submit(t, "k").GetId()
	if got := a.explained(t, id, "build/api", pb.WaitReason_WAIT_REASON_NO_WORKER); !strings.Contains(got.GetMessage(), "w0 is pressed (3 % of memory is free)") {
		t.Errorf("explained: %q", got.GetMessage())
	}
	w.Press("")
	a.workersOf(t, "it is ready", inState("w0", pb.WorkerState_WORKER_STATE_READY))
	a.explained(t, id, "build/api", pb.WaitReason_WAIT_REASON_ENDED)
}
