package command_test

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// laboratory knows two tests of the newest run's project.
type laboratory struct {
	pb.UnimplementedTestServiceServer
	pb.UnimplementedRunServiceServer

	mu    sync.Mutex
	gone  *pb.ForgetRequest
	held  *pb.QuarantineRequest
	freed *pb.ReleaseRequest
}

func (l *laboratory) List(context.Context, *pb.ListRequest) (*pb.ListResponse, error) {
	return &pb.ListResponse{Runs: []*pb.Run{{Id: "shop-7-x", Project: "shop"}}}, nil
}

func (l *laboratory) ListTests(_ context.Context, r *pb.ListTestsRequest) (*pb.ListTestsResponse, error) {
	if r.GetProject() != "shop" {
		return nil, status.Errorf(codes.NotFound, "project %q: not found: it has no runs", r.GetProject())
	}
	ago := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(time.Now().Add(-d)) }
	one := func(suite, name string) *pb.KnownCase {
		return &pb.KnownCase{Case: &pb.TestName{Suite: suite, Name: name}, Failures: 1, Run: "shop-6-x", FailedAt: ago(3 * time.Hour), Flakes: 2, Passes: 4}
	}
	moody := one("cart", "TestMoody")
	moody.Quarantine = &pb.Quarantine{Since: ago(time.Hour), Until: ago(-13 * 24 * time.Hour), Release: 20, Reason: "it failed twice"}
	out := &pb.ListTestsResponse{Tests: []*pb.Test{{
		Id: "test/api/unit", Cases: []*pb.KnownCase{one("a", "TestTwin"), one("b", "TestTwin"), moody},
		Recent: []*pb.TestExecution{{Passed: true}, {}, {Passed: true, Flaky: true}, {Passed: true}},
	}}}
	if !r.GetFlaky() {
		out.Tests = append(out.Tests, &pb.Test{Id: "test/web/unit", Recent: []*pb.TestExecution{{Passed: true}}})
	}
	return out, nil
}

func (l *laboratory) Quarantine(_ context.Context, r *pb.QuarantineRequest) (*pb.QuarantineResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = r
	return &pb.QuarantineResponse{}, nil
}

func (l *laboratory) Release(_ context.Context, r *pb.ReleaseRequest) (*pb.ReleaseResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.freed = r
	return &pb.ReleaseResponse{}, nil
}

func (l *laboratory) Forget(_ context.Context, r *pb.ForgetRequest) (*pb.ForgetResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.GetTask() == "checkout" {
		return nil, status.Error(codes.FailedPrecondition, "task checkout of run shop-7: it is always carried out")
	}
	l.gone = r
	return &pb.ForgetResponse{Tasks: []string{r.GetTask(), "test/api/unit"}}, nil
}

func TestForget(t *testing.T) {
	l := &laboratory{}
	do := serve(t, func(srv *grpc.Server) { pb.RegisterRunServiceServer(srv, l) })
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"forget", "shop-7"}, 2, "slipway forget takes RUN TASK"},
		{[]string{"forget", "shop-7", "checkout"}, 5, "it is always carried out"},
		{[]string{"forget", "shop-7", "build/api", "--reason", "the mirror lied"}, 0, "forgotten is what 2 tasks made: build/api, test/api/unit\n"},
	} {
		code, out, errs := do(t.Context(), c.args...)
		if code != c.code || !strings.Contains(out.String()+errs.String(), c.want) {
			t.Errorf("%q: code %d, want %d; %s%s; want %q", c.args, code, c.code, out, errs, c.want)
		}
	}
	if l.gone.GetRun() != "shop-7" || l.gone.GetReason() != "the mirror lied" {
		t.Errorf("asked for %v", l.gone)
	}
}

func TestTestsAreShownAndQuarantined(t *testing.T) {
	l := &laboratory{}
	do := serve(t, func(srv *grpc.Server) {
		pb.RegisterTestServiceServer(srv, l)
		pb.RegisterRunServiceServer(srv, l)
	})
	for _, c := range []struct {
		args        []string
		code        int
		want        []string
		held, freed string
	}{
		{args: []string{"tests"}, want: []string{"api/unit", "✓✗~✓", "cart TestMoody", "3h", "4 passed since", "or 20 passes in a row; it failed twice", "web/unit"}},
		{args: []string{"tests", "--flaky", "-o", "json"}, want: []string{`"suite": "cart"`}},
		{args: []string{"tests", "--project", "bank"}, code: 5, want: []string{"it has no runs"}},
		{args: []string{"tests", "quarantine", "api/unit"}, code: 2, want: []string{"slipway tests quarantine takes TEST CASE"}},
		{args: []string{"tests", "quarantine", "api/unit", "TestMoody", "--days", "0"}, code: 2, want: []string{"want at least 1"}},
		{args: []string{"tests", "quarantine", "api/unit", "TestTwin"}, code: 2, want: []string{`2 cases of test/api/unit are called "TestTwin"; say which with --suite: a, b`}},
		{args: []string{"tests", "quarantine", "api/unit", "b TestTwin", "--reason", "slow"}, want: []string{"b TestTwin of test/api/unit is in quarantine for 14 days"}, held: "test/api/unit b TestTwin 14 slow"},
		{args: []string{"tests", "quarantine", "test/api/unit", "TestTwin", "--suite", "a", "--days", "1"}, want: []string{"for 1 day\n"}, held: "test/api/unit a TestTwin 1 "},
		{args: []string{"tests", "quarantine", "api/unit", "TestNew"}, held: "test/api/unit  TestNew 14 "},
		{args: []string{"tests", "release", "api/unit", "TestMoody"}, want: []string{"cart TestMoody of test/api/unit is in no quarantine"}, freed: "test/api/unit cart TestMoody"},
	} {
		l.held, l.freed = nil, nil
		code, out, errs := do(t.Context(), c.args...)
		all := out.String() + errs.String()
		if code != c.code {
			t.Errorf("%q: code %d, want %d; %s", c.args, code, c.code, all)
		}
		for _, want := range c.want {
			if !strings.Contains(all, want) {
				t.Errorf("%q: no %q in\n%s", c.args, want, all)
			}
		}
		if got := l.held; c.held != "" && (got == nil || c.held != strings.Join([]string{got.GetTest(), got.GetCase().GetSuite(), got.GetCase().GetName(), strconv.Itoa(int(got.GetDays())), got.GetReason()}, " ")) {
			t.Errorf("%q: asked for %v", c.args, got)
		}
		if got := l.freed; c.freed != "" && (got == nil || c.freed != got.GetTest()+" "+got.GetCase().GetSuite()+" "+got.GetCase().GetName()) {
			t.Errorf("%q: asked for %v", c.args, got)
		}
	}
}
