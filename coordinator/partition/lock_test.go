package partition_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan/plantest"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/internal/natstest"
)

func open(t *testing.T) *farm {
	t.Helper()
	f := newFarm(t, natstest.Start(t).JetStream(t), 0)
	t.Cleanup(func() {
		if err := f.stop(); err != nil {
			t.Errorf("partition: %v", err)
		}
	})
	return f
}

// again has another owner take over, once the leases of the one before are over.
func (f *farm) again() {
	f.t.Helper()
	if err := f.stop(); err != nil {
		f.t.Fatalf("partition: %v", err)
	}
	f.owner = f.start()
	f.must(func(*partition.Tx) error { return nil })
}

func (f *farm) released(p *project.Project, environment, cluster string) string {
	f.t.Helper()
	s, _ := p.Stable(environment, cluster, "s0")
	return s.Run
}

func (f *farm) want(id, task string, want run.TaskState) {
	f.t.Helper()
	r := f.run(id)
	if t, ok := r.Find(task); !ok || t.State != want {
		f.t.Fatalf("%s of %s is not %s: %s", task, id, want, strings.Join(states(r), ", "))
	}
}

// built is a run of one service that is released and asks for the environment.
func (f *farm) built(name string, clusters ...string) string {
	f.t.Helper()
	id := f.submit(plantest.Shop(name, 1, 0, [][]string{clusters}))
	f.do(id, "build/s0")
	for _, c := range clusters {
		f.do(id, "render/s0@e0/"+c)
	}
	f.want(id, "release", run.TaskSucceeded)
	return id
}

func TestRunsEnterAnEnvironmentOneAfterTheOtherNewestFirst(t *testing.T) {
	f := open(t)
	first, second, third := f.built("shop", "a"), f.built("shop", "a"), f.built("shop", "a")
	f.want(first, "rollout/e0", run.TaskSucceeded)
	for _, id := range []string{second, third} {
		f.want(id, "rollout/e0", run.TaskReady)
		f.want(id, "apply/s0@e0/a", run.TaskPending)
		if _, err := f.lease(id, "rollout/e0", nil); !errors.Is(err, partition.ErrAborted) {
			t.Fatalf("a worker leases the lock itself: %v", err)
		}
	}
	other := f.built("bank", "a") // its e0 is another one
	f.do(other, "apply/s0@e0/a")
	f.want(other, "verified/e0", run.TaskSucceeded)

	f.again()
	if err := f.tick(2 * ttl); err != nil {
		t.Fatal(err)
	}
	f.want(second, "rollout/e0", run.TaskReady)
	f.do(first, "apply/s0@e0/a")
	f.want(third, "rollout/e0", run.TaskSucceeded)
	f.want(second, "rollout/e0", run.TaskCanceled) // what it would bring is in the newer one
	f.do(third, "apply/s0@e0/a")
	if r := f.run(second); r.State != run.Canceled || !strings.Contains(r.Message, "superseded: the newer run "+third) {
		t.Errorf("run %s is %s: %s", second, r.State, r.Message)
	}
	for _, id := range []string{first, third, other} {
		if r := f.run(id); r.State != run.Succeeded {
			t.Errorf("run %s is %s: %s", id, r.State, r.Message)
		}
	}
	if got := f.released(f.state().Project("shop"), "e0", "a"); got != third {
		t.Errorf("%q is stable, want %s", got, third)
	}
}

func TestARunThatComesAfterANewerOneIsSuperseded(t *testing.T) {
	for _, when := range []string{"while the newer one is there", "after it"} {
		t.Run(when, func(t *testing.T) {
			f := open(t)
			again := plantest.Shop("shop", 1, 0, [][]string{{"a"}, {"b"}})
			again.Rebuild = true // or it would wait for the newer one's build
			late := f.submit(again)
			newer := f.built("shop", "a")
			if when == "after it" {
				f.do(newer, "apply/s0@e0/a")
				f.want(newer, "verified/e0", run.TaskSucceeded)
			}
			f.do(late, "build/s0", "render/s0@e0/a", "render/s0@e1/b")
			f.want(late, "rollout/e0", run.TaskCanceled)
			f.want(late, "apply/s0@e1/b", run.TaskSkipped) // an environment does not get what the one before did not have
			r := f.run(late)
			if r.State != run.Canceled || !strings.Contains(r.Message, "superseded") || !strings.Contains(r.Message, newer) {
				t.Errorf("the run is %s: %s", r.State, r.Message)
			}
			if when != "after it" {
				f.do(newer, "apply/s0@e0/a")
			}
			if got := f.released(f.state().Project("shop"), "e0", "a"); got != newer {
				t.Errorf("%q is stable, want %s", got, newer)
			}
		})
	}
}

