package server_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/coordinator/githost/githosttest"
	"github.com/slipway-build/slipway/coordinator/webhook"
	"github.com/slipway-build/slipway/internal/queue"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// commit makes one on main that changes a file of api.
func (f *farm) commit(t *testing.T, message string) (id string) {
	t.Helper()
	write(t, f.repo, "services/api/poll", message)
	git(t, f.repo, "add", "-A")
	git(t, f.repo, "commit", "-q", "-m", message)
	return git(t, f.repo, "rev-parse", "HEAD")
}

// shownFor waits until the host shows something of a commit.
func shownFor(t *testing.T, h *githosttest.Host, commit string) githosttest.Status {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		all, more := h.Shown()
		for _, s := range all {
			if s.Commit == commit {
				return s
			}
		}
		select {
		case <-more:
		case <-deadline:
			t.Fatalf("the host shows nothing of %s", commit)
		}
	}
}

func TestPushesOfAHostThatCannotCall(t *testing.T) {
	f := startHooked(t)
	f.stop()
	h := githosttest.Start(t, webhook.GitLab)
	f.hosts, f.silent, f.poll = map[webhook.Kind]*githosttest.Host{webhook.GitLab: h}, true, time.Second
	f.serve(t)
	if a := f.deliver(t, f.genuine(t, webhook.GitLab, "push")); a.code != 404 {
		t.Errorf("a delivery that nobody waits for: %+v", a)
	}
	f.looked(t, git(t, f.repo, "rev-parse", "main"))
	f.stop()
	missed := f.commit(t, "while nobody looked")
	f.serve(t)
	s := shownFor(t, h, missed)
	if s.Repository != f.name() || s.State != "pending" {
		t.Errorf("the host shows %+v", s)
	}
	git(t, f.repo, "commit", "-q", "--allow-empty", "-m", "nothing to see [skip ci]")
	git(t, f.repo, "branch", "-f", "later", "main")
	last := f.commit(t, "after it")
	shownFor(t, h, last)
	l, err := f.runs.List(t.Context(), &pb.ListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range l.GetRuns() {
		if c := r.GetCommit(); c != missed && c != last || r.GetRef() != "main" {
			t.Errorf("a run of %s %s", r.GetRef(), c)
		}
	}
	if n := len(l.GetRuns()); n != 2 {
		t.Errorf("%d runs", n)
	}
}

func TestAPushThatWasToldIsNotFoundOnceMore(t *testing.T) {
	f := startHooked(t)
	serve := func(poll time.Duration) {
		f.stop()
		f.hosts, f.silent, f.poll = nil, false, poll
		if poll > 0 {
			f.hosts, f.silent = map[webhook.Kind]*githosttest.Host{webhook.GitLab: githosttest.Start(t, webhook.GitLab)}, true
		}
		f.serve(t)
	}
	serve(time.Second)
	f.looked(t, git(t, f.repo, "rev-parse", "main"))
	serve(0)
	told := f.commit(t, "told")
	if a := f.deliver(t, f.genuine(t, webhook.GitHub, "push")); a.Run == "" {
		t.Fatalf("%+v", a)
	}
	serve(time.Second)
	f.looked(t, told)
	if n := f.count(t); n != 1 {
		t.Errorf("%d runs of one push", n)
	}
}

// looked waits until it is remembered that main is at a commit.
func (f *farm) looked(t *testing.T, commit string) {
	t.Helper()
	js, hangUp, err := queue.Connect(t.Context(), queue.Address{URL: f.nats.URL()}, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer hangUp()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if kv, err := js.KeyValue(t.Context(), "SLIPWAY_HEADS"); err == nil {
			if keys, err := kv.Keys(t.Context()); err == nil && len(keys) == 1 {
				if e, err := kv.Get(t.Context(), keys[0]); err == nil && strings.Contains(string(e.Value()), `"main":"`+commit+`"`) {
					return
				}
			}
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("nobody looks at the repository")
		}
	}
}
