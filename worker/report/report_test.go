package report_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/worker/report"
	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/testreport"
)

func TestTask(t *testing.T) {
	build := &pb.BuildWork{
		Paths: []string{"a"}, Dockerfile: "a/Dockerfile", Target: "t", Args: map[string]string{"A": "1"}, Contexts: map[string]string{"base": "x@sha256:1"},
		Platform: "linux/amd64", Push: "r/api", Provenance: true, Cacheable: true, Untrusted: true,
	}
	want := runner.Build{
		Paths: []string{"a"}, Dockerfile: "a/Dockerfile", Target: "t", Args: map[string]string{"A": "1"}, Contexts: map[string]string{"base": "x@sha256:1"},
		Platform: "linux/amd64", Push: "r/api", Provenance: true, Cacheable: true, Untrusted: true,
	}
	for name, c := range map[string]struct {
		grant *pb.Grant
		want  runner.Work
	}{
		"build": {&pb.Grant{Work: &pb.Grant_Build{Build: build}}, want},
		"test": {&pb.Grant{Work: &pb.Grant_Test{Test: &pb.TestWork{Name: "unit", Build: build, Run: "go test", Env: map[string]string{"B": "2"}, Report: "*.xml"}}},
			runner.Test{Name: "unit", Build: want, Run: "go test", Env: map[string]string{"B": "2"}, Report: "*.xml"}},
		"render": {&pb.Grant{Work: &pb.Grant_Render{Render: &pb.RenderWork{
			Path: "d", Paths: []string{"d", "e"}, Using: "kustomize", Images: map[string]string{"api": "x"},
			Target: &pb.DeployTarget{Environment: "prod", Cluster: "eu", Namespace: "shop"},
			Policies: []*pb.RenderPolicy{{Name: "p", Kinds: []string{"Deployment"}, Cel: "true", Message: "m", Warn: true, At: "targets.yaml:1:2"}, {
				Name: "q", Require: []string{"sbom"}, Images: []string{"docker.io"}, Keys: []*pb.PublicKey{{Name: "k", Pem: "pem", Farm: true}},
			}},
		}}}, runner.Render{
			Path: "d", Paths: []string{"d", "e"}, Using: "kustomize", Images: map[string]string{"api": "x"}, Environment: "prod", Cluster: "eu", Namespace: "shop",
			Policies: []runner.Policy{{Name: "p", Kinds: []string{"Deployment"}, CEL: "true", Message: "m", Warn: true, At: "targets.yaml:1:2"}, {
				Name: "q", Require: []string{"sbom"}, Images: []string{"docker.io"}, Keys: []runner.PublicKey{{Name: "k", PEM: "pem", Farm: true}},
			}},
		}},
		"of a deployer": {&pb.Grant{Work: &pb.Grant_Apply{Apply: &pb.ApplyWork{}}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c.grant.Lease = &pb.LeaseRef{Token: "k", Attempt: 2}
			c.grant.Run, c.grant.TaskId, c.grant.Project, c.grant.Commit, c.grant.Service = "shop-1", "build/api", "shop", "c", "api"
			c.grant.Timeout, c.grant.Traceparent = durationpb.New(time.Minute), "00-1"
			all := runner.Task{
				Token: "k", Attempt: 2, Run: "shop-1", ID: "build/api", Project: "shop", Commit: "c", Service: "api", Timeout: time.Minute,
				Traceparent: "00-1", Work: c.want,
			}
			if d := cmp.Diff(all, report.Task(c.grant)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestCompletionCanAlwaysBeSent(t *testing.T) {
	bad := strings.Repeat("output \xff\xfe", 10_000)
	steps := make([]runner.Step, 800)
	for i := range steps {
		steps[i] = runner.Step{Name: bad, Kind: "vertex", Error: bad, Attributes: map[string]string{"a": bad}}
	}
	c := report.Completion(runner.Outcome{
		Kind: runner.Failed, Class: runner.ClassOOM, Message: bad, Steps: steps,
		Result: runner.Result{Tests: &testreport.Summary{Total: 1, Failed: 1, Failures: []testreport.Case{{Name: bad, Suite: bad, Output: bad}}}},
	}, time.Unix(1, 0), time.Unix(2, 0))
	data, err := proto.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.GetMessage()) > 16<<10 || len(c.GetSteps()) != 500 || len(data) > 2<<20 {
		t.Errorf("message of %d bytes, %d steps, %d bytes in all", len(c.GetMessage()), len(c.GetSteps()), len(data))
	}
	if c.GetOutcome() != pb.Outcome_OUTCOME_FAILED || c.GetFailureClass() != pb.FailureClass_FAILURE_CLASS_OOM {
		t.Errorf("outcome %s, class %s", c.GetOutcome(), c.GetFailureClass())
	}
}

type lease struct {
	frames [][]string
	starts int
}

func (l *lease) Write(p []byte) (int, error) { return len(p), nil }

func (l *lease) Progress(_ bool, steps ...*pb.ProgressStep) {
	if len(steps) == 0 {
		l.starts++
		return
	}
	var ids []string
	for _, s := range steps {
		ids = append(ids, s.GetId()+"="+s.GetDetail())
	}
	l.frames = append(l.frames, ids)
}

func TestSinkGathersWhatGoesOn(t *testing.T) {
	now := time.Unix(100, 0)
	l := &lease{}
	s := report.NewSink(l, func() time.Time { return now })
	s.Started()
	s.Started()
	s.Progress(runner.Progress{ID: "1", Detail: "a"}) // the first is due
	s.Progress(runner.Progress{ID: "1", Detail: "b"})
	s.Progress(runner.Progress{ID: "2", Detail: "c"})
	s.Progress(runner.Progress{ID: "1", Detail: "d"})
	now = now.Add(time.Second)
	s.Progress(runner.Progress{ID: "3", Detail: "e"})
	s.Progress(runner.Progress{ID: "3", Detail: "f"})
	s.Progress(runner.Progress{ID: "3", Detail: "g", Finished: now})
	s.Progress(runner.Progress{ID: "4", Detail: "h"})
	s.Flush()
	s.Flush()
	if d := cmp.Diff([][]string{{"1=a"}, {"1=d", "2=c", "3=e"}, {"3=g"}, {"4=h"}}, l.frames); d != "" {
		t.Error(d)
	}
	if l.starts != 1 {
		t.Errorf("said %d times that it started", l.starts)
	}
}
