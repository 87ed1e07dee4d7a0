package partition_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

// crowd is a plan of six builds of one team, of which running may run at once, and one of
// nobody's.
func crowd(running int) *plan.Plan {
	p := &plan.Plan{
		Version: plan.Version, Project: "shop", Commit: strings.Repeat("a", 40), Teams: []plan.Team{{Name: "core", Share: 3, Running: running}},
		Tasks: []plan.Task{{ID: plan.CheckoutID, Kind: plan.KindCheckout}},
	}
	for _, s := range []string{"a", "b", "c", "d", "e", "f", "nobodys"} {
		t := plan.Task{ID: plan.BuildID(s), Kind: plan.KindBuild, Service: s, Team: "core", Can: plan.CapabilityBuild, Needs: []string{plan.CheckoutID}, Build: &plan.Build{}}
		if s == "nobodys" {
			t.Team = ""
		}
		p.Tasks = append(p.Tasks, t)
	}
	return p
}

func TestAQuotaIsALimitOfLeases(t *testing.T) {
	f := open(t)
	id := f.submit(crowd(2))
	first, second := f.hold(id, "build/a"), f.hold(id, "build/b")
	_, err := f.lease(id, "build/c", nil)
	if !errors.Is(err, partition.ErrAborted) || !strings.Contains(err.Error(), "quota of core: 2 of 2 tasks run") {
		t.Fatalf("the third lease of two: %v", err)
	}
	third := token(t, f, id, "build/c")
	f.board.mu.Lock()
	said := f.board.said[third]
	if n := f.board.running["core"]; n != 2 {
		t.Errorf("%d of the team's tasks are said to run, want 2", n)
	}
	f.board.mu.Unlock()
	if len(said) != 2 || said[1].Running != 2 || said[1].Share != 3 || said[1].Team != "core" {
		t.Errorf("of the task that has to wait was said: %+v, want it twice with its quota", said)
	}
	f.hold(id, "build/nobodys")
	f.end(first, run.OutcomeSucceeded)
	f.end(second, run.OutcomeFailed)
	f.do(id, "build/c")

	// What an owner inherits counts, and may be taken back whatever the quota says.
	held := f.hold(id, "build/d")
	f.hold(id, "build/e")
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	f.owner = f.start()
	f.must(nothing)
	w := partition.Worker{Name: "w", Instance: "w's process"}
	if !f.reclaim(held.Ref, w) {
		t.Error("a lease is not taken back")
	}
	f.clock.advance(ttl / 2)
	f.must(func(tx *partition.Tx) error { tx.Renew(held.Ref, w); return nil })
	if err := f.tick(ttl/2 + 2e9); err != nil { // the other one is lost, and the quiet time is over
		t.Fatal(err)
	}
	again := f.hold(id, "build/e")
	if _, err := f.lease(id, "build/f", nil); !errors.Is(err, partition.ErrAborted) {
		t.Errorf("with one lease inherited and one given: %v", err)
	}
	f.end(again, run.OutcomeSucceeded)
	f.hold(id, "build/f")
}

// TestWhatUndoesWaitsForNoQuota: a rollback is leased however many tasks of its team run.
func TestWhatUndoesWaitsForNoQuota(t *testing.T) {
	f := open(t)
	where := &plan.Target{Environment: "prod", Cluster: "eu", Namespace: "shop"}
	p := crowd(1)
	apply := func(kind plan.Kind, id string, needs ...string) plan.Task {
		return plan.Task{ID: id, Kind: kind, Service: "a", Team: "core", Target: where, Can: "deploy_eu", Needs: needs, Apply: &plan.Apply{Manifests: "build/a"}}
	}
	p.Tasks = append(p.Tasks,
		plan.Task{ID: plan.RolloutID("prod"), Kind: plan.KindRollout, Target: where, Needs: []string{plan.CheckoutID}},
		apply(plan.KindApply, plan.ApplyID("a", *where), plan.RolloutID("prod")),
		plan.Task{ID: plan.PromoteID("a", "prod"), Kind: plan.KindPromote, Service: "a", Target: where, Needs: []string{plan.ApplyID("a", *where)}})
	p.Rollbacks = []plan.Task{apply(plan.KindRollback, plan.RollbackID("a", *where), plan.ApplyID("a", *where))}
	id := f.submit(p)
	f.end(f.hold(id, plan.ApplyID("a", *where)), run.OutcomeFailed)
	f.hold(id, "build/a")
	f.hold(id, plan.RollbackID("a", *where))
	if _, err := f.lease(id, "build/b", nil); !errors.Is(err, partition.ErrAborted) {
		t.Errorf("it counts, though: %v", err)
	}
}

func token(t *testing.T, f *farm, id, task string) (token string) {
	t.Helper()
	f.must(func(tx *partition.Tx) error {
		r, err := tx.Run(id)
		if err != nil {
			return err
		}
		spec, ok := r.Find(task)
		if !ok {
			t.Fatalf("no task %s", task)
		}
		token = tx.Token(r, spec)
		return nil
	})
	return token
}
