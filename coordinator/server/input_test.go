package server_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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
	planned("slipway.yaml:4:3: submodules are fetched where they are named, and the image of service api would have an empty folder in place of services/api/vendor/zlib; ",
		"slipway.yaml:7:3: files in Git LFS are not fetched, and the image of service web would have a pointer in place of services/web/assets/model ü.bin; ")

	write(t, f.repo, "slipway.yaml", "source: { lfs: true }\n"+pipelineFile)
	commitAll(t, f.repo)
	planned("slipway.yaml:5:3: submodules are fetched where they are named, and the image of service api would have an empty folder in place of services/api/vendor/zlib; ")

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

// TestLFS: a task gets the content of a file in Git LFS, from where git-lfs keeps it.
func TestLFS(t *testing.T) {
	f := start(t)
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte("model")))
	write(t, f.repo, ".gitattributes", "*.bin filter=lfs\n")
	write(t, f.repo, "services/api/model.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:"+sum+"\nsize 5\n")
	write(t, f.repo, filepath.Join(".git/lfs/objects", sum[:2], sum[2:4], sum), "model")
	write(t, f.repo, "slipway.yaml", "source: { lfs: true }\n"+pipelineFile)
	commitAll(t, f.repo)
	type answer struct {
		content string
		old     error
	}
	got := make(chan answer, 10)
	stop := f.work(t, func(ctx context.Context, l *session.Lease) *pb.Completion {
		if b := l.Grant.GetBuild(); b != nil && l.Grant.GetService() == "api" {
			content, err := f.content(ctx, l.Grant, "services/api/model.bin")
			if err != nil {
				t.Error(err)
			}
			in, err := f.workers.FetchSource(ctx, &pb.FetchSourceRequest{Lease: l.Grant.GetLease(), Commit: l.Grant.GetCommit(), Paths: b.GetPaths()})
			if err == nil {
				_, err = in.Recv()
			}
			got <- answer{content, err}
		}
		return good(ctx, l)
	})
	defer stop()
	if r := f.end(t, f.submit(t, "a").GetId()); r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		t.Fatalf("%s\n%s", r.GetState(), states(r))
	}
	a := <-got
	if a.content != "model" {
		t.Errorf("content %q", a.content)
	}
	if status.Code(a.old) != codes.FailedPrecondition || !strings.Contains(a.old.Error(), "update the worker") {
		t.Errorf("a worker that knows no LFS: %v", a.old)
	}
}

// content reads one file as a worker does.
func (f *farm) content(ctx context.Context, g *pb.Grant, name string) (string, error) {
	listing, err := f.workers.ListSource(ctx, &pb.ListSourceRequest{Lease: g.GetLease(), Commit: g.GetCommit(), Paths: []string{name}})
	if err != nil {
		return "", err
	}
	frames, err := received(listing)
	if err != nil {
		return "", err
	}
	req := &pb.ReadSourceRequest{Lease: g.GetLease(), Commit: g.GetCommit(), Paths: []string{name}, Identity: frames[0].GetIdentity(), Wanted: []byte{1}}
	reading, err := f.workers.ReadSource(ctx, req)
	if err != nil {
		return "", err
	}
	contents, err := received(reading)
	if err != nil || len(contents) != 1 || len(frames[1].GetEntries()[0].GetSha256()) != 32 {
		return "", fmt.Errorf("%d frames for %s: %w", len(contents), frames[1], err)
	}
	return string(contents[0].GetParts()[0].GetData()), nil
}

// source reads what a task needs, as a worker does, and answers the names. What a worker of
// an older version gets has the same.
func (f *farm) source(ctx context.Context, g *pb.Grant) (string, error) {
	commit, paths := g.GetCommit(), g.GetBuild().GetPaths()
	listing, err := f.workers.ListSource(ctx, &pb.ListSourceRequest{Lease: g.GetLease(), Commit: commit, Paths: paths})
	if err != nil {
		return "", err
	}
	frames, err := received(listing)
	if err != nil {
		return "", err
	}
	identity, want := frames[0].GetIdentity(), map[string]string{}
	var names []string
	for _, m := range frames[1:] {
		for _, e := range m.GetEntries() {
			names = append(names, string(e.GetPath()))
		}
	}
	req := &pb.ReadSourceRequest{Lease: g.GetLease(), Commit: commit, Paths: paths, Identity: identity, Wanted: bytes.Repeat([]byte{0xff}, len(names)/8+1)}
	reading, err := f.workers.ReadSource(ctx, req)
	if err != nil {
		return "", err
	}
	contents, err := received(reading)
	if err != nil {
		return "", err
	}
	for _, m := range contents {
		for _, part := range m.GetParts() {
			want[names[part.GetEntry()]] += string(part.GetData())
		}
	}
	fetching, err := f.workers.FetchSource(ctx, &pb.FetchSourceRequest{Lease: g.GetLease(), Commit: commit, Paths: paths})
	if err != nil {
		return "", err
	}
	got, err := untar(fetching)
	if diff := cmp.Diff(want, got); err != nil || diff != "" || len(got) != len(names) {
		return "", fmt.Errorf("tar: %w; -list +tar:\n%s", err, diff)
	}
	for _, held := range []string{identity, "another"} {
		listing, err := f.workers.ListSource(ctx, &pb.ListSourceRequest{Lease: g.GetLease(), Commit: commit, Paths: paths, Held: []string{held}})
		if err != nil {
			return "", err
		}
		if frames, err := received(listing); err != nil || (len(frames) == 1) != (held == identity) {
			return "", fmt.Errorf("%d frames for who has %s: %w", len(frames), held, err)
		}
	}
	req.Identity = "another"
	if reading, err = f.workers.ReadSource(ctx, req); err != nil {
		return "", err
	}
	if _, err := received(reading); status.Code(err) != codes.Aborted {
		return "", fmt.Errorf("content of another list: %w", err)
	}
	return strings.Join(names, " "), nil
}

func received[M any](in grpc.ServerStreamingClient[M]) (out []*M, err error) {
	for {
		m, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
}

func untar(in grpc.ServerStreamingClient[pb.FetchSourceResponse]) (map[string]string, error) {
	frames, err := received(in)
	var data bytes.Buffer
	for _, m := range frames {
		data.Write(m.GetData())
	}
	out := map[string]string{}
	for r := tar.NewReader(&data); err == nil; {
		var h *tar.Header
		if h, err = r.Next(); err != nil {
			break
		}
		if h.Typeflag == tar.TypeReg {
			var content []byte
			content, err = io.ReadAll(r)
			out[h.Name] = string(content)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return out, err
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
