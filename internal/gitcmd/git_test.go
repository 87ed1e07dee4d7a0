package gitcmd_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/gitcmd"
)

func newGit(t *testing.T, o gitcmd.Options) *gitcmd.Git {
	t.Helper()
	o.Home, o.Env = filepath.Join(t.TempDir(), "home"), gitcmd.PassThrough(os.Environ())
	g, err := gitcmd.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestTransportsAreRefusedUnlessNamed(t *testing.T) {
	g := newGit(t, gitcmd.Options{})
	dir := t.TempDir()
	if _, err := g.Output(t.Context(), dir, "init", "--bare", "--quiet"); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"ext::sh -c true", "file://" + dir, dir, "https://127.0.0.1:1/x"} {
		err := g.Run(t.Context(), gitcmd.Command{Dir: dir, Args: []string{"ls-remote", "--end-of-options", address}})
		if err == nil || !strings.Contains(err.Error(), "not allowed") {
			t.Errorf("%s: %v", address, err)
		}
	}
	if err := g.Run(t.Context(), gitcmd.Command{Dir: dir, Args: []string{"ls-remote", "--end-of-options", dir}, Protocols: []string{"file"}}); err != nil {
		t.Errorf("named: %v", err)
	}
}

func TestSettings(t *testing.T) {
	t.Setenv("GIT_DIR", "/nonexistent")
	t.Setenv("GIT_CONFIG_COUNT", "x")
	g := newGit(t, gitcmd.Options{Config: []gitcmd.Setting{{Key: "http.https://example.com/.extraHeader", Value: "Authorization: x"}}})
	dir := t.TempDir()
	out, err := g.Output(t.Context(), dir, "config", "--get-urlmatch", "http.extraHeader", "https://example.com/shop")
	if err != nil || strings.TrimSpace(string(out)) != "Authorization: x" {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := g.Output(t.Context(), dir, "config", "core.hooksPath"); err != nil || strings.TrimSpace(string(out)) != os.DevNull {
		t.Errorf("%q, %v", out, err)
	}
}

// TestProcess: it answers one question after the other, and says why it ended.
func TestProcess(t *testing.T) {
	g := newGit(t, gitcmd.Options{})
	dir := t.TempDir()
	if _, err := g.Output(t.Context(), dir, "init", "--bare", "--quiet"); err != nil {
		t.Fatal(err)
	}
	p, err := g.Start(gitcmd.Command{Dir: dir, Args: []string{"cat-file", "--batch-check"}})
	if err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(p.Out)
	for range 2 {
		if _, err := p.In.Write([]byte("HEAD\n")); err != nil {
			t.Fatal(err)
		}
		if line, err := out.ReadString('\n'); err != nil || line != "HEAD missing\n" {
			t.Fatalf("%q, %v", line, err)
		}
	}
	p.Kill()
	if _, err := out.ReadString('\n'); err == nil {
		t.Error("it answers after its end")
	}
	_ = p.Stop()
	if p, err = g.Start(gitcmd.Command{Dir: t.TempDir(), Args: []string{"cat-file", "--batch-check"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(p.Out); err != nil {
		t.Fatal(err)
	}
	var e *gitcmd.Error
	if err := p.Stop(); !errors.As(err, &e) || !strings.Contains(e.Stderr, "not a git repository") {
		t.Errorf("%v", err)
	}
}

func TestErrors(t *testing.T) {
	g := newGit(t, gitcmd.Options{})
	var e *gitcmd.Error
	_, err := g.Output(t.Context(), t.TempDir(), "rev-parse", "HEAD")
	if !errors.As(err, &e) || e.ExitCode != 128 || e.Command != "rev-parse" || e.Stderr == "" {
		t.Errorf("%#v", err)
	}
	// cat-file waits for input that does not come.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	dir := t.TempDir()
	if _, err := g.Output(t.Context(), dir, "init", "--bare", "--quiet"); err != nil {
		t.Fatal(err)
	}
	err = g.Run(t.Context(), gitcmd.Command{Dir: dir, Args: []string{"cat-file", "--batch"}, Stdin: r, Limit: 50 * time.Millisecond})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("time limit: %v", err)
	}
	if _, err := gitcmd.New(gitcmd.Options{Home: t.TempDir(), Env: []string{"PATH=/nonexistent"}}); !errors.Is(err, gitcmd.ErrNoGit) {
		t.Errorf("no git: %v", err)
	}
}
