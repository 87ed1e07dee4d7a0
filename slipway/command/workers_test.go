package command_test

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/slipway-build/slipway/slipway/command"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// fleet answers for one worker, whose tasks end one with each look at it.
type fleet struct {
	pb.UnimplementedFarmServiceServer

	mu     sync.Mutex
	cordon *pb.WorkerCordon
	tasks  []string
	stuck  bool
	looked func()
}

func (f *fleet) worker() []*pb.Worker {
	w := &pb.Worker{Name: "w", Instance: "i", State: pb.WorkerState_WORKER_STATE_READY, Since: timestamppb.Now(), Version: "1.2.3", Cordon: f.cordon, Slots: []*pb.WorkerSlots{{Capability: "build", Slots: 4, Taken: int32(len(f.tasks))}}}
	if f.cordon != nil {
		w.State, w.Reason = pb.WorkerState_WORKER_STATE_CORDONED, f.cordon.GetReason()
	}
	for _, t := range f.tasks {
		w.Attempts = append(w.Attempts, &pb.WorkerAttempt{Lease: &pb.LeaseRef{Token: t}, Run: "shop-1", Task: t, LeasedAt: timestamppb.Now()})
	}
	return []*pb.Worker{w}
}

func (f *fleet) ListWorkers(context.Context, *pb.ListWorkersRequest) (*pb.ListWorkersResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := &pb.ListWorkersResponse{Workers: f.worker()}
	if f.cordon != nil && len(f.tasks) > 0 && !f.stuck {
		f.tasks = f.tasks[1:]
	}
	if f.looked != nil {
		f.looked()
	}
	return out, nil
}

func (f *fleet) Cordon(_ context.Context, r *pb.CordonRequest) (*pb.CordonResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.GetName() != "w" {
		return nil, status.Errorf(codes.NotFound, "no worker named %q", r.GetName())
	}
	f.cordon = &pb.WorkerCordon{Reason: r.GetReason(), By: "anna", At: timestamppb.Now()}
	return &pb.CordonResponse{Workers: f.worker()}, nil
}

func (f *fleet) Uncordon(context.Context, *pb.UncordonRequest) (*pb.UncordonResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cordon = nil
	return &pb.UncordonResponse{Workers: f.worker()}, nil
}

// steer runs commands against a fleet.
func (f *fleet) steer(t *testing.T) func(ctx context.Context, args ...string) (int, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	return serve(t, func(srv *grpc.Server) { pb.RegisterFarmServiceServer(srv, f) })
}

// serve answers for services, and runs commands against them.
func serve(t *testing.T, register func(*grpc.Server)) func(ctx context.Context, args ...string) (int, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	register(srv)
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() { srv.Stop(); serving.Wait() })
	return func(ctx context.Context, args ...string) (int, *bytes.Buffer, *bytes.Buffer) {
		e, out, errs := env(t, args...)
		e.Addr, e.Token = l.Addr().String(), "x"
		return command.Execute(ctx, e), out, errs
	}
}

func TestWorkersAreSteered(t *testing.T) {
	f := &fleet{tasks: []string{"build/api", "build/web"}}
	do := f.steer(t)
	for _, c := range []struct {
		args string
		code int
		want []string
	}{
		{"workers", 0, []string{"WORKER", "ready", "build 2/4", "1.2.3"}},
		{"workers -o json", 0, []string{`"state": "WORKER_STATE_READY"`}},
		{"workers cordon v", 5, []string{`no worker named "v"`}},
		{"workers cordon", 2, []string{"slipway workers cordon takes WORKER"}},
		{"workers cordon w --reason slow", 0, []string{"worker w is cordoned; it still carries out 2 tasks"}},
		{"workers", 0, []string{"cordoned", "slow; cordoned by anna"}},
		{"workers uncordon w", 0, []string{"worker w is not cordoned"}},
		{"workers drain w", 0, []string{"shop-1 build/web, for", "worker w is drained"}},
	} {
		code, out, errs := do(t.Context(), strings.Fields(c.args)...)
		for _, want := range c.want {
			if code != c.code || !strings.Contains(out.String()+errs.String(), want) {
				t.Errorf("%s: code %d, want %d; %s%s; want %q", c.args, code, c.code, out, errs, want)
			}
		}
	}
}

func TestADrainThatIsInterruptedLeavesTheCordon(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f := &fleet{tasks: []string{"build/api"}, stuck: true, looked: cancel}
	code, out, errs := f.steer(t)(ctx, "workers", "drain", "w")
	if code != command.ExitInterrupted || !strings.Contains(errs.String(), "worker w stays cordoned; slipway workers uncordon w gives it tasks again") {
		t.Errorf("code %d: %s%s", code, out, errs)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cordon == nil {
		t.Error("the cordon was taken back")
	}
}
