package partition_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/coordinator/explain"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/plan/plantest"
	"github.com/slipway-build/slipway/coordinator/run"
)

// alike is a plan with one service, whose build does the same in every run.
func alike(edit func(*plan.Plan)) *plan.Plan {
	p := plantest.Shop("shop", 1, 0, [][]string{{"a"}})
	if edit != nil {
		edit(p)
	}
	return p
}

// task of a run as it is.
func (f *farm) task(id, task string) *run.Task {
	f.t.Helper()
	t, ok := f.run(id).Find(task)
	if !ok {
		f.t.Fatalf("%s has no task %s", id, task)
	}
	return t
}

// why a task waits.
func (f *farm) why(id, task string) explain.Wait {
	f.t.Helper()
	var facts explain.Facts
	f.must(func(tx *partition.Tx) error {
		r, err := tx.Run(id)
		facts = tx.Facts(r)
		return err
	})
	for _, w := range explain.Waits(facts) {
		if w.Task == task {
			return w
		}
	}
	return explain.Wait{}
}

// imaged carries a build to its end, with an image that tells whose it is.
func (f *farm) imaged(w partition.Work) {
	f.t.Helper()
	rep := run.Report{Attempt: run.Attempt{Outcome: run.OutcomeSucceeded}, Result: plan.Result{Image: "image of " + w.Run}}
	f.must(func(tx *partition.Tx) error { return tx.Complete(w.Ref, rep) })
	f.eventually("the coordinator's own work is done", f.idle)
}

func (f *farm) cancel(id string) {
	f.t.Helper()
	f.must(func(tx *partition.Tx) error { _, err := tx.Cancel(id, "not wanted"); return err })
}

const build = "build/s0"

func TestRunsThatNeedTheSameShareIt(t *testing.T) {
	f := open(t)
	first, second, third := f.submit(alike(nil)), f.submit(alike(nil)), f.submit(alike(nil))
	other := f.submit(plantest.Shop("bank", 1, 0, [][]string{{"a"}})) // nobody else's work is known to it
	again := f.submit(alike(func(p *plan.Plan) { p.Rebuild = true }))
	w := f.hold(first, build)
	f.hold(other, build)
	f.hold(again, build)
	if _, err := f.lease(second, build, nil); !errors.Is(err, partition.ErrAborted) || !strings.Contains(err.Error(), "waits for run "+first) {
		t.Fatalf("a second lease of the same work: %v", err)
	}
	if why := f.why(third, build); why.Reason != explain.Shared || !slices.Equal(why.On, []string{first}) {
		t.Errorf("the third is said to wait for %+v", why)
	}
	if got := f.board.tokens(); len(got) != 0 {
		t.Errorf("dispatch knows of %v", got)
	}
	f.imaged(w)
	for _, id := range []string{second, third} {
		is := f.task(id, build)
		if is.State != run.TaskReused || is.Result.Image != "image of "+first || !strings.Contains(is.Message, first) || len(is.Attempts) > 0 {
			t.Errorf("%s: %s, %+v, %q after %d attempts", id, is.State, is.Result, is.Message, len(is.Attempts))
		}
		f.want(id, "render/s0@e0/a", run.TaskReady)
	}
	// Renders of the same image are the same work where their digests say so.
	f.want(other, build, run.TaskLeased)
	f.want(again, build, run.TaskLeased)
}

func TestManifestsAreSharedWithTheSameImageAlone(t *testing.T) {
	f := open(t)
	same := func(p *plan.Plan) {
		for i := range p.Tasks {
			if p.Tasks[i].Kind == plan.KindRender {
				p.Tasks[i].Digest = "digest of manifests"
			}
		}
	}
	const render = "render/s0@e0/a"
	first, second := f.submit(alike(same)), f.submit(alike(same))
	third := f.submit(alike(func(p *plan.Plan) { same(p); p.Tasks[1].Digest = "another base image" }))
	f.imaged(f.hold(first, build))
	f.imaged(f.hold(third, build))
	w := f.hold(first, render)
	if _, err := f.lease(second, render, nil); !errors.Is(err, partition.ErrAborted) {
		t.Errorf("a second render with the same image: %v", err)
	}
	f.hold(third, render)
	f.end(w, run.OutcomeSucceeded)
	if is := f.task(second, render); is.State != run.TaskReused || is.Result.Manifests != "manifests of "+first {
		t.Errorf("the second render is %s, %+v", is.State, is.Result)
	}
	f.want(third, render, run.TaskLeased)
}

func TestWorkThatSaidNoIsDoneByEach(t *testing.T) {
	f := open(t)
	first, second, third := f.submit(alike(nil)), f.submit(alike(nil)), f.submit(alike(nil))
	f.end(f.hold(first, build), run.OutcomeFailed)
	f.want(first, build, run.TaskFailed)
	f.imaged(f.hold(second, build))
	f.imaged(f.hold(third, build))
	if is := f.task(third, build); is.State != run.TaskSucceeded {
		t.Errorf("the third is %s", is.State)
	}
}

