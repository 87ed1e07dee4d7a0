package command_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/command"
)

// history is a coordinator that knows runs, newest first.
type history struct {
	pb.UnimplementedRunServiceServer

	runs []*pb.Run
}

func (h *history) Get(_ context.Context, req *pb.GetRequest) (*pb.GetResponse, error) {
	for _, r := range h.runs {
		if r.GetId() == req.GetRun() || req.GetRun() == "latest" {
			return &pb.GetResponse{Run: r}, nil
		}
	}
	return nil, status.Error(codes.NotFound, "no such run") //nolint:wrapcheck // the edge
}

func (h *history) List(_ context.Context, req *pb.ListRequest) (*pb.ListResponse, error) {
	return &pb.ListResponse{Runs: h.runs[:min(len(h.runs), int(req.GetLimit()))]}, nil
}

// serve answers on loopback, and says where.
func (h *history) serve(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	pb.RegisterRunServiceServer(s, h)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return l.Addr().String()
}

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds float64) *timestamppb.Timestamp {
	return timestamppb.New(began.Add(time.Duration(seconds * float64(time.Second))))
}

// worked is a task that was carried out by attempts of so many seconds each.
func worked(id, kind string, needs []string, seconds ...float64) *pb.Task {
	t := &pb.Task{Id: id, Kind: kind, Needs: needs, State: pb.TaskState_TASK_STATE_SUCCEEDED}
	from := 100.0
	for i, s := range seconds {
		t.Attempts = append(t.Attempts, &pb.Attempt{Number: int32(i + 1), LeasedAt: at(from), FinishedAt: at(from + s)})
		from += s + 1000 // whatever it waited for between them
	}
	return t
}

// past are a run that released three services, one that failed, and one that goes on.
func past() *history {
	checkout := &pb.Task{Id: "checkout", Kind: "checkout", State: pb.TaskState_TASK_STATE_SUCCEEDED, ReadyAt: at(0), FinishedAt: at(2)}
	release := &pb.Run{
		Id: "shop-1-a", Project: "shop", State: pb.RunState_RUN_STATE_SUCCEEDED, AcceptedAt: at(0), FinishedAt: at(400),
		Tasks: []*pb.Task{
			checkout,
			worked("build/api", "build", []string{"checkout"}, 60),
			worked("build/web", "build", []string{"checkout"}, 20, 40),
			{Id: "build/lib", Kind: "build", Needs: []string{"checkout"}, State: pb.TaskState_TASK_STATE_REUSED},
			worked("test/api/unit", "test", []string{"build/api"}, 30),
			worked("test/web/unit", "test", []string{"build/web", "build/lib"}, 30),
			worked("render/api@prod/eu", "render", []string{"build/api"}, 2),
			{
				Id: "release", Kind: "release", Needs: []string{"render/api@prod/eu", "test/api/unit", "test/web/unit"},
				State: pb.TaskState_TASK_STATE_SUCCEEDED, ReadyAt: at(200), FinishedAt: at(201),
			},
			// It waited for another run: that is not replayed.
			{Id: "rollout/prod", Kind: "rollout", Environment: "prod", Needs: []string{"release"}, State: pb.TaskState_TASK_STATE_SUCCEEDED, ReadyAt: at(201), FinishedAt: at(360)},
			worked("apply/api@prod/eu", "apply", []string{"rollout/prod"}, 40),
		},
	}
	release.Tasks[9].Environment, release.Tasks[9].Cluster = "prod", "eu"
	failed := &pb.Run{
		Id: "shop-2-b", Project: "shop", State: pb.RunState_RUN_STATE_FAILED, Class: "low", AcceptedAt: at(10), FinishedAt: at(300),
		Tasks: []*pb.Task{
			checkout,
			worked("build/api", "build", []string{"checkout"}, 100),
			{Id: "test/api/unit", Kind: "test", Needs: []string{"build/api"}, State: pb.TaskState_TASK_STATE_SKIPPED},
		},
	}
	failed.Tasks[1].State = pb.TaskState_TASK_STATE_FAILED
	return &history{runs: []*pb.Run{{Id: "shop-3-c", State: pb.RunState_RUN_STATE_RUNNING}, failed, release}}
}

func TestSimulate(t *testing.T) {
	addr := past().serve(t)
	ask := func(args ...string) (int, string, string) {
		e, out, errs := env(t, append([]string{"simulate"}, args...)...)
		e.Addr, e.Token = addr, "x"
		return command.Execute(t.Context(), e), out.String(), errs.String()
	}
	var b strings.Builder
	for _, args := range [][]string{
		{"shop-1-a", "--slots", "1,2,3,4"},
		{"shop-1-a", "--slots", "2", "-o", "json"},
		strings.Fields("--last 20 --slots 2,4,8 --keep deploy_prod-eu=1"),
		{"--last", "3", "--slots", "1,2,3", "--keep", "deploy_eu=5,render=1"},
	} {
		code, out, errs := ask(args...)
		if code != 0 {
			t.Fatalf("%v: code %d: %s", args, code, errs)
		}
		b.WriteString("$ slipway simulate " + strings.Join(args, " ") + "\n" + errs + out + "\n")
	}
	file := filepath.Join("testdata", "simulate.txt")
	if *update {
		write(t, file, b.String())
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("%s; run with -update (-want +got):\n%s", file, d)
	}
	for _, c := range []struct{ args, want string }{
		{"", "run shop-3-c has not ended"},
		{"--last 1", "no run that has ended"},
		{"shop-9", "no such run"},
		{"--slots 0", "--slots takes numbers from 1 to 1000000, and got 0"},
		{"--keep build=0", "got build=0"},
		{"shop-1-a --last 2", "no RUN beside it"},
	} {
		if code, out, errs := ask(slices.Collect(strings.FieldsSeq(c.args))...); code == 0 || !strings.Contains(errs, c.want) {
			t.Errorf("simulate %s: code %d: %s%s; want %q", c.args, code, out, errs, c.want)
		}
	}
}