func TestCancelHalfWayTakesBackAndTheNextRunWaitsForIt(t *testing.T) {
	f := open(t)
	good := f.built("shop", "a", "b", "c")
	f.do(good, "apply/s0@e0/a", "apply/s0@e0/b", "apply/s0@e0/c")
	bad, next := f.built("shop", "a", "b", "c"), f.built("shop", "a")
	f.do(bad, "apply/s0@e0/a")
	g := &grip{}
	b, err := f.lease(bad, "apply/s0@e0/b", g)
	if err != nil {
		t.Fatal(err)
	}
	f.must(func(tx *partition.Tx) error { _, err := tx.Cancel(bad, "not wanted"); return err })

	f.want(bad, "promote/s0@e0", run.TaskCanceled)
	if !g.told.Load() {
		t.Error("the deployer that applies was not told to stop")
	}
	f.want(bad, "apply/s0@e0/c", run.TaskCanceled)
	f.want(bad, "rollback/s0@e0/a", run.TaskReady)
	f.want(next, "rollout/e0", run.TaskReady)
	back := f.hold(bad, "rollback/s0@e0/a")
	if d := cmp.Diff(project.Stable{Manifests: "manifests of " + good, Release: f.run(good).Release, Run: good}, back.Stable); d != "" {
		t.Errorf("what the rollback goes back to (-want +got):\n%s", d)
	}
	if back.Manifests != "manifests of "+bad {
		t.Errorf("the rollback undoes %q", back.Manifests)
	}
	f.end(back, run.OutcomeSucceeded)
	f.want(next, "rollout/e0", run.TaskReady) // b goes on

	f.again() // neither the cancel nor the lock is forgotten
	if err := f.tick(0); err != nil {
		t.Fatal(err)
	}
	f.must(func(tx *partition.Tx) error {
		if g.told.Store(false); !tx.Reclaim(b.Ref, partition.Worker{Name: "w", Instance: "w's process"}, g) || !g.told.Load() {
			t.Error("the deployer does not keep its lease, or is not told again to stop")
		}
		return nil
	})
	f.end(b, run.OutcomeCanceled)
	f.want(next, "rollout/e0", run.TaskReady)
	if err := f.tick(2 * ttl); err != nil {
		t.Fatal(err)
	}
	f.end(f.hold(bad, "rollback/s0@e0/b"), run.OutcomeErrored) // what was begun must be undone: again
	f.want(next, "rollout/e0", run.TaskReady)
	if err := f.tick(2 * ttl); err != nil {
		t.Fatal(err)
	}
	f.do(bad, "rollback/s0@e0/b")

	if _, ok := f.run(bad).Find("rollback/s0@e0/c"); ok {
		t.Error("a cluster is taken back that nothing was done to")
	}
	if r := f.run(bad); r.State != run.Canceled || r.Message != "not wanted" {
		t.Errorf("run %s is %s: %s", bad, r.State, r.Message)
	}
	f.want(next, "rollout/e0", run.TaskSucceeded)
	if got := f.released(f.state().Project("shop"), "e0", "a"); got != good {
		t.Errorf("%q is stable, want %s", got, good)
	}
}

func TestAFailedApplyKeepsTheEnvironmentUntilItIsTakenBack(t *testing.T) {
	f := open(t)
	bad, next := f.built("shop", "a", "b"), f.built("shop", "a")
	f.do(bad, "apply/s0@e0/a")
	f.end(f.hold(bad, "apply/s0@e0/b"), run.OutcomeFailed)
	f.want(next, "rollout/e0", run.TaskReady)
	back := f.hold(bad, "rollback/s0@e0/b")
	if back.Stable != (project.Stable{}) {
		t.Errorf("nothing was there before, and the rollback goes back to %+v", back.Stable)
	}
	f.end(back, run.OutcomeSucceeded)
	f.want(next, "rollout/e0", run.TaskReady)
	f.do(bad, "rollback/s0@e0/a")
	f.want(next, "rollout/e0", run.TaskSucceeded)
	if r := f.run(bad); r.State != run.Failed {
		t.Errorf("run %s is %s: %s", bad, r.State, r.Message)
	}
}

func TestARunThatIsCanceledWhileItWaitsDoesNotEnter(t *testing.T) {
	f := open(t)
	first, second, third := f.built("shop", "a"), f.built("shop", "a"), f.built("shop", "a")
	f.must(func(tx *partition.Tx) error { _, err := tx.Cancel(second, ""); return err })
	f.do(first, "apply/s0@e0/a")
	f.want(second, "rollout/e0", run.TaskCanceled)
	f.want(third, "rollout/e0", run.TaskSucceeded)
}
