package process_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/process"
)

func sleeper(t *testing.T) *process.Process {
	t.Helper()
	dir := t.TempDir()
	p := &process.Process{
		Name: "sleeper", Args: []string{"/bin/sh", "-c", "echo began; trap 'exit 3' TERM; while :; do sleep 0.01; done"},
		Log: filepath.Join(dir, "log"), PIDFile: filepath.Join(dir, "pid"),
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// began waits until the program has said so a number of times: it then hears signals.
func began(t *testing.T, p *process.Process, times int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		log, err := os.ReadFile(p.Log)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(log), "began\n") >= times {
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("the test ends")
		}
	}
}

func TestStopAndStartAgain(t *testing.T) {
	p := sleeper(t)
	began(t, p, 1)
	if !p.Running() {
		t.Error("it does not run")
	}
	if code := p.Stop(); code != 3 || p.Running() {
		t.Errorf("it ended with %d, want 3; running %v", code, p.Running())
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	began(t, p, 2)
	p.Kill()
	if p.Running() {
		t.Error("it runs after it was killed")
	}
}

func TestKeepStartsWhatWasKilled(t *testing.T) {
	p := sleeper(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told, done := make(chan string, 1), make(chan error, 1)
	go func() { done <- p.Keep(ctx, time.Millisecond, func(why string) { told <- why }) }()
	began(t, p, 1)
	first := p.PID()
	p.Kill()
	if why := <-told; why != "signal: killed" {
		t.Errorf("told %q", why)
	}
	began(t, p, 2)
	pid, err := os.ReadFile(p.PIDFile)
	if err != nil {
		t.Fatal(err)
	}
	if p.PID() == first || strings.TrimSpace(string(pid)) != strconv.Itoa(p.PID()) {
		t.Errorf("it is process %d, before %d; its file says %s", p.PID(), first, pid)
	}
	cancel()
	if err := <-done; err != nil || p.Running() {
		t.Errorf("Keep: %v; running %v", err, p.Running())
	}
}
