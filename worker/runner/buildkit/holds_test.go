package buildkit_test

import (
	"testing"
	"time"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
	"github.com/slipway-build/slipway/worker/runner/buildkit/buildkittest"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
)

// TestADaemonSaysWhichCacheIsItsAndHowOldThatIs.
func TestADaemonSaysWhichCacheIsItsAndHowOldThatIs(t *testing.T) {
	a, b := buildkittest.Start(t), buildkittest.Start(t)
	ids := map[string]bool{}
	for _, f := range []*buildkittest.Farm{a, b, a} {
		id, err := f.Client.CacheID(t.Context())
		if err != nil || id == "" {
			t.Fatalf("the cache has the name %q: %v", id, err)
		}
		ids[id] = true
	}
	if len(ids) != 2 {
		t.Errorf("two caches have the names %v", ids)
	}
	if oldest, err := a.Client.Oldest(t.Context()); err != nil || !oldest.IsZero() {
		t.Errorf("in an empty cache the oldest is of %s: %v", oldest, err)
	}
	begun := time.Now().Add(-time.Second)
	o := buildkit.NewBuilder(a.Client).Run(t.Context(), task(t, buildkittest.Base, func(*runner.Build) {}), &runnertest.Recorder{})
	runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
	oldest, err := a.Client.Oldest(t.Context())
	if err != nil || oldest.Before(begun) || oldest.After(time.Now().Add(time.Second)) {
		t.Errorf("after a build the oldest is of %s: %v", oldest, err)
	}
}
