package server_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const lfsPointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"

func commitAll(t *testing.T, dir string) string {
	t.Helper()
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "--allow-empty", "-m", "next")
	return git(t, dir, "rev-parse", "HEAD")
}

// TestFilesThatCannotBeUsed are named before anything is built, with the service that
// would lack them.
func TestFilesThatCannotBeUsed(t *testing.T) {
	f := start(t)
	planned := func(want ...string) {
		t.Helper()
		_, err := f.runs.Plan(t.Context(), &pb.PlanRequest{Repository: f.repo, Ref: "main"})
		if len(want) == 0 && err != nil {
			t.Errorf("got %v", err)
		}
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("got %v, want %q", err, w)
			}
		}
	}
	// What no service needs is nobody's concern.
	head := git(t, f.repo, "rev-parse", "HEAD")
	submodule := func(path string) {
		git(t, f.repo, "update-index", "--add", "--cacheinfo", "160000,"+head+","+path)
		if err := os.MkdirAll(filepath.Join(f.repo, path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	submodule("docs/theme")
	write(t, f.repo, ".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
	write(t, f.repo, "docs/picture.bin", lfsPointer)
	git(t, f.repo, "config", "filter.lfs.clean", "cat")
	commitAll(t, f.repo)
	planned()

	submodule("services/api/vendor/zlib")
	write(t, f.repo, "services/web/assets/model ü.bin", lfsPointer)
	commitAll(t, f.repo)
	planned("slipway.yaml:4:3: submodules are not supported yet, and the image of service api would have an empty folder in place of services/api/vendor/zlib; ",
		"slipway.yaml:7:3: files in Git LFS are not supported yet, and the image of service web would have a pointer in place of services/web/assets/model ü.bin; ")

	write(t, f.repo, "slipway.yaml", pipelineFile+"    build: { context: services/web }\n")
	write(t, f.repo, "services/web/.dockerignore", "# models are loaded later\nassets/*.bin\n")
	write(t, f.repo, "services/api/Dockerfile.dockerignore", "**/vendor\n")
	commitAll(t, f.repo)
	planned()

	for name, target := range map[string]string{"services/api/config": "/etc/api", "deploy/web/base": "../../../shared"} {
		if err := os.Symlink(target, filepath.Join(f.repo, name)); err != nil {
			t.Fatal(err)
		}
	}
	commitAll(t, f.repo)
	planned(`services/api/config, which the image of service api would have, is a symbolic link to "/etc/api", outside the repository`,
		`deploy/web/base, which the manifests of service web would have, is a symbolic link to "../../../shared"`)
}

// TestAForcePushDuringARun takes the commit from its branch, and nothing from the run.
func TestAForcePushDuringARun(t *testing.T) {
	f := start(t)
	gone := git(t, f.repo, "rev-parse", "HEAD")
	pushed := make(chan struct{})
	var once sync.Once
	begun := make(chan struct{})
	stop := f.work(t, func(ctx context.Context, l *session.Lease) *pb.Completion {
		once.Do(func() { close(begun) })
		select {
		case <-pushed:
		case <-ctx.Done():
			return nil
		}
		if l.Grant.GetBuild() != nil {
			if names, err := f.source(ctx, l.Grant); err != nil || !strings.Contains(names, "Dockerfile") {
				return &pb.Completion{Outcome: pb.Outcome_OUTCOME_ERRORED, Message: "source: " + names + " " + errorText(err)}
			}
		}
		return good(ctx, l)
	})
	defer stop()
	run := f.submit(t, "a").GetId()
	select {
	case <-begun:
	case <-t.Context().Done():
		t.Fatal("no task was begun")
	}
	git(t, f.repo, "checkout", "-q", "--orphan", "other")
	commitAll(t, f.repo)
	git(t, f.repo, "branch", "-M", "other", "main")
	git(t, f.repo, "reflog", "expire", "--expire=now", "--all")
	git(t, f.repo, "gc", "-q", "--prune=now")
	if p := f.plan(t); p.Commit == gone {
		t.Error("a plan after the push is at the commit before it")
	}
	close(pushed)
	if r := f.end(t, run); r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED || r.GetCommit() != gone {
		t.Errorf("%s at %s\n%s", r.GetState(), r.GetCommit(), states(r))
	}
	// The branch moved to a commit that does not descend from the last green one.
	next := f.end(t, f.submit(t, "b").GetId())
	if next.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		t.Errorf("the run after the push: %s\n%s", next.GetState(), states(next))
	}
}

// TestAnEmptyCommit is a run in which nothing is built.
func TestAnEmptyCommit(t *testing.T) {
	f := start(t)
	defer f.work(t, good)()
	first := f.end(t, f.submit(t, "a").GetId())
	if first.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		t.Fatalf("%s\n%s", first.GetState(), states(first))
	}
	c := commitAll(t, f.repo)
	p := f.plan(t)
	if p.Commit != c {
		t.Fatalf("the plan is at %s, want %s", p.Commit, c)
	}
	var affected []string
	for _, s := range p.Services {
		if s.Affected {
			affected = append(affected, s.Name+": "+s.Reason)
		}
	}
	if diff := cmp.Diff([]string(nil), affected); diff != "" {
		t.Errorf("affected (-want +got):\n%s", diff)
	}
	if r := f.end(t, f.submit(t, "b").GetId()); r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		t.Errorf("%s\n%s", r.GetState(), states(r))
	}
}

func (f *farm) plan(t *testing.T) plan.Plan {
	t.Helper()
	r, err := f.runs.Plan(t.Context(), &pb.PlanRequest{Repository: f.repo, Ref: "main"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Decode(r.GetPlanJson())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// source fetches what a task needs, as a worker does, and answers the names.
func (f *farm) source(ctx context.Context, g *pb.Grant) (string, error) {
	stream, err := f.workers.FetchSource(ctx, &pb.FetchSourceRequest{Lease: g.GetLease(), Commit: g.GetCommit(), Paths: g.GetBuild().GetPaths()})
	if err != nil {
		return "", err
	}
	var data bytes.Buffer
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
		data.Write(part.GetData())
	}
	var names []string
	for r := tar.NewReader(&data); ; {
		h, err := r.Next()
		if err != nil {
			return strings.Join(names, " "), nil //nolint:nilerr // the end
		}
		names = append(names, h.Name)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
