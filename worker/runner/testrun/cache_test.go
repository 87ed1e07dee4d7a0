package testrun_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
	"github.com/slipway-build/slipway/worker/runner/buildkit/buildkittest"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
	"github.com/slipway-build/slipway/worker/runner/testrun"
)

// TestStagesFromTheCache: a test stands on what a build left in the cache, and passes as well when that is broken.
func TestStagesFromTheCache(t *testing.T) {
	var left atomic.Int64 // blobs that are still served
	left.Store(1 << 30)
	behind := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") && left.Add(-1) < 0 {
			http.Error(w, "{}", http.StatusNotFound)
			return
		}
		behind.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	var exports []func(context.Context) error
	cached := func() (*buildkittest.Farm, *buildkit.Cache) {
		f := buildkittest.Start(t)
		c := buildkit.NewCache(f.Client, buildkit.CacheConfig{
			Registry: strings.TrimPrefix(s.URL, "http://") + "/cache", Log: slog.New(slog.DiscardHandler), Count: func(string) {},
			Later: func(_ string, run func(context.Context) error, _ func()) { exports = append(exports, run) },
		})
		t.Cleanup(c.Close)
		return f, c
	}
	f, c := cached()
	built := task(t, command(""))
	build := built.Work.(runner.Test).Build
	build.Cacheable = true
	built.ID, built.Work, built.Keep = "build/api", build, func() func() { return func() {} }
	runnertest.Want(t, buildkit.NewBuilder(f.Client).With(c).Run(t.Context(), built, &runnertest.Recorder{}), runner.Succeeded, runner.ClassNone)
	if len(exports) != 1 {
		t.Fatalf("%d exports", len(exports))
	}
	if err := exports[0](t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		blobs  int64
		cached bool
		test   func(*runner.Test)
	}{
		{"a command", 1 << 30, true, command("test $FROM_STAGE = yes")},
		{"a stage", 1 << 30, true, func(w *runner.Test) { w.Run, w.Build.Target = "", "unit" }},
		{"layers that are gone", 1, false, command("test $FROM_STAGE = yes")}, // the configuration is there
	} {
		t.Run(tt.name, func(t *testing.T) {
			left.Store(tt.blobs)
			f, c := cached()
			o := testrun.New(f.Client).With(c).Run(t.Context(), task(t, tt.test), &runnertest.Recorder{})
			runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
			installs := 0
			for _, s := range o.Steps {
				if strings.Contains(s.Name, "--install") {
					installs++
					if s.Cached != tt.cached || s.Error != "" {
						t.Errorf("cached %t: %+v", tt.cached, s)
					}
				}
			}
			if installs != 1 {
				t.Errorf("%d such steps: %+v", installs, o.Steps)
			}
		})
	}
	if len(exports) != 1 {
		t.Error("a test exports")
	}
}
