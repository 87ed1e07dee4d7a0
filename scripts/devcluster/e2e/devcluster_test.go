// Package e2e_test runs the devcluster program and looks at the clusters it makes, as a deployer would.
//
// It builds nothing: the programs come from the folder in SLIPWAY_DEVCLUSTER_BIN, by default ~/.cache/slipway/bin.
package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/slipway-build/slipway/scripts/devcluster/clusterdir"
)

const patience = 3 * time.Minute

func program(t *testing.T) string {
	t.Helper()
	// Nothing is done with it: go test keeps results by the environment that was read, and not by programs that were run.
	_ = os.Getenv("SLIPWAY_DEVCLUSTER_SUM")
	dir := os.Getenv("SLIPWAY_DEVCLUSTER_BIN")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(home, ".cache", "slipway", "bin")
	}
	path := filepath.Join(dir, "devcluster")
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is not there: build it as build.json says, or set SLIPWAY_DEVCLUSTER_BIN", path)
	}
	return path
}

// running is a cluster that a test has started.
type running struct {
	dir    string
	ready  clusterdir.Ready
	client kubernetes.Interface
	cmd    *exec.Cmd
	out    *bytes.Buffer
	ended  chan error
}

// up starts a cluster and waits until it is ready. Whatever the test does, nothing of it is left afterwards.
func up(t *testing.T, dir string, args ...string) *running {
	t.Helper()
	c := &running{dir: dir, out: &bytes.Buffer{}, ended: make(chan error, 1)}
	c.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), program(t), append([]string{"up", "--dir", dir}, args...)...)
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.out
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { c.ended <- c.cmd.Wait() }()
	t.Cleanup(func() {
		if out, err := exec.CommandContext(context.WithoutCancel(t.Context()), program(t), "down", "--dir", dir).CombinedOutput(); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
		if t.Failed() {
			t.Logf("devcluster up said:\n%s", c.out)
		}
	})
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-c.ended:
			c.ended <- err
			t.Fatalf("devcluster up ended: %v\n%s", err, c.out)
		case <-deadline.C:
			t.Fatalf("no ready.json after %s\n%s", patience, c.out)
		case <-tick.C:
		}
		b, err := os.ReadFile(filepath.Join(dir, "ready.json"))
		if err != nil || json.Unmarshal(b, &c.ready) != nil || c.ready.PID != c.cmd.Process.Pid {
			continue
		}
		cfg, err := clientcmd.BuildConfigFromFlags("", c.ready.Kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		if c.client, err = kubernetes.NewForConfig(cfg); err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// stop ends the program with a signal and waits for it.
func (c *running) stop(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	err := c.wait(t)
	if sig != syscall.SIGKILL && err != nil {
		t.Errorf("after %s: %v\n%s", sig, err, c.out)
	}
}

func (c *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-c.ended:
		return err
	case <-time.After(patience):
		t.Fatalf("the program did not end\n%s", c.out)
		return nil
	}
}

// run calls the program, expects an exit code, and returns what it said.
func run(t *testing.T, want int, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(t.Context()), program(t), args...).CombinedOutput()
	code := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if code != want {
		t.Fatalf("devcluster %v: exit code %d, want %d\n%s", args, code, want, out)
	}
	return string(out)
}
