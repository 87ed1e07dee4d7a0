package server

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/worker/runner/buildkit/buildkittest"
)

// TestAWorkerSaysWhatItsDaemonHolds, over restarts; not what another daemon held, nor what the daemon has thrown away.
func TestAWorkerSaysWhatItsDaemonHolds(t *testing.T) {
	state, daemon, other := t.TempDir(), buildkittest.Start(t), buildkittest.Start(t)
	var log bytes.Buffer
	var added, dropped []uint64
	begin := func(f *buildkittest.Farm) *holder {
		h, err := newHolder(t.Context(), state, f.Client, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		h.say = func(a, d []uint64) { added, dropped = append(added, a...), append(dropped, d...) }
		return h
	}
	begin(daemon).left([]uint64{1, 2})
	if !slices.Equal(added, []uint64{1, 2}) {
		t.Errorf("said of what a task left: %v", added)
	}
	again := begin(daemon)
	if got := again.held.Keys(); !slices.Equal(got, []uint64{1, 2}) {
		t.Errorf("after a restart: %v", got)
	}
	if got := begin(other).held.Keys(); len(got) != 0 {
		t.Errorf("of another daemon: %v", got)
	}
	again.once(t.Context()) // nothing was ever built there, so nothing is left of it
	if len(again.held.Keys()) != 0 || !slices.Equal(dropped, []uint64{1, 2}) {
		t.Errorf("of an empty cache is held: %v; said to be gone: %v", again.held.Keys(), dropped)
	}
	// What cannot be written is held until the worker ends, and the log says what that costs and which file it is.
	if err := os.Mkdir(filepath.Join(state, "holdings.json.new"), 0o700); err != nil {
		t.Fatal(err)
	}
	again.left([]uint64{3})
	if got := log.String(); !slices.Equal(again.held.Keys(), []uint64{3}) || !strings.Contains(got, "after a restart the worker will not know what BuildKit's cache holds") || !strings.Contains(got, "holdings.json.new") {
		t.Errorf("held: %v, and the log says: %s", again.held.Keys(), got)
	}
}
