package server_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-build/slipway/coordinator/webhook"
	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// fork makes a commit on top of main that no branch has, and the ref of a pull request for it.
func (f *farm) fork(t *testing.T, kind webhook.Kind, files ...string) (commit string) {
	t.Helper()
	git(t, f.repo, "checkout", "-q", "--detach", "main")
	for i := 0; i < len(files); i += 2 {
		write(t, f.repo, files[i], files[i+1])
	}
	git(t, f.repo, "add", "-A")
	git(t, f.repo, "commit", "-q", "-m", "a stranger's, for "+string(kind))
	commit = git(t, f.repo, "rev-parse", "HEAD")
	git(t, f.repo, "update-ref", kind.PullRef(7), commit)
	git(t, f.repo, "checkout", "-q", "main")
	return commit
}

// asks is the delivery of a fork's pull request for a commit.
func (f *farm) asks(t *testing.T, kind webhook.Kind, commit string) delivery {
	t.Helper()
	return f.genuine(t, kind, "pull", sampleHead, commit, `"source_project_id": 15`, `"source_project_id": 16`, `"repo": { "id"`, `"repo": null, "x": { "id"`)
}

func TestAForksCommitIsBuiltAndTestedAsAStrangers(t *testing.T) {
	f := startHooked(t)
	f.stop()
	f.forks = true
	f.serve(t)
	var mu sync.Mutex
	spaces := map[string]string{} // namespace of cache mounts, by run
	defer f.work(t, func(ctx context.Context, l *session.Lease) *pb.Completion {
		if b := l.Grant.GetBuild(); b != nil {
			mu.Lock()
			spaces[l.Grant.GetRun()] = b.GetArgs()["BUILDKIT_CACHE_MOUNT_NS"]
			mu.Unlock()
		}
		return good(ctx, l)
	})()
	trusted := f.deliver(t, f.genuine(t, webhook.GitHub, "pull")).Run
	f.end(t, trusted)
	for _, kind := range []webhook.Kind{webhook.GitHub, webhook.GitLab, webhook.Gitea} {
		commit := f.fork(t, kind, "services/api/stranger", string(kind))
		a := f.deliver(t, f.asks(t, kind, commit))
		if a.Run == "" {
			t.Fatalf("%s: %+v", kind, a)
		}
		f.end(t, a.Run)
		if got := f.tasksOf(t, a.Run, commit); !strings.Contains(got, "build/api") || !strings.Contains(got, "test/api") || strings.Contains(got, "apply/") {
			t.Errorf("%s: tasks %s", kind, got)
		}
		mu.Lock()
		if spaces[a.Run] != "untrusted" || spaces[trusted] != "" {
			t.Errorf("%s: namespaces of caches: %v", kind, spaces)
		}
		mu.Unlock()
		if again := f.deliver(t, f.asks(t, kind, commit)); again.Run != a.Run || !again.Replayed {
			t.Errorf("%s: delivered again: %+v", kind, again)
		}
	}
}

func TestAForkDecidesNothing(t *testing.T) {
	f := startHooked(t, "slipway.yaml", pipelineFile+"\ntriggers:\n  push: { branches: [main] }\n")
	f.stop()
	f.forks = true
	f.serve(t)
	commit := f.fork(t, webhook.GitHub, "slipway.yaml", pipelineFile+"\ntriggers:\n  pull_request: { run: [build, test] }\n")
	if a := f.deliver(t, f.asks(t, webhook.GitHub, commit)); a.code != 200 || !strings.Contains(a.Ignored, "do not have pull_request") {
		t.Errorf("triggers of a fork: %+v", a)
	}
	commit = f.fork(t, webhook.GitHub, "slipway.yaml", strings.Replace(pipelineFile, "project: ", "project: x", 1))
	if a := f.deliver(t, f.asks(t, webhook.GitHub, commit)); a.code != 422 || !strings.Contains(a.Error, "not for a commit of a fork") {
		t.Errorf("project of a fork: %+v", a)
	}
	if n := f.count(t); n != 0 {
		t.Errorf("%d runs were begun", n)
	}
}
