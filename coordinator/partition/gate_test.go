package partition_test

import (
	"errors"
	"slices"
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
	f.must(func(tx *partition.Tx) error {
		if _, err := tx.Abort("shop", "e0", ""); !errors.Is(err, partition.ErrNothing) {
			t.Errorf("it is aborted twice: %v", err)
		}
		return nil
	})
	if !g.told.Load() {
		t.Error("who watches was not told to stop")
	}
	f.do(id, "rollback/s0@e0/a") // where nobody works any more
	if _, ok := f.run(id).Find("rollback/s0@e0/b"); ok {
		t.Error("b is taken back while somebody works on it")
	}
	f.end(watching, run.OutcomeFailed) // it had its own answer before it heard
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

// asked is a run that waits for two approvals of sre, a fortnight at most.
func (f *farm) asked() string {
	return f.careful(func(p *plan.Plan) {
		ask := plan.Task{
			ID: plan.ApproveID("e0"), Kind: plan.KindApprove, Target: &plan.Target{Environment: "e0"}, Needs: []string{plan.ReleaseID},
			Approve: &plan.Approve{Team: "sre", Min: 2, Within: 14 * 24 * 3600},
		}
		for i := range p.Tasks {
			if p.Tasks[i].Kind == plan.KindRollout {
				p.Tasks[i].Needs = append(p.Tasks[i].Needs, ask.ID)
				p.Tasks = slices.Insert(p.Tasks, i, ask)
				return
			}
		}
	})
}

func (f *farm) answer(id string, a run.Answer, reject bool) (err error) {
	f.must(func(tx *partition.Tx) error {
		_, err = tx.Answer(id, "e0", a, reject)
		return nil
	})
	return err
}

func TestApprovals(t *testing.T) {
	f := open(t)
	id := f.asked()
	f.want(id, "approve/e0", run.TaskReady)
	release := f.run(id).Release
	for name, c := range map[string]struct {
		a    run.Answer
		says string
	}{
		"of another group":              {run.Answer{By: "bob", Groups: []string{"dev"}}, "needs approvals of the group sre, and bob is not in it"},
		"of who asked":                  {run.Answer{By: "anna", Groups: []string{"sre"}}, "needs the approval of somebody else"},
		"of another release":            {run.Answer{By: "eve", Groups: []string{"sre"}, Release: "sha256:1"}, "and not sha256:1, which was looked at"},
		"of who asked, who administers": {run.Answer{By: "anna", Administer: true}, "needs the approval of somebody else"},
	} {
		for _, reject := range []bool{false, true} {
			if reject && strings.HasPrefix(name, "of who asked") {
				continue // they may change their mind
			}
			var refusal *run.RefusalError
			if err := f.answer(id, c.a, reject); !errors.As(err, &refusal) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s, to reject %t: %v", name, reject, err)
			}
		}
	}
	for range 2 { // the same person twice is one
		if err := f.answer(id, run.Answer{By: "eve", Groups: []string{"sre"}, Release: release, Reason: "looks good"}, false); err != nil {
			t.Fatal(err)
		}
	}
	f.want(id, "rollout/e0", run.TaskPending)
	f.again()
	if w := f.why(id, "approve/e0"); w.Reason != explain.Approval || !strings.Contains(w.Message, "e0 needs 1 more of the group sre, and has 1, not of who asked for the run") || !strings.Contains(w.Message, "slipway rollout approve "+id+" e0") {
		t.Errorf("it says %+v", w)
	}
	if err := f.answer(id, run.Answer{By: "carl", Groups: []string{"dev", "sre"}}, false); err != nil {
		t.Fatal(err)
	}
	f.want(id, "approve/e0", run.TaskSucceeded)
	f.want(id, "rollout/e0", run.TaskSucceeded)
	if err := f.answer(id, run.Answer{By: "dora", Groups: []string{"sre"}}, false); err == nil || !strings.Contains(err.Error(), "does not ask for approvals for e0 any more: succeeded approved by eve, carl") {
		t.Errorf("an approval counts afterwards: %v", err)
	}
	f.do(id, "apply/s0@e0/a", "apply/s0@e0/b")
	f.want(id, "verified/e0", run.TaskSucceeded)

	old := f.asked()
	newer := f.careful(nil)
	f.do(newer, "apply/s0@e0/a", "apply/s0@e0/b")
	if err := f.tick(0); err != nil {
		t.Fatal(err)
	}
	if r := f.run(old); r.State != run.Canceled || !strings.Contains(r.Message, "superseded: the newer run "+newer) {
		t.Errorf("a run that asks while a newer one is there is %s: %s", r.State, r.Message)
	}
	no, late := f.asked(), f.asked()
	if err := f.answer(no, run.Answer{By: "eve", Groups: []string{"sre"}, Reason: "not on Friday"}, true); err != nil {
		t.Fatal(err)
	}
	if r := f.run(no); r.State != run.Failed || !strings.Contains(r.Message, "rejected by eve: not on Friday") {
		t.Errorf("the run is %s: %s", r.State, r.Message)
	}
	if err := f.tick(14*24*time.Hour - time.Minute); err != nil {
		t.Fatal(err)
	}
	f.want(late, "approve/e0", run.TaskReady)
	if err := f.tick(2 * time.Minute); err != nil {
		t.Fatal(err)
	}
	if r := f.run(late); r.State != run.Failed || !strings.Contains(r.Message, "0 of 2 approvals of the group sre within 336h0m0s") {
		t.Errorf("the run is %s: %s", r.State, r.Message)
	}
	f.want(late, "rollout/e0", run.TaskSkipped)
}

