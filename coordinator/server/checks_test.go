package server_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-build/slipway/coordinator/githost/githosttest"
	"github.com/slipway-build/slipway/coordinator/webhook"
	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const dashboard = "https://slipway.example.com/farm"

// startChecked is startHooked with hosts that are told.
func startChecked(t *testing.T) *farm {
	t.Helper()
	f := startHooked(t)
	f.stop()
	f.hosts = map[webhook.Kind]*githosttest.Host{}
	for _, kind := range webhook.Kinds() {
		f.hosts[kind] = githosttest.Start(t, kind)
	}
	f.serve(t)
	return f
}

// shows waits until a host shows a state of a run, and answers everything it showed.
func (f *farm) shows(t *testing.T, kind webhook.Kind, run, state string) (all []githosttest.Status, last githosttest.Status) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		all, more := f.hosts[kind].Shown()
		if n := len(all); n > 0 && all[n-1].State == state && all[n-1].URL == dashboard+"/runs/"+run {
			return all, all[n-1]
		}
		select {
		case <-more:
		case <-deadline:
			t.Fatalf("%s shows %+v, want %s of run %s", kind, all, state, run)
		}
	}
}

// words are each host's for accepted, good and bad.
func words(kind webhook.Kind) [3]string {
	return map[webhook.Kind][3]string{
		webhook.GitHub: {"pending", "success", "failure"}, webhook.Gitea: {"pending", "success", "failure"},
		webhook.GitLab: {"pending", "success", "failed"}, webhook.Bitbucket: {"INPROGRESS", "SUCCESSFUL", "FAILED"},
	}[kind]
}

// failing carries out everything, but for the tests of api when it says so.
func failing(fails func() bool) session.Handler {
	return func(ctx context.Context, l *session.Lease) *pb.Completion {
		c := good(ctx, l)
		if l.Grant.GetTaskId() == "test/api/unit" && fails() {
			c.Outcome, c.FailureClass, c.Message = pb.Outcome_OUTCOME_FAILED, pb.FailureClass_FAILURE_CLASS_USER, "exit code 1"
			c.Result.Tests = &pb.TestSummary{Total: 14, Passed: 12, Failed: 2}
		}
		return c
	}
}

func TestAPushIsToldToItsHost(t *testing.T) {
	f := startChecked(t)
	for _, kind := range webhook.Kinds() {
		h, w := f.hosts[kind], words(kind)
		h.Fail(githosttest.Answer(500), githosttest.Answer(429, "Retry-After", "1"))
		run := f.deliver(t, f.genuine(t, kind, "push")).Run
		_, last := f.shows(t, kind, run, w[0])
		want := githosttest.Status{
			Repository: f.name(), Commit: git(t, f.repo, "rev-parse", "main"), Name: "slipway", State: w[0], Text: last.Text, URL: dashboard + "/runs/" + run,
		}
		if kind == webhook.GitLab {
			want.Ref = "main"
		}
		if last != want {
			t.Errorf("%s shows %+v, want %+v", kind, last, want)
		}
		// One after the other: a run that a newer one has overtaken is not rolled out any more.
		stop := f.work(t, good)
		_, last = f.shows(t, kind, run, w[1])
		if !strings.Contains(last.Text, "rolled out to prod") || !strings.Contains(last.Text, "1 test") {
			t.Errorf("%s says %q", kind, last.Text)
		}
		stop()
	}
}

func TestAMistakeInThePipelineIsToldToItsHost(t *testing.T) {
	f := startChecked(t)
	write(t, f.repo, "slipway.yaml", pipelineFile+"\ntrigers: {}\nnonsense: 1\n")
	git(t, f.repo, "commit", "-q", "-a", "-m", "a mistake")
	for _, kind := range webhook.Kinds() {
		if a := f.deliver(t, f.genuine(t, kind, "push")); a.code != 422 {
			t.Fatalf("%s: %+v", kind, a)
		}
		all, more := f.hosts[kind].Shown()
		for len(all) == 0 {
			<-more
			all, more = f.hosts[kind].Shown()
		}
		s := all[0]
		if s.State != words(kind)[2] || !strings.HasPrefix(s.Text, "slipway.yaml:") || !strings.Contains(s.Text, "trigers") || !strings.HasSuffix(s.Text, "and 1 more") || s.URL != dashboard+"/" {
			t.Errorf("%s shows %+v", kind, s)
		}
	}
}

func TestAPullRequestThatFailsSaysWhy(t *testing.T) {
	f := startChecked(t)
	defer f.work(t, failing(func() bool { return true }))()
	for _, kind := range webhook.Kinds() {
		run := f.deliver(t, f.genuine(t, kind, "pull")).Run
		all, last := f.shows(t, kind, run, words(kind)[2])
		if !strings.HasSuffix(last.Text, "; api: 2 of 14 tests failed") {
			t.Errorf("%s says %q", kind, last.Text)
		}
		for i, s := range all[:len(all)-1] {
			if s.State == last.State || s.Name != "slipway" {
				t.Errorf("%s: status %d is %+v", kind, i, s)
			}
		}
	}
}

func TestACheckEndsThoughTheCoordinatorWasReplaced(t *testing.T) {
	for _, when := range []string{"before the run ended", "before the end was told"} {
		t.Run(strings.ReplaceAll(when, " ", "-"), func(t *testing.T) {
			f := startChecked(t)
			h := f.hosts[webhook.Gitea]
			begun, release := make(chan struct{}), make(chan struct{})
			var once sync.Once
			handler := func(ctx context.Context, l *session.Lease) *pb.Completion {
				if l.Grant.GetTaskId() == "build/api" {
					once.Do(func() { close(begun) })
					select {
					case <-release:
					case <-ctx.Done():
						return &pb.Completion{Outcome: pb.Outcome_OUTCOME_ERRORED, Message: context.Cause(ctx).Error()}
					}
				}
				return good(ctx, l)
			}
			run := f.deliver(t, f.genuine(t, webhook.Gitea, "pull")).Run
			f.shows(t, webhook.Gitea, run, "pending")
			stop := f.work(t, handler)
			<-begun
			if when == "before the end was told" {
				for range 100 {
					h.Fail(githosttest.Answer(502))
				}
				close(release)
				f.end(t, run)
			}
			f.stop()
			h.Heal()
			f.serve(t)
			stop2 := f.work(t, handler)
			if when == "before the run ended" {
				close(release)
			}
			f.shows(t, webhook.Gitea, run, "success")
			stop() // which waits for what is carried out
			stop2()
		})
	}
}
