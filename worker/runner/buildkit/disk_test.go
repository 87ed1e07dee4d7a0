package buildkit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
	"github.com/slipway-build/slipway/worker/runner/buildkit/buildkittest"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
)

// TestABuildThatFillsTheDisk is stopped before the disk is full, and leaves room for the next one.
func TestABuildThatFillsTheDisk(t *testing.T) {
	root := runnertest.SmallDisk(t, 256<<20)
	f := buildkittest.StartIn(t, root)
	builder := runner.Decorate(buildkit.NewBuilder(f.Client), runner.NewDisk(root, 128<<20, f.Client.Room).Guard())
	base := buildkittest.Base
	fills := "RUN i=0; while :; do i=$((i+1)); dd if=/dev/zero of=/big$i bs=1024 count=1024 2>/dev/null || exit 9; sleep 0.05; done\n"
	o := builder.Run(t.Context(), task(t, base+fills, nil), &runnertest.Recorder{})
	runnertest.Want(t, o, runner.Failed, runner.ClassUser)
	for _, want := range []string{"was stopped: it wrote ", "to the disk of BuildKit (" + root + ")", "128 MiB are kept free (disk.reserve_mib in worker.yaml)", "during [", "RUN i=0; while"} {
		if !strings.Contains(o.Message, want) {
			t.Errorf("no %q in the message:\n%s", want, o.Message)
		}
	}
	// What the step wrote is in nobody's way: BuildKit gives it back, at the latest when room is needed.
	patience, tick := time.After(30*time.Second), time.NewTicker(100*time.Millisecond)
	defer tick.Stop()
	for o = builder.Run(t.Context(), task(t, base+"RUN echo small > /small\n", nil), &runnertest.Recorder{}); o.Kind != runner.Succeeded; {
		select {
		case <-tick.C:
			o = builder.Run(t.Context(), task(t, base+"RUN echo small > /small\n", nil), &runnertest.Recorder{})
		case <-patience:
			t.Fatalf("a small build afterwards: %s", o.Message)
		}
	}
}
