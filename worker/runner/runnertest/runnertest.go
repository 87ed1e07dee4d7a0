// Package runnertest is what every runner must hold to, as a suite that a runner's
// own test calls, and a Report that remembers.
package runnertest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-build/slipway/worker/runner"
)

// Recorder is a Report that remembers everything and tells of it.
type Recorder struct {
	mu       sync.Mutex
	log      bytes.Buffer
	started  int
	progress map[string]runner.Progress
	watchers []watcher
}

type watcher struct {
	text string
	seen chan struct{}
}

// Write keeps a piece of log.
func (r *Recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log.Write(p)
	r.watchers = slices.DeleteFunc(r.watchers, func(w watcher) bool {
		if strings.Contains(r.log.String(), w.text) {
			close(w.seen)
			return true
		}
		return false
	})
	return len(p), nil
}

// Started counts.
func (r *Recorder) Started() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started++
}

// Progress keeps the last state of each step.
func (r *Recorder) Progress(steps ...runner.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.progress == nil {
		r.progress = map[string]runner.Progress{}
	}
	for _, s := range steps {
		r.progress[s.ID] = s
	}
}

// Log is everything that was written.
func (r *Recorder) Log() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

// Steps are the last states of all steps.
func (r *Recorder) Steps() []runner.Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]runner.Progress, 0, len(r.progress))
	for _, s := range r.progress {
		out = append(out, s)
	}
	return out
}

// Logged is closed once the log holds text.
func (r *Recorder) Logged(text string) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := make(chan struct{})
	if strings.Contains(r.log.String(), text) {
		close(seen)
		return seen
	}
	r.watchers = append(r.watchers, watcher{text, seen})
	return seen
}

// Cases are tasks of one runner whose ends are known.
type Cases struct {
	Runner   runner.Runner
	Succeeds func() runner.Task
	Fails    func() runner.Task // by the user's fault
	// Endless has not ended when its log holds Sign; zero: the runner has no such task.
	Endless func() runner.Task
	Sign    string
}

// Conform checks the runner against what package runner promises.
func Conform(t *testing.T, c Cases) {
	t.Helper()
	t.Run("succeeds", func(t *testing.T) {
		rec := &Recorder{}
		o := c.Runner.Run(t.Context(), c.Succeeds(), rec)
		Want(t, o, runner.Succeeded, runner.ClassNone)
		if rec.started == 0 {
			t.Error("the runner did not say that it started")
		}
		checkSteps(t, o)
	})
	t.Run("fails by the user", func(t *testing.T) {
		o := c.Runner.Run(t.Context(), c.Fails(), &Recorder{})
		Want(t, o, runner.Failed, runner.ClassUser)
		if strings.TrimSpace(o.Message) == "" {
			t.Error("a failure without a message")
		}
		checkSteps(t, o)
	})
	t.Run("refuses another kind of work", func(t *testing.T) {
		task := c.Succeeds()
		task.Work = foreign{}
		Want(t, c.Runner.Run(t.Context(), task, &Recorder{}), runner.Errored, runner.ClassInfra)
	})
	t.Run("canceled before it begins", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(runner.ErrCanceled)
		o := runner.Decorate(c.Runner, runner.Timeout()).Run(ctx, c.Succeeds(), &Recorder{})
		if o.Kind != runner.Canceled && o.Kind != runner.Succeeded {
			t.Errorf("outcome %s (%s), want canceled, or succeeded where there was nothing to wait for", o.Kind, o.Message)
		}
	})
	if c.Endless == nil {
		return
	}
	t.Run("canceled while it runs", func(t *testing.T) {
		o := interrupt(t, c, runner.ErrCanceled)
		Want(t, o, runner.Canceled, runner.ClassNone)
		checkSteps(t, o)
	})
	t.Run("stopped by the worker", func(t *testing.T) {
		Want(t, interrupt(t, c, runner.ErrShutdown), runner.Errored, runner.ClassInfra)
	})
	t.Run("out of time", func(t *testing.T) {
		task := c.Endless()
		task.Timeout = 3 * time.Second
		o := runner.Decorate(c.Runner, runner.Timeout()).Run(t.Context(), task, &Recorder{})
		Want(t, o, runner.Failed, runner.ClassTimeout)
		if !strings.Contains(o.Message, "3s") {
			t.Errorf("message %q does not name the time limit", o.Message)
		}
	})
}

func interrupt(t *testing.T, c Cases, cause error) runner.Outcome {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	rec := &Recorder{}
	running := rec.Logged(c.Sign)
	end := make(chan runner.Outcome, 1)
	go func() { end <- runner.Decorate(c.Runner, runner.Timeout()).Run(ctx, c.Endless(), rec) }()
	patience := time.NewTimer(time.Minute)
	defer patience.Stop()
	select {
	case <-running:
	case o := <-end:
		t.Fatalf("the endless task ended: %s: %s", o.Kind, o.Message)
	case <-patience.C:
		t.Fatalf("no %q in the log:\n%s", c.Sign, rec.Log())
	}
	cancel(cause)
	select {
	case o := <-end:
		return o
	case <-patience.C:
		t.Fatal("the runner did not stop")
		return runner.Outcome{}
	}
}

// Want checks kind and class of an outcome.
func Want(t *testing.T, o runner.Outcome, kind runner.OutcomeKind, class runner.Class) {
	t.Helper()
	if o.Kind != kind || o.Class != class {
		t.Fatalf("outcome %s (class %q), want %s (class %q); message:\n%s", o.Kind, o.Class, kind, class, o.Message)
	}
}

func checkSteps(t *testing.T, o runner.Outcome) {
	t.Helper()
	for _, s := range o.Steps {
		if err := checkStep(s); err != nil {
			t.Errorf("step %q: %v", s.Name, err)
		}
	}
}

func checkStep(s runner.Step) error {
	switch {
	case s.Name == "" || s.Kind == "":
		return fmt.Errorf("name %q and kind %q must not be empty", s.Name, s.Kind)
	case s.Started.IsZero() || s.Finished.IsZero():
		return fmt.Errorf("started %s, finished %s: both must be known", s.Started, s.Finished)
	case s.Finished.Before(s.Started):
		return fmt.Errorf("it finished at %s, before it started at %s", s.Finished, s.Started)
	}
	return nil
}

// foreign is a kind of work that no runner knows.
type foreign struct{}

func (foreign) Kind() runner.Kind     { return "foreign" }
func (foreign) SourcePaths() []string { return nil }