func TestAnotherOneDoesWhatWasNotDone(t *testing.T) {
	f := open(t)
	first, second, third := f.submit(alike(nil)), f.submit(alike(nil)), f.submit(alike(nil))
	f.cancel(first) // before anybody has it
	f.want(first, build, run.TaskCanceled)
	w := f.hold(second, build)
	if _, err := f.lease(third, build, nil); !errors.Is(err, partition.ErrAborted) {
		t.Errorf("the third: %v", err)
	}
	f.end(w, run.OutcomeErrored) // it is tried again, after a pause
	if _, err := f.lease(third, build, nil); !errors.Is(err, partition.ErrAborted) {
		t.Errorf("the third, in the pause of the second: %v", err)
	}
	if err := f.tick(2e9); err != nil {
		t.Fatal(err)
	}
	f.imaged(f.hold(second, build))
	f.want(third, build, run.TaskReused)
}

// TestWhatOthersWaitForIsNotCanceled: the attempt goes on to its end, and is told to stop when the
// last of them has gone.
func TestWhatOthersWaitForIsNotCanceled(t *testing.T) {
	for _, c := range []struct {
		name string
		then func(f *farm, first, second string, w partition.Work)
	}{
		{"it succeeds", func(f *farm, first, second string, w partition.Work) {
			f.imaged(w)
			f.want(second, build, run.TaskReused)
			if r := f.run(first); r.State != run.Canceled || r.Message != "not wanted" {
				f.t.Errorf("the canceled run is %s: %s", r.State, r.Message)
			}
		}},
		{"it brings nothing", func(f *farm, first, second string, w partition.Work) {
			f.end(w, run.OutcomeErrored)
			f.want(first, build, run.TaskCanceled)
			f.imaged(f.hold(second, build))
			f.want(second, build, run.TaskSucceeded)
		}},
		{"nobody waits any more", func(f *farm, first, second string, w partition.Work) {
			f.cancel(second)
			f.want(second, build, run.TaskCanceled)
			if !f.task(first, build).Revoked {
				f.t.Errorf("it goes on for nobody")
			}
			f.end(w, run.OutcomeCanceled)
			if r := f.run(first); r.State != run.Canceled {
				f.t.Errorf("the canceled run is %s", r.State)
			}
		}},
	} {
		for _, replaced := range []bool{false, true} {
			name := c.name
			if replaced {
				name += ", after a new owner"
			}
			t.Run(name, func(t *testing.T) {
				f := open(t)
				first, second := f.submit(alike(nil)), f.submit(alike(nil))
				w := f.hold(first, build)
				f.cancel(first)
				if r := f.run(first); r.State != run.Stopping || f.task(first, build).Revoked {
					t.Fatalf("the run is %s, and its build revoked: %t", r.State, f.task(first, build).Revoked)
				}
				f.must(func(tx *partition.Tx) error {
					r, err := tx.Run(first)
					if kept := tx.Facts(r).Kept[1]; !slices.Equal(kept, []string{second}) {
						t.Errorf("it is kept for %v", kept)
					}
					return err
				})
				if replaced {
					if err := f.stop(); err != nil {
						t.Fatal(err)
					}
					f.owner = f.start()
					f.must(nothing)
					f.clock.advance(ttl / 2)
					if !f.reclaim(w.Ref, partition.Worker{Name: "w", Instance: "w's process"}) {
						t.Fatal("the lease is not taken back")
					}
					if err := f.tick(ttl/2 + 2e9); err != nil { // nobody can have what nobody knows of
						t.Fatal(err)
					}
				}
				c.then(f, first, second, w)
				f.again()
			})
		}
	}
}

func TestWhatIsUrgentDoesNotWaitForWhatIsNot(t *testing.T) {
	f := open(t)
	first := f.submit(alike(func(p *plan.Plan) { p.Class = plan.ClassLow }))
	second := f.submit(alike(func(p *plan.Plan) { p.Class = plan.ClassUrgent }))
	if _, err := f.lease(first, build, nil); !errors.Is(err, partition.ErrAborted) || !strings.Contains(err.Error(), "waits for run "+second) {
		t.Fatalf("the first: %v", err)
	}
	f.imaged(f.hold(second, build))
	f.want(first, build, run.TaskReused)
}

// TestWhatWasDoneSinceThePlanIsNotDoneAgain: when the task becomes ready, the work has ended.
func TestWhatWasDoneSinceThePlanIsNotDoneAgain(t *testing.T) {
	f := open(t)
	slow := alike(func(p *plan.Plan) {
		before := plan.Task{ID: "build/base", Kind: plan.KindBuild, Service: "base", Needs: []string{plan.CheckoutID}, Can: plan.CapabilityBuild, Build: &plan.Build{}}
		p.Tasks = slices.Insert(p.Tasks, 1, before)
		p.Tasks[2].Needs = append(p.Tasks[2].Needs, before.ID)
	})
	second := f.submit(slow)
	f.clock.advance(1e9)
	first := f.submit(alike(nil))
	f.imaged(f.hold(first, build))
	f.want(second, build, run.TaskPending)
	f.clock.advance(1e9)
	f.do(second, "build/base")
	if is := f.task(second, build); is.State != run.TaskReused || is.Result.Image != "image of "+first {
		t.Errorf("the build is %s, %+v", is.State, is.Result)
	}
	third := f.submit(alike(nil)) // its plan would have said so; who plans otherwise is believed
	f.want(third, build, run.TaskReady)
}
