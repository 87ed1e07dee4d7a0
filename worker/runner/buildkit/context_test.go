package buildkit_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
	"github.com/slipway-build/slipway/worker/runner/buildkit/buildkittest"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
)

// TestContext: a Dockerfile that is written from its own folder.
func TestContext(t *testing.T) {
	f := buildkittest.Start(t)
	builder := buildkit.NewBuilder(f.Client)
	in := func(dir, content string) runner.Outcome {
		work := task(t, content, func(b *runner.Build) { b.Context = dir })
		if err := os.Symlink("/etc", filepath.Join(work.Workspace, "out")); err != nil {
			t.Fatal(err)
		}
		return builder.Run(t.Context(), work, &runnertest.Recorder{})
	}
	runnertest.Want(t, in("services/api", "FROM scratch\nCOPY main.txt /\n"), runner.Succeeded, runner.ClassNone)
	for dir, want := range map[string]string{
		".":            "name that with `build.context`",
		"services/web": "build context services/web",
		"out":          "build context out",
		"../..":        "build context ../..",
		"busybox":      "it is no folder",
	} {
		if o := in(dir, "FROM scratch\nCOPY main.txt /\n"); o.Kind == runner.Succeeded || !strings.Contains(o.Message, want) {
			t.Errorf("context %s: %s: %s", dir, o.Kind, o.Message)
		}
	}
}

// TestEditOfEqualSize: files of all workspaces have the same time, and BuildKit tells
// a changed file by time and size when it has the last context still.
func TestEditOfEqualSize(t *testing.T) {
	f := buildkittest.Start(t)
	images := map[string]bool{}
	for _, content := range []string{"one", "two"} {
		work := task(t, "", func(b *runner.Build) { b.Push = f.Registry + "/shop/api" })
		work.Commit = strings.Repeat(content[:1], 40)
		work.Workspace = buildkittest.Workspace(t, map[string]string{dockerfile: "FROM scratch\nCOPY services/api/x /\n", "services/api/x": content})
		o := buildkit.NewBuilder(f.Client).Run(t.Context(), work, &runnertest.Recorder{})
		runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
		images[o.Result.Image] = true
	}
	if len(images) != 2 {
		t.Errorf("an edit that keeps the size gave the same image: %v", images)
	}
}

// TestAsCommitted: how a worker keeps sources is in no image: read-only, and files with equal
// content as one file with several names.
func TestAsCommitted(t *testing.T) {
	f := buildkittest.Start(t)
	build := func(edit func(dir string)) string {
		work := task(t, "", func(b *runner.Build) { b.Push, b.Fresh = f.Registry+"/shop/api", true })
		work.Workspace = buildkittest.Workspace(t, map[string]string{dockerfile: "FROM scratch\nCOPY services/api/ /\n", "services/api/x": "same", "services/api/y": "same"})
		edit(filepath.Join(work.Workspace, "services", "api"))
		o := buildkit.NewBuilder(f.Client).Run(t.Context(), work, &runnertest.Recorder{})
		runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
		return o.Result.Image
	}
	want := build(func(string) {})
	got := build(func(dir string) {
		x, y := filepath.Join(dir, "x"), filepath.Join(dir, "y")
		at := time.Unix(buildkit.Epoch, 0)
		if err := errors.Join(os.Chmod(x, 0o444), os.Remove(y), os.Link(x, y), os.Chtimes(dir, at, at)); err != nil {
			t.Fatal(err)
		}
	})
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
