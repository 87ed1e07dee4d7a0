package buildkitd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/tonistiigi/fsutil"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/internal/buildkitd"
	"github.com/slipway-build/slipway/internal/enginetest"
)

const patience = 60 * time.Second

// start runs a daemon and returns it once it answers, with a function that stops it and waits.
func start(t *testing.T, cfg buildkitd.Config) (d *buildkitd.Daemon, stop func() error) {
	t.Helper()
	cfg.ToolDir = toolDir(t)
	d, err := buildkitd.New(cfg)
	if err != nil {
		enginetest.Missing(t, "cannot run BuildKit here: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	stop = func() error {
		cancel()
		err := <-done
		done <- nil
		return err
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	ready(t, d)
	return d, stop
}

func toolDir(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(cache, "slipway", "bin")
}

func ready(t *testing.T, d *buildkitd.Daemon) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := d.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}

// until polls a condition that nothing announces.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

// busybox is a state that holds the machine's static busybox, so that steps can run without a base image.
func busybox(t *testing.T) (llb.State, string) {
	t.Helper()
	content, err := os.ReadFile("/bin/busybox")
	if err != nil {
		enginetest.Missing(t, "needs the package busybox-static: %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "busybox"), content, 0o755); err != nil {
		t.Fatal(err)
	}
	return llb.Scratch().File(llb.Copy(llb.Local("busybox"), "busybox", "/bin/busybox", &llb.CopyInfo{CreateDestPath: true})), dir
}

func solve(t *testing.T, d *buildkitd.Daemon, script string) error {
	t.Helper()
	c, err := client.New(t.Context(), d.Address())
	if err != nil {
		return err
	}
	defer c.Close()
	base, dir := busybox(t)
	state := base.Run(llb.Args([]string{"/bin/busybox", "sh", "-c", script})).Root()
	def, err := state.Marshal(t.Context(), llb.LinuxAmd64)
	if err != nil {
		return err
	}
	files, err := fsutil.NewFS(dir)
	if err != nil {
		return err
	}
	_, err = c.Solve(t.Context(), def, client.SolveOpt{LocalMounts: map[string]fsutil.FS{"busybox": files}}, nil)
	return err
}

func mountsBelow(t *testing.T, root string) []string {
	t.Helper()
	content, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(content)) {
		if strings.Contains(line, root+"/") {
			found = append(found, line)
		}
	}
	return found
}

func TestBuildsAndStopsWithoutTraces(t *testing.T) {
	root := t.TempDir()
	d, stop := start(t, buildkitd.Config{Root: root, Parallelism: 2})
	if err := solve(t, d, "echo hello > /greeting && test -s /greeting"); err != nil {
		t.Fatal(err)
	}
	pid := d.PID()
	if err := stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("buildkitd %d after stop: %v, want no such process", pid, err)
	}
	if left := mountsBelow(t, root); len(left) > 0 {
		t.Errorf("still mounted after stop:\n%s", strings.Join(left, ""))
	}
}

func TestStartsAgainAfterKill(t *testing.T) {
	root := t.TempDir()
	d, _ := start(t, buildkitd.Config{Root: root})
	marker := fmt.Sprintf("900%d", os.Getpid()) // Tells this test's sleeping step from others in /proc.
	var build errgroup.Group
	build.Go(func() error { return solve(t, d, "/bin/busybox sleep "+marker) })
	until(t, "the build step to run", func() bool { return running(t, marker) })

	first := d.PID()
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := build.Wait(); err == nil {
		t.Error("the build went on although its daemon was killed")
	}
	until(t, "another daemon", func() bool { pid := d.PID(); return pid != 0 && pid != first })
	ready(t, d)
	if d.Starts() != 2 {
		t.Errorf("started %d times, want 2", d.Starts())
	}
	if running(t, marker) {
		t.Error("the killed daemon's build step still runs")
	}
	if err := solve(t, d, "true"); err != nil {
		t.Errorf("build after the restart: %v", err)
	}
}

// running tells whether a process has the word as its last argument.
func running(t *testing.T, word string) bool {
	t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range commands {
		// A process may end between the two calls.
		if line, err := os.ReadFile(path); err == nil && bytes.HasSuffix(line, []byte("\x00"+word+"\x00")) &&
			bytes.Contains(line, []byte("sleep")) {
			return true
		}
	}
	return false
}

func TestSaysWhyItCannotRun(t *testing.T) {
	_, err := buildkitd.New(buildkitd.Config{Root: t.TempDir(), Path: "/nowhere/buildkitd"})
	if err == nil || !strings.Contains(err.Error(), "/nowhere/buildkitd") {
		t.Errorf("a wrong path: %v", err)
	}
	_, err = buildkitd.New(buildkitd.Config{Root: filepath.Join(t.TempDir(), strings.Repeat("deep/", 30))})
	if err == nil || !strings.Contains(err.Error(), "choose a shorter state folder") {
		t.Errorf("a long socket path: %v", err)
	}
	if _, err := exec.LookPath("buildkitd"); err != nil {
		_, err = buildkitd.New(buildkitd.Config{Root: t.TempDir(), ToolDir: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), "make tools") {
			t.Errorf("no program: %v", err)
		}
	}
}

func TestReportsADaemonThatEndsAtOnce(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	fake := filepath.Join(t.TempDir(), "buildkitd")
	if err := os.WriteFile(fake, []byte("#!/bin/sh\necho no space left on device >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	d, err := buildkitd.New(buildkitd.Config{Root: t.TempDir(), Path: fake})
	if err != nil {
		enginetest.Missing(t, "cannot run BuildKit here: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var run errgroup.Group
	run.Go(func() error { return d.Run(ctx) })
	until(t, "a second start", func() bool { return d.Starts() > 1 })
	cancel()
	if err := run.Wait(); err != nil && !strings.Contains(err.Error(), "no space left") {
		t.Errorf("run: %v", err)
	}
	err = d.Ready(ctx)
	if err == nil || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("ready: %v, want what the daemon said", err)
	}
}
