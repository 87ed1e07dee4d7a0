package check_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/check"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

// world is a journal, a memory and a host for Tellers that come and go.
type world struct {
	t *testing.T

	mu     sync.Mutex
	runs   map[string]*run.Run
	number int
	told   map[string]string
	host   func(check.Commit, check.Status) (time.Duration, error) // before it shows; nil: at once
	shown  []string                                                // "commit state run", as the host has it
	times  []time.Duration
	begun  time.Time

	teller *check.Teller
	perRef bool
	stop   func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, runs: map[string]*run.Run{}, told: map[string]string{}, begun: time.Now()}
	w.start()
	return w
}

// start is a coordinator that begins.
func (w *world) start() {
	w.teller = check.New(check.Config{
		Hooks: map[string]check.Hook{"shop": {Host: w, Running: true, PerBranch: w.perRef}}, Memory: w, URL: "https://slipway.example.com",
		Log: slog.New(slog.NewTextHandler(w.t.Output(), nil)), Now: time.Now,
	})
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.teller.Run(ctx, w); err != nil {
			w.t.Error(err)
		}
	}()
	w.stop = sync.OnceFunc(func() { cancel(); <-done })
}

func (w *world) Load(context.Context) (map[string]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.told), nil
}

func (w *world) Save(_ context.Context, key, told string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told[key] = told
	return nil
}

func (w *world) Runs(context.Context) ([]*run.Run, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*run.Run
	for _, r := range w.runs {
		out = append(out, r.Head())
	}
	return out, nil
}

func (w *world) Run(_ context.Context, _, id string) (*run.Run, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.runs[id].Snapshot(), nil
}

func (w *world) Tell(ctx context.Context, c check.Commit, s check.Status) (wait time.Duration, err error) {
	w.mu.Lock()
	hook := w.host
	w.mu.Unlock()
	if hook != nil {
		wait, err = hook(c, s)
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.times = append(w.times, time.Since(w.begun))
	if err == nil {
		w.show(c, s)
	}
	return wait, err
}

// show is what the host does at last; w.mu is held.
func (w *world) show(c check.Commit, s check.Status) {
	if s.URL != "https://slipway.example.com/runs/"+s.Run && (s.Run != "" || s.URL != "https://slipway.example.com/") {
		w.t.Errorf("the link is %s", s.URL)
	}
	w.shown = append(w.shown, fmt.Sprint(c.ID, c.Branch, " ", s.State, " ", s.Run))
}

// accept begins a run of a commit; end and work change it.
func (w *world) accept(commit, ref string) string { return w.acceptOf("shop", commit, ref) }

func (w *world) acceptOf(hook, commit, ref string) string {
	w.mu.Lock()
	w.number++
	r := &run.Run{
		ID: fmt.Sprint("r", w.number), Number: uint64(w.number), Project: "shop", Ref: ref, Commit: commit, State: run.Running, AcceptedAt: time.Now(),
		Origin: run.Origin{Webhook: hook, Repository: "example/shop", Branch: ref}, Tasks: []*run.Task{{Spec: &plan.Task{ID: "build/api", Kind: plan.KindBuild}}},
	}
	w.runs[r.ID] = r
	w.mu.Unlock()
	w.teller.Changed(r.Head(), nil)
	return r.ID
}

func (w *world) change(id string, f func(r *run.Run)) {
	w.mu.Lock()
	f(w.runs[id])
	r := w.runs[id].Snapshot()
	w.mu.Unlock()
	w.teller.Changed(r.Head(), r.Tasks)
}

func (w *world) work(id string) {
	w.change(id, func(r *run.Run) { r.Tasks[0].Attempts = []run.Attempt{{Number: 1}} })
}

func (w *world) end(id string, s run.State) {
	w.change(id, func(r *run.Run) {
		r.State, r.FinishedAt = s, time.Now()
		if s == run.Failed {
			r.Tasks[0].State = run.TaskFailed
		}
	})
}

func (w *world) fault(f func(check.Commit, check.Status) (time.Duration, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.host = f
}

// want compares what the host has shown since it was asked last.
func (w *world) want(list ...string) {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if diff := cmp.Diff(list, w.shown); diff != "" {
		w.t.Errorf("the host shows (-want +got)\n%s", diff)
	}
	w.shown = nil
}

// in runs a test in a bubble, whose clock goes on as soon as everybody waits.
func inBubble(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		synctest.Wait()
		f(w)
	})
}

