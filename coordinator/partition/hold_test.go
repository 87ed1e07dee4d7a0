package partition_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/coordinator/explain"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/plan/plantest"
	"github.com/slipway-build/slipway/coordinator/run"
)

// careful is a run whose environment is held when something fails, released and waiting for the environment.
func (f *farm) careful(change func(*plan.Plan)) string {
	f.t.Helper()
	p := plantest.Shop("shop", 1, 0, [][]string{{"a", "b"}})
	p.Rebuild = true
	if change != nil {
		change(p)
	}
	for i := range p.Tasks {
		p.Tasks[i].Hold = p.Tasks[i].Kind == plan.KindRollout
	}
	id := f.submit(p)
	f.do(id, "build/s0", "render/s0@e0/a", "render/s0@e0/b")
	return id
}

func TestAHoldSurvivesThreeFurtherPushesAndAnotherOwner(t *testing.T) {
	f := open(t)
	good := f.careful(nil)
	f.do(good, "apply/s0@e0/a", "apply/s0@e0/b")
	bad := f.careful(nil)
	f.do(bad, "apply/s0@e0/a")
	f.end(f.hold(bad, "apply/s0@e0/b"), run.OutcomeFailed)
	f.do(bad, "rollback/s0@e0/a", "rollback/s0@e0/b")
	if r := f.run(bad); r.State != run.Failed {
		t.Fatalf("the run is %s: %s", r.State, r.Message)
	}
	var pushes []string
	for range 3 {
		pushes = append(pushes, f.careful(nil))
	}
	f.again()
	if err := f.tick(2 * ttl); err != nil {
		t.Fatal(err)
	}
	for _, id := range pushes {
		f.want(id, "rollout/e0", run.TaskReady)
		if w := f.why(id, "rollout/e0"); w.Reason != explain.Held || !strings.Contains(w.Message, "rollout of run "+bad+" failed") || !strings.Contains(w.Message, "apply/s0@e0/b failed") {
			t.Errorf("it says %+v", w)
		}
	}
	f.must(func(tx *partition.Tx) error { return tx.Free("shop", "e0", "ann", "mended") })
	f.want(pushes[2], "rollout/e0", run.TaskSucceeded)
	f.want(pushes[0], "rollout/e0", run.TaskCanceled)
	f.want(pushes[1], "rollout/e0", run.TaskCanceled)
	f.do(pushes[2], "apply/s0@e0/a", "apply/s0@e0/b")
	if got := f.released(f.state().Project("shop"), "e0", "a"); got != pushes[2] {
		t.Errorf("%q is stable, want %s", got, pushes[2])
	}
	f.must(func(tx *partition.Tx) error {
		if err := tx.Free("shop", "e0", "ann", ""); !errors.Is(err, partition.ErrNothing) {
			t.Errorf("what is not held is freed: %v", err)
		}
		if err := tx.Hold("shop", "e9", "ann", "", false); !errors.Is(err, partition.ErrNotFound) {
			t.Errorf("an environment that nobody knows is held: %v", err)
		}
		return nil
	})
}

// TestAPause: what was handed out already is not given away, what goes on ends, and nothing more begins, until it is resumed.
func TestAPause(t *testing.T) {
	f := open(t)
	id := f.careful(func(p *plan.Plan) { plantest.Canary(p, 50) })
	f.do(id, "shift/s0@e0/a:50")
	going := f.hold(id, "shift/s0@e0/b:50")
	f.must(func(tx *partition.Tx) error { return tx.Hold("shop", "e0", "ann", "looks odd", true) })
	f.end(going, run.OutcomeSucceeded)
	f.do(id, "analyze/s0@e0/a:50", "analyze/s0@e0/b:50") // who watches changes nothing
	f.want(id, "step/s0@e0:50", run.TaskReady)
	f.again()
	if err := f.tick(2 * ttl); err != nil {
		t.Fatal(err)
	}
	f.want(id, "step/s0@e0:50", run.TaskReady)
	if w := f.why(id, "step/s0@e0:50"); w.Reason != explain.Held || !strings.Contains(w.Message, "e0 is paused by ann") || !strings.Contains(w.Message, "looks odd") {
		t.Errorf("it says %+v", w)
	}
	f.must(func(tx *partition.Tx) error { return tx.Free("shop", "e0", "ann", "") })
	f.want(id, "step/s0@e0:50", run.TaskSucceeded)

	f.must(func(tx *partition.Tx) error { return tx.Hold("shop", "e0", "ann", "", true) })
	if _, err := f.lease(id, "apply/s0@e0/a", nil); !errors.Is(err, partition.ErrAborted) {
		t.Errorf("a paused apply is leased: %v", err)
	}
	f.must(func(tx *partition.Tx) error { return tx.Free("shop", "e0", "ann", "") })
	f.do(id, "apply/s0@e0/a", "apply/s0@e0/b")
	f.want(id, "verified/e0", run.TaskSucceeded)
}

