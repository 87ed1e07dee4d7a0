package partition_test

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/plan/plantest"
	"github.com/slipway-build/slipway/coordinator/run"
)

// oneWay makes the applies of a plan carry out a migration that cannot be undone.
func oneWay(p *plan.Plan) {
	for i := range p.Tasks {
		if t := &p.Tasks[i]; t.Kind == plan.KindApply {
			a := *t.Apply
			a.OneWay = true
			t.Apply = &a
		}
	}
}

// bold is careful of a run whose environment is not held when something fails.
func (f *farm) bold(change func(*plan.Plan)) string {
	f.t.Helper()
	p := plantest.Shop("shop", 1, 0, [][]string{{"a", "b"}})
	p.Rebuild = true
	change(p)
	id := f.submit(p)
	f.do(id, "build/s0", "render/s0@e0/a", "render/s0@e0/b")
	return id
}

func asItIs(*plan.Plan) {}

// TestNothingGoesBackAcrossAMigrationThatCannotBeUndone by itself, nor does a later release, until one is good.
func TestNothingGoesBackAcrossAMigrationThatCannotBeUndone(t *testing.T) {
	f := open(t)
	good := f.bold(asItIs)
	f.do(good, "apply/s0@e0/a", "apply/s0@e0/b")
	bad := f.bold(oneWay)
	f.do(bad, "apply/s0@e0/a")
	f.end(f.hold(bad, "apply/s0@e0/b"), run.OutcomeFailed)
	stays := func(id string, clusters ...string) {
		t.Helper()
		for _, c := range clusters {
			f.want(id, "rollback/s0@e0/"+c, run.TaskSkipped)
			if said := f.task(id, "rollback/s0@e0/"+c).Message; !strings.Contains(said, "cannot be undone") || !strings.Contains(said, bad) {
				t.Errorf("%s: %s", c, said)
			}
		}
		if r := f.run(id); r.State != run.Failed {
			t.Errorf("run %s is %s: %s", id, r.State, r.Message)
		}
	}
	stays(bad, "a", "b")
	f.again()
	next := f.bold(asItIs) // does not migrate, and what is good is from before the migration all the same
	f.end(f.hold(next, "apply/s0@e0/a"), run.OutcomeFailed)
	stays(next, "a")
	mended := f.bold(asItIs)
	f.do(mended, "apply/s0@e0/a", "apply/s0@e0/b")
	f.want(mended, "promote/s0@e0", run.TaskSucceeded)
	worse := f.bold(asItIs)
	f.end(f.hold(worse, "apply/s0@e0/a"), run.OutcomeFailed)
	back := f.hold(worse, "rollback/s0@e0/a")
	if back.Stable.Run != mended {
		t.Errorf("the rollback goes back to %+v, want %s", back.Stable, mended)
	}
	f.end(back, run.OutcomeSucceeded)
}

// TestWhatHasNotMigratedGoesBack: before the migration is begun there is nothing in the way.
func TestWhatHasNotMigratedGoesBack(t *testing.T) {
	f := open(t)
	good := f.bold(asItIs)
	f.do(good, "apply/s0@e0/a", "apply/s0@e0/b")
	id := f.bold(func(p *plan.Plan) { plantest.Canary(p, 10, 50); oneWay(p) })
	f.do(id, "shift/s0@e0/a:10")
	f.end(f.hold(id, "shift/s0@e0/b:10"), run.OutcomeFailed)
	f.do(id, "rollback/s0@e0/b")
	f.want(id, "promote/s0@e0", run.TaskSkipped)
}