// wait lets the clock go on.
func wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

var errHost = errors.New("answers 500")

func TestEachStepIsToldOnce(t *testing.T) {
	inBubble(t, func(w *world) {
		id := w.accept("c1", "main")
		w.want("c1 pending r1")
		w.work(id)
		w.work(id)
		w.want("c1 running r1")
		w.end(id, run.Succeeded)
		w.want("c1 success r1")
		w.work(id) // a change that comes late
		w.want()
		w.acceptOf("other", "c2", "main")
		w.acceptOf("", "c3", "main")
		w.want()
		wait(time.Hour)
		w.want()
	})
}

func TestAHostIsTriedAgainUntilItTakesTheNewestStatus(t *testing.T) {
	inBubble(t, func(w *world) {
		w.fault(func(check.Commit, check.Status) (time.Duration, error) { return 0, errHost })
		id := w.accept("c1", "main")
		wait(time.Hour)
		w.end(id, run.Failed)
		synctest.Wait()
		w.mu.Lock()
		times := slices.Clone(w.times)
		w.mu.Unlock()
		if len(times) < 15 || len(times) > 40 {
			w.t.Errorf("%d tries in an hour: %v", len(times), times)
		}
		for i, d := range times[1:4] {
			if want := time.Second<<(i+1) - time.Second; d != want {
				w.t.Errorf("try %d came after %s, want %s", i+2, d, want)
			}
		}
		w.want()
		w.fault(nil)
		wait(5 * time.Minute)
		w.want("c1 failure r1")
	})
}

func TestAHostIsLeftAloneAsLongAsItAsks(t *testing.T) {
	inBubble(t, func(w *world) {
		w.fault(func(check.Commit, check.Status) (time.Duration, error) { return 10 * time.Minute, errHost })
		w.accept("c1", "main")
		synctest.Wait()
		w.fault(nil)
		id := w.accept("c2", "main")
		w.end(id, run.Succeeded)
		wait(10*time.Minute - time.Second)
		w.want()
		wait(time.Second)
		synctest.Wait()
		w.mu.Lock()
		slices.Sort(w.shown)
		w.mu.Unlock()
		w.want("c1 pending r1", "c2 success r2")
		w.fault(func(check.Commit, check.Status) (time.Duration, error) { return time.Minute, nil }) // the last of a budget
		w.accept("c3", "main")
		w.want("c3 pending r3")
		w.accept("c4", "main")
		w.want()
		wait(time.Minute)
		w.want("c4 pending r4")
	})
}

func TestAStatusThatIsRefusedIsNotTriedAgain(t *testing.T) {
	inBubble(t, func(w *world) {
		w.fault(func(_ check.Commit, s check.Status) (time.Duration, error) {
			if s.State == check.Pending {
				return 0, fmt.Errorf("%w: 422", check.ErrRefused)
			}
			return 0, nil
		})
		id := w.accept("c1", "main")
		wait(time.Hour)
		if len(w.times) != 1 {
			w.t.Errorf("%d tries", len(w.times))
		}
		w.end(id, run.Succeeded)
		w.want("c1 success r1")
	})
}

func TestWhatComesLateIsPutRight(t *testing.T) {
	inBubble(t, func(w *world) {
		var late func()
		w.fault(func(c check.Commit, s check.Status) (time.Duration, error) {
			if s.State == check.Pending {
				late = func() { w.show(c, s) }
				return 0, fmt.Errorf("%w: timeout", check.ErrDoubt)
			}
			return 0, nil
		})
		id := w.accept("c1", "main")
		synctest.Wait()
		w.end(id, run.Succeeded)
		wait(time.Second)
		w.want("c1 success r1")
		wait(30 * time.Second)
		w.mu.Lock()
		late() // the host does now what it did not answer
		w.mu.Unlock()
		w.want("c1 pending r1")
		wait(time.Minute)
		w.want("c1 success r1")
		wait(time.Hour)
		w.want()
		if len(w.told) != 1 {
			w.t.Errorf("%d are remembered", len(w.told))
		}
	})
}