// TestAnAbortTakesBackWhatACanaryDid in every cluster, also while the environment is paused.
func TestAnAbortTakesBackWhatACanaryDid(t *testing.T) {
	f := open(t)
	good := f.careful(nil)
	f.do(good, "apply/s0@e0/a", "apply/s0@e0/b")
	id := f.careful(func(p *plan.Plan) { plantest.Canary(p, 10, 50) })
	f.do(id, "shift/s0@e0/a:10", "shift/s0@e0/b:10", "analyze/s0@e0/a:10")
	g := &grip{}
	watching, err := f.lease(id, "analyze/s0@e0/b:10", g)
	if err != nil {
		t.Fatal(err)
	}
	f.must(func(tx *partition.Tx) error { return tx.Hold("shop", "e0", "ann", "", true) })
	f.must(func(tx *partition.Tx) error { _, err := tx.Abort("shop", "e0", "aborted by ann"); return err })
	if !g.told.Load() {
		t.Error("who watches was not told to stop")
	}
	f.do(id, "rollback/s0@e0/a") // where nobody works any more
	if _, ok := f.run(id).Find("rollback/s0@e0/b"); ok {
		t.Error("b is taken back while somebody works on it")
	}
	f.end(watching, run.OutcomeCanceled)
	f.do(id, "rollback/s0@e0/b")
	if r := f.run(id); r.State != run.Canceled || !strings.Contains(r.Message, "aborted by ann") {
		t.Errorf("the run is %s: %s", r.State, r.Message)
	}
	if got := f.released(f.state().Project("shop"), "e0", "a"); got != good {
		t.Errorf("%q is stable, want %s", got, good)
	}
	f.must(func(tx *partition.Tx) error {
		if _, err := tx.Abort("shop", "e0", ""); !errors.Is(err, partition.ErrNothing) {
			t.Errorf("what does not go on is aborted: %v", err)
		}
		return nil
	})
}

// TestASoak: a wave and an environment are passed when their time is over, by journal time, whoever owns the partition.
func TestASoak(t *testing.T) {
	f := open(t)
	id := f.careful(func(p *plan.Plan) {
		plantest.OneByOne(p)
		for i := range p.Tasks {
			if p.Tasks[i].Kind == plan.KindWave {
				p.Tasks[i].Wait = 3600
			}
		}
	})
	f.do(id, "apply/s0@e0/a")
	f.want(id, "wave/e0/a", run.TaskReady)
	if w := f.why(id, "wave/e0/a"); w.Reason != explain.Soak || w.Estimate <= 0 || w.Estimate > time.Hour {
		t.Errorf("it says %+v", w)
	}
	f.again()
	if err := f.tick(59 * time.Minute); err != nil {
		t.Fatal(err)
	}
	f.want(id, "wave/e0/a", run.TaskReady)
	if err := f.tick(2 * time.Minute); err != nil {
		t.Fatal(err)
	}
	f.want(id, "wave/e0/a", run.TaskSucceeded)
	f.do(id, "apply/s0@e0/b")
	f.want(id, "verified/e0", run.TaskSucceeded)
}
