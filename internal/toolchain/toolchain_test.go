package toolchain_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/internal/toolchain"
)

// repository is a root with one small module, tools/hello.
func repository(t *testing.T) (root string, step toolchain.Step) {
	t.Helper()
	root = t.TempDir()
	write(t, root, "tools/hello/go.mod", "module hello.example\n\ngo 1.24\n")
	write(t, root, "tools/hello/main.go", "package main\n\nvar version string\n\nfunc main() { println(\"hello\", version) }\n")
	return root, toolchain.Step{
		Name: "hello", Why: "saying hello", Lane: "hello", Dir: "tools/hello", Package: ".",
		Flags: []string{"-ldflags", "-X main.version=1"}, Env: []string{"CGO_ENABLED=0"},
	}
}

func write(t *testing.T, root, name, text string) {
	t.Helper()
	file := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func says(t *testing.T, program string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	return strings.TrimSpace(string(out))
}

func TestBuildOnceForTheSameInputs(t *testing.T) {
	root, step := repository(t)
	cfg := toolchain.Config{Root: root, Cache: t.TempDir()}
	program := filepath.Join(cfg.Bin(), "hello")
	build := func(step toolchain.Step) bool {
		t.Helper()
		results, err := toolchain.Build(t.Context(), cfg, []toolchain.Step{step})
		if err != nil {
			t.Fatal(err)
		}
		return !results[0].Skipped
	}
	if !build(step) || says(t, program) != "hello 1" {
		t.Fatalf("the first build did not make the program: %s", says(t, program))
	}
	if build(step) {
		t.Error("built again although nothing changed")
	}
	write(t, root, "tools/hello/main_test.go", "package main\n")
	if build(step) {
		t.Error("built again because of a test file")
	}
	step.Flags = []string{"-ldflags", "-X main.version=2"}
	if !build(step) || says(t, program) != "hello 2" {
		t.Errorf("other flags: %s", says(t, program))
	}
	write(t, root, "tools/hello/main.go", "package main\n\nvar version string\n\nfunc main() { println(\"bye\", version) }\n")
	if !build(step) || says(t, program) != "bye 2" {
		t.Errorf("other source: %s", says(t, program))
	}
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	if !build(step) {
		t.Error("not built again after the program was removed")
	}
	left, err := filepath.Glob(filepath.Join(cfg.Cache, "build-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestAFailureKeepsTheOldProgramAndShowsWhy(t *testing.T) {
	root, step := repository(t)
	cfg := toolchain.Config{Root: root, Cache: t.TempDir()}
	if _, err := toolchain.Build(t.Context(), cfg, []toolchain.Step{step}); err != nil {
		t.Fatal(err)
	}
	write(t, root, "tools/hello/main.go", "package main\n\nfunc main() { oops() }\n")
	_, err := toolchain.Build(t.Context(), cfg, []toolchain.Step{step})
	if err == nil || !strings.Contains(err.Error(), "undefined: oops") || !strings.Contains(err.Error(), "hello.log") {
		t.Errorf("got %v, want what the compiler said and where the log is", err)
	}
	if got := says(t, filepath.Join(cfg.Bin(), "hello")); got != "hello 1" {
		t.Errorf("the program that was there now says %q", got)
	}
}

func TestTwoProcessesBuildOnce(t *testing.T) {
	root, step := repository(t)
	cfg := toolchain.Config{Root: root, Cache: t.TempDir()}
	var mu sync.Mutex
	built := 0
	var group errgroup.Group
	for range 4 {
		group.Go(func() error {
			results, err := toolchain.Build(t.Context(), cfg, []toolchain.Step{step})
			mu.Lock()
			defer mu.Unlock()
			if err == nil && !results[0].Skipped {
				built++
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if built != 1 {
		t.Errorf("built %d times, want once", built)
	}
}

func TestInterrupted(t *testing.T) {
	root, step := repository(t)
	cfg := toolchain.Config{Root: root, Cache: t.TempDir()}
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cfg.Progress = func(e toolchain.Event) {
		if e.State == toolchain.Started {
			cancel(cause)
		}
	}
	if _, err := toolchain.Build(ctx, cfg, []toolchain.Step{step}); !errors.Is(err, context.Canceled) && !errors.Is(err, cause) {
		t.Errorf("got %v, want that it was interrupted", err)
	}
	if _, err := os.Stat(filepath.Join(cfg.Bin(), "hello")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("half a program is there: %v", err)
	}
	cfg.Progress = nil
	if _, err := toolchain.Build(t.Context(), cfg, []toolchain.Step{step}); err != nil {
		t.Errorf("the next time: %v", err)
	}
}

func TestSteps(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere there is no real node to build for")
	}
	root := t.TempDir()
	write(t, root, "scripts/devcluster/build.json", `{
	  "env": {"CGO_ENABLED": "0"}, "goflags": ["-trimpath"], "ldflags": {"plain": "-s -w"},
	  "programs": [{"name": "coredns", "module": "tools", "package": "./coredns", "ldflags": "plain", "kinds": ["node", "kwok"], "why": "names"},
	    {"name": "kubelet", "module": ".", "package": "k8s.io/kubernetes/cmd/kubelet", "ldflags": "plain", "kinds": ["node"], "why": "pods"}]}`)
	for set, want := range map[toolchain.Set]string{
		toolchain.Demo: "buildkitd buildctl coredns kubelet",
		toolchain.Test: "buildkitd buildctl coredns",
		toolchain.E2E:  "buildkitd buildctl coredns kubelet jaeger helm kustomize",
		toolchain.Lint: "golangci-lint buf",
	} {
		steps, err := toolchain.Steps(root, set)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range steps {
			names = append(names, s.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %s, want %s", set, got, want)
		}
	}
	steps, err := toolchain.Steps(root, toolchain.Test)
	if err != nil {
		t.Fatal(err)
	}
	want := toolchain.Step{
		Name: "coredns", Why: "development clusters: names", Lane: "scripts/devcluster/tools", Dir: "scripts/devcluster/tools",
		Package: "./coredns", Flags: []string{"-trimpath", "-ldflags", "-s -w"}, Env: []string{"CGO_ENABLED=0"},
	}
	if diff := cmp.Diff(want, steps[len(steps)-1]); diff != "" {
		t.Error(diff)
	}
	if _, err := toolchain.Steps(root, "party"); err == nil || !strings.Contains(err.Error(), "demo, test, e2e or lint") {
		t.Errorf("an unknown set: %v", err)
	}
}

func TestSystemPackagesNeedConsent(t *testing.T) {
	absent := toolchain.SystemPackage{Name: "slipway-no-such-package", Program: "slipway-no-such-program", Why: "this test"}
	present := toolchain.SystemPackage{Name: "golang", Program: "go"}
	missing := toolchain.Missing([]toolchain.SystemPackage{present, absent})
	if diff := cmp.Diff([]toolchain.SystemPackage{absent}, missing); diff != "" {
		t.Fatal(diff)
	}
	for name, consent := range map[string]toolchain.Consent{
		"nobody to ask": {},
		"no":            {Ask: strings.NewReader("no\n")},
		"end of input":  {Ask: strings.NewReader("")},
	} {
		var out strings.Builder
		err := toolchain.Install(t.Context(), missing, consent, &out)
		if !errors.Is(err, toolchain.ErrNotAllowed) || !strings.Contains(err.Error(), absent.Name) {
			t.Errorf("%s: %v", name, err)
		}
		if !strings.Contains(out.String(), "for this test") {
			t.Errorf("%s: %q does not say what the package is for", name, out.String())
		}
	}
}

func TestReporter(t *testing.T) {
	var out strings.Builder
	report := toolchain.Reporter(&out, 2)
	step := toolchain.Step{Name: "hello", Why: "saying hello"}
	report(toolchain.Event{Step: step, State: toolchain.Started})
	report(toolchain.Event{Step: step, State: toolchain.Working, Took: 75 * time.Second, Compiled: 12})
	report(toolchain.Event{Step: step, State: toolchain.Done, Took: 2 * time.Minute})
	for _, want := range []string{"[1/2] begins, for saying hello", "1m15s, 12 packages compiled", "done in 2m0s"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}
