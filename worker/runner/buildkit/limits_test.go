package buildkit_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
	"github.com/slipway-build/slipway/worker/runner/buildkit/buildkittest"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
)

// TestBuildsBeyondTheirMeans say which step it was.
func TestBuildsBeyondTheirMeans(t *testing.T) {
	f := buildkittest.Start(t)
	base := buildkittest.Base
	t.Run("endless", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		rec := &runnertest.Recorder{}
		going := rec.Logged(" going on")
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			select {
			case <-going:
			case <-ctx.Done():
			}
			cancel(fmt.Errorf("build/api did not end within its time limit of 1h: %w", runner.ErrTimeout))
		}()
		endless := task(t, base+"RUN echo going on; while :; do sleep 1; done\n", nil)
		o := runner.Decorate(buildkit.NewBuilder(f.Client), runner.Timeout()).Run(ctx, endless, rec)
		cancel(nil)
		<-stopped
		runnertest.Want(t, o, runner.Failed, runner.ClassTimeout)
		if !strings.Contains(o.Message, "during [") || !strings.Contains(o.Message, "RUN echo going on; while") || !strings.Contains(o.Message, "raise timeout of the build in slipway.yaml") {
			t.Errorf("message: %s", o.Message)
		}
	})
	t.Run("full disk", func(t *testing.T) {
		// The kernel's own answer, from a disk that is the step's alone.
		full := task(t, base+"RUN --mount=type=tmpfs,target=/small,size=65536 dd if=/dev/zero of=/small/x bs=1024 count=1024\n", nil)
		o := buildkit.NewBuilder(f.Client).Run(t.Context(), full, &runnertest.Recorder{})
		runnertest.Want(t, o, runner.Failed, runner.ClassUser)
		for _, want := range []string{dockerfile + ":4: ", "exit code 1", "the step found no disk space left"} {
			if !strings.Contains(o.Message, want) {
				t.Errorf("no %q in the message:\n%s", want, o.Message)
			}
		}
	})
}
