package reference_test

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-build/slipway/bench/reference"
)

func TestEachJobIsDoneOnce(t *testing.T) {
	o := reference.NewOnce(2)
	if all, err := o.Did(1); all || err != nil {
		t.Errorf("the first: %v, %v", all, err)
	}
	for _, wrong := range []int{1, 2, -1} {
		if _, err := o.Did(wrong); err == nil {
			t.Errorf("job %d is no error", wrong)
		}
	}
	if all, err := o.Did(0); !all || err != nil {
		t.Errorf("the last: %v, %v", all, err)
	}
}

func TestAServerThatEndsIsNotAwaited(t *testing.T) {
	s, err := reference.Start(exec.CommandContext(t.Context(), "sh", "-c", "echo no such luck; exit 3"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	err = s.Await(t.Context(), func(context.Context) error { return errors.New("not ready") })
	if err == nil || !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("%v", err)
	}
	s.Stop(syscall.SIGTERM)
}

func TestAServerIsStopped(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sleep", "600")
	s, err := reference.Start(cmd, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Await(t.Context(), func(context.Context) error { return nil }); err != nil {
		t.Fatal(err)
	}
	s.Stop(syscall.SIGTERM)
	if cmd.ProcessState == nil {
		t.Error("it still runs")
	}
}
