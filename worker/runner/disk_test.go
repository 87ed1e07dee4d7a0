package runner_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
)

// noRoom is a cache from which nothing can be removed.
func noRoom(context.Context, int64) error { return nil }

// untilStopped writes a file that takes the disk's reserve, and goes on until it is told to stop.
func untilStopped(dir string, size int, begun func()) runner.Runner {
	return runner.Func(func(ctx context.Context, t runner.Task, _ runner.Report) runner.Outcome {
		begun()
		if err := os.WriteFile(filepath.Join(dir, strings.ReplaceAll(t.ID, "/", "_")), make([]byte, size), 0o600); err != nil {
			return runner.Err("%v", err)
		}
		<-ctx.Done()
		return runner.Err("canceled")
	})
}

func TestDisk(t *testing.T) {
	dir := runnertest.SmallDisk(t, 64<<20)
	t.Run("alone", func(t *testing.T) {
		guarded := runner.Decorate(untilStopped(dir, 24<<20, func() {}), runner.NewDisk(dir, 48<<20, noRoom).Guard())
		o := guarded.Run(t.Context(), runner.Task{ID: "build/api", Work: runner.Build{}}, &runnertest.Recorder{})
		runnertest.Want(t, o, runner.Failed, runner.ClassUser)
		for _, want := range []string{"build/api was stopped: it wrote ", " MiB to the disk of BuildKit (" + dir + "), which has ", "left, and 48 MiB are kept free", "disk.reserve_mib"} {
			if !strings.Contains(o.Message, want) {
				t.Errorf("no %q in %s", want, o.Message)
			}
		}
	})
	t.Run("not begun", func(t *testing.T) { // the file of the first is still there
		never := runner.Func(func(context.Context, runner.Task, runner.Report) runner.Outcome {
			t.Error("it was begun")
			return runner.Outcome{}
		})
		o := runner.Decorate(never, runner.NewDisk(dir, 48<<20, noRoom).Guard()).Run(t.Context(), runner.Task{ID: "build/web"}, &runnertest.Recorder{})
		runnertest.Want(t, o, runner.Errored, runner.ClassInfra)
		if !strings.Contains(o.Message, "build/web was not begun") || !strings.Contains(o.Message, "40 MiB free") {
			t.Error(o.Message)
		}
	})
	t.Run("several", func(t *testing.T) {
		var both sync.WaitGroup
		both.Add(2)
		guarded := runner.Decorate(untilStopped(dir, 16<<20, func() { both.Done(); both.Wait() }), runner.NewDisk(dir, 16<<20, noRoom).Guard())
		var wg sync.WaitGroup
		for _, id := range []string{"build/a", "build/b"} {
			wg.Go(func() {
				o := guarded.Run(t.Context(), runner.Task{ID: id}, &runnertest.Recorder{})
				runnertest.Want(t, o, runner.Errored, runner.ClassInfra)
				if !strings.Contains(o.Message, id+" was stopped: it and what ran beside it wrote ") {
					t.Errorf("%s: %s", id, o.Message)
				}
			})
		}
		wg.Wait()
	})
	t.Run("room enough", func(t *testing.T) {
		fine := runner.Func(func(context.Context, runner.Task, runner.Report) runner.Outcome {
			return runner.Outcome{Kind: runner.Succeeded}
		})
		o := runner.Decorate(fine, runner.NewDisk(t.TempDir(), 1, noRoom).Guard()).Run(t.Context(), runner.Task{ID: "build/api"}, &runnertest.Recorder{})
		runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
	})
	t.Run("no folder", func(t *testing.T) {
		if err := runner.NewDisk(filepath.Join(dir, "none"), 1, noRoom).Check(); err == nil || !strings.Contains(err.Error(), "none") {
			t.Error(err)
		}
	})
}