// TestTheNewestIsFirstWhenAWindowOpens of the runs that waited for it, and the others give way.
func TestTheNewestIsFirstWhenAWindowOpens(t *testing.T) {
	f := open(t)
	tomorrow := []int{(int(f.clock.Now().UTC().Weekday()) + 1) % 7}
	waits := func() string {
		return f.careful(func(p *plan.Plan) {
			for i := range p.Tasks {
				if p.Tasks[i].Kind == plan.KindRollout {
					p.Tasks[i].Windows = []plan.Window{{Name: "then", Zone: "UTC", Hours: []plan.Hours{{Days: tomorrow, To: 24 * 60}}}}
				}
			}
		})
	}
	first, second, third := waits(), waits(), waits()
	if err := f.tick(24 * time.Hour); err != nil {
		t.Fatal(err)
	}
	f.want(third, "rollout/e0", run.TaskSucceeded)
	f.want(first, "rollout/e0", run.TaskCanceled)
	f.want(second, "rollout/e0", run.TaskCanceled)
}

// TestAWindow: the farm's clock begins on a day; the window is open on one weekday alone.
func TestAWindow(t *testing.T) {
	f := open(t)
	today := int(f.clock.Now().UTC().Weekday())
	id := f.careful(func(p *plan.Plan) {
		for i := range p.Tasks {
			if p.Tasks[i].Kind == plan.KindRollout {
				p.Tasks[i].Windows = []plan.Window{{Name: "then", Zone: "UTC", Hours: []plan.Hours{{Days: []int{(today + 2) % 7}, From: 0, To: 24 * 60}}}}
			}
		}
	})
	f.want(id, "rollout/e0", run.TaskReady)
	w := f.why(id, "rollout/e0")
	if w.Reason != explain.Window || !strings.Contains(w.Message, "e0 is closed (then); it opens at") || w.Estimate <= 0 {
		t.Errorf("it says %+v", w)
	}
	if err := f.tick(w.Estimate - time.Second); err != nil {
		t.Fatal(err)
	}
	f.want(id, "rollout/e0", run.TaskReady)
	f.again()
	if err := f.tick(2 * time.Minute); err != nil {
		t.Fatal(err)
	}
	f.want(id, "rollout/e0", run.TaskSucceeded)
}

// TestACanaryOfWhatServesAlready tries nothing: with hundreds of services nearly all of them are as they were.
func TestACanaryOfWhatServesAlready(t *testing.T) {
	f := open(t)
	canary := func(digest string) string {
		p := plantest.Canary(plantest.Shop("shop", 1, 0, [][]string{{"a"}}), 10, 50)
		for i := range p.Tasks {
			if p.Tasks[i].Kind == plan.KindRender {
				p.Tasks[i].Reuse = &plan.Reuse{Run: "shop-0", Result: plan.Result{Manifests: digest}}
			}
		}
		id := f.submit(p)
		if r := f.run(id); r.State == run.Running {
			if b, _ := r.Find("build/s0"); b.State == run.TaskReady {
				f.do(id, "build/s0")
			}
		}
		return id
	}
	first := canary("sha256:1")
	f.do(first, "shift/s0@e0/a:10", "analyze/s0@e0/a:10", "shift/s0@e0/a:50", "analyze/s0@e0/a:50", "apply/s0@e0/a")
	same := canary("sha256:1")
	for _, task := range []string{"shift/s0@e0/a:10", "analyze/s0@e0/a:10", "step/s0@e0:10", "shift/s0@e0/a:50", "analyze/s0@e0/a:50"} {
		f.want(same, task, run.TaskSucceeded)
	}
	shift, _ := f.run(same).Find("shift/s0@e0/a:50")
	if len(shift.Attempts) > 0 || !strings.Contains(shift.Message, "the same manifests") {
		t.Errorf("%d attempts, and it says %q", len(shift.Attempts), shift.Message)
	}
	f.do(same, "apply/s0@e0/a") // sees to it that it is so
	other := canary("sha256:2")
	f.want(other, "shift/s0@e0/a:10", run.TaskReady)
}