func TestDoubtDoesNotHoldTheNextStatusUp(t *testing.T) {
	inBubble(t, func(w *world) {
		first := true
		w.fault(func(check.Commit, check.Status) (time.Duration, error) {
			if first {
				first = false
				return 0, check.ErrDoubt
			}
			return 0, nil
		})
		id := w.accept("c1", "main")
		wait(time.Second)
		w.want("c1 pending r1")
		w.end(id, run.Succeeded)
		w.want("c1 success r1")
		wait(time.Minute)
		w.want("c1 success r1")
	})
}

func TestACommitIsAsGoodAsTheWorstOfItsRuns(t *testing.T) {
	inBubble(t, func(w *world) {
		push := w.accept("c1", "feature")
		w.want("c1 pending r1")
		w.end(push, run.Failed)
		w.want("c1 failure r1")
		pull := w.accept("c1", "pull/7")
		w.want("c1 pending r2")
		w.end(pull, run.Succeeded)
		w.want("c1 failure r1")
		again := w.accept("c1", "feature") // as it was pushed once more
		w.want("c1 pending r3")
		w.end(again, run.Succeeded)
		w.want("c1 success r3")
		w.end(push, run.Canceled) // nobody cares any more
		w.want()
	})
}

func TestACommitOfTwoBranchesHasTwoChecksWhereTheHostHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.stop()
		w.perRef = true
		w.start()
		defer w.stop()
		main := w.accept("c1", "main")
		w.want("c1main pending r1")
		feature := w.accept("c1", "feature")
		w.want("c1feature pending r2")
		w.end(main, run.Failed)
		w.want("c1main failure r1")
		w.end(feature, run.Succeeded)
		w.want("c1feature success r2")
	})
}

func TestARestartLosesNothing(t *testing.T) {
	inBubble(t, func(w *world) {
		open, ended := w.accept("c1", "main"), w.accept("c2", "main")
		w.work(open)
		w.end(ended, run.Succeeded)
		synctest.Wait()
		unheard := w.accept("c3", "main")
		synctest.Wait()
		w.shown = nil
		w.fault(func(check.Commit, check.Status) (time.Duration, error) { return 0, errHost })
		w.end(unheard, run.Failed)
		synctest.Wait()
		w.stop()
		w.fault(nil)
		w.start()
		w.want("c3 failure r3") // and nothing that the host knows
		w.stop()
		w.end(open, run.Canceled) // as somebody else committed it
		w.start()
		w.want("c1 canceled r1")
		w.stop()
		clear(w.told) // forgotten: told again
		w.start()
		synctest.Wait()
		slices.Sort(w.shown)
		w.want("c1 canceled r1", "c2 success r2", "c3 failure r3")
		w.stop()
		clear(w.told)
		wait(8 * 24 * time.Hour)
		w.start()
		w.want() // too old for anybody
	})
}

func TestAHostThatNeverSaysYesIsGivenUpWithItsRun(t *testing.T) {
	inBubble(t, func(w *world) {
		w.fault(func(check.Commit, check.Status) (time.Duration, error) { return 0, errHost })
		w.end(w.accept("c1", "main"), run.Failed)
		wait(check.Keep + 2*time.Hour)
		tries := len(w.times)
		wait(24 * time.Hour)
		if len(w.times) != tries {
			w.t.Errorf("%d tries for a run that nobody looks at", len(w.times)-tries)
		}
		w.fault(nil)
		w.accept("c1", "main")
		w.want("c1 pending r2")
	})
}

func TestARunThatIsKilledWhileItIsTold(t *testing.T) {
	inBubble(t, func(w *world) {
		begun, release := make(chan struct{}), make(chan struct{})
		w.fault(func(check.Commit, check.Status) (time.Duration, error) {
			close(begun)
			<-release
			return 0, nil
		})
		w.end(w.accept("c1", "main"), run.Succeeded)
		<-begun
		go close(release)
		w.stop()
		w.shown = nil // whatever became of it
		w.fault(nil)
		w.start()
		synctest.Wait()
		if len(w.shown) > 1 || len(w.shown) == 1 && w.shown[0] != "c1 success r1" || len(w.told) != 1 {
			w.t.Errorf("shown %v, remembered %v", w.shown, w.told)
		}
	})
}
