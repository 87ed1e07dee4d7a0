package replay_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/replay"
)

func each(n int) replay.Slots { return func(string) int { return n } }

// draw makes runs of any shape.
func draw(t *rapid.T) []replay.Run {
	runs := make([]replay.Run, rapid.IntRange(1, 4).Draw(t, "runs"))
	for i := range runs {
		p := &plan.Plan{Project: fmt.Sprint("p", i%2), Class: rapid.SampledFrom([]string{"", plan.ClassUrgent, plan.ClassLow}).Draw(t, "class")}
		runs[i] = replay.Run{ID: fmt.Sprint("run", i), Plan: p, Took: map[string]time.Duration{}}
		if i > 0 {
			runs[i].At = time.Duration(rapid.IntRange(0, 50).Draw(t, "at")) * time.Second
		}
		for n := range rapid.IntRange(1, 12).Draw(t, "tasks") {
			task := plan.Task{ID: fmt.Sprint("build/", n), Kind: plan.KindBuild, Can: rapid.SampledFrom([]string{"build", "render", ""}).Draw(t, "capability")}
			for before := range n {
				if rapid.IntRange(0, 3).Draw(t, "edge") == 0 {
					task.Needs = append(task.Needs, fmt.Sprint("build/", before))
				}
			}
			p.Tasks = append(p.Tasks, task)
			if rapid.IntRange(0, 9).Draw(t, "begun") > 0 {
				runs[i].Took[task.ID] = time.Duration(rapid.IntRange(0, 20).Draw(t, "took")) * time.Second
			}
		}
	}
	return runs
}

// TestAReplayIsASchedule: whatever the runs and slots, each task that was carried out is so
// once, for as long, behind what it needs, on a slot; no slot is idle while a task waits for
// it; no makespan beats the bound, and with slots without end it is the critical path.
func TestAReplayIsASchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		runs := draw(t)
		n := rapid.IntRange(0, 5).Draw(t, "slots")
		out, err := replay.Replay(runs, each(n))
		if err != nil {
			t.Fatal(err)
		}
		want, end := 0, map[string]replay.Placed{}
		for _, p := range out.Tasks {
			end[p.Run+p.Task] = p
		}
		for _, r := range runs {
			want += len(r.Took)
			for _, task := range r.Plan.Tasks {
				took, begun := r.Took[task.ID]
				p, ok := end[r.ID+task.ID]
				switch {
				case ok != begun:
					t.Fatalf("%s of %s: carried out %t, want %t", task.ID, r.ID, ok, begun)
				case !ok:
					continue
				case p.End-p.Start != took || p.Start < p.Ready || p.Ready < r.At:
					t.Fatalf("%+v took %s, want %s, accepted at %s", p, p.End-p.Start, took, r.At)
				}
				for _, need := range task.Needs {
					if before, ok := end[r.ID+need]; ok && before.End > p.Start {
						t.Fatalf("%+v needs %+v", p, before)
					}
				}
			}
		}
		if len(out.Tasks) != want {
			t.Fatalf("%d tasks carried out, want %d", len(out.Tasks), want)
		}
		taken(t, out.Tasks, n)
		if out.Makespan < out.Bound || out.Utilization > 1+1e-9 {
			t.Fatalf("makespan %s, bound %s, utilization %f", out.Makespan, out.Bound, out.Utilization)
		}
		again, err := replay.Replay(runs, each(n))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(out) {
			t.Fatalf("a second time: %+v, %v; the first: %+v", again, err, out)
		}
		all, err := replay.Replay(runs, each(0))
		if err != nil || all.WaitMax != 0 || all.Bound != replay.CriticalPath(runs) || want > 0 && all.Makespan != max(all.Bound, last(runs)) {
			t.Fatalf("with slots without end: %+v, %v; critical path %s", all, err, replay.CriticalPath(runs))
		}
	})
}

// last is when the last run is accepted: one of which nothing was carried out takes no time.
func last(runs []replay.Run) (at time.Duration) {
	for _, r := range runs {
		at = max(at, r.At)
	}
	return at
}

// taken checks at each beginning that no more slots are taken than there are, and that
// nothing waits for one that is free.
func taken(t *rapid.T, tasks []replay.Placed, slots int) {
	if slots == 0 {
		return
	}
	for _, at := range tasks {
		for _, capability := range []string{"build", "render"} {
			busy, waiting := 0, 0
			for _, p := range tasks {
				switch {
				case p.Capability != capability:
				case p.Start <= at.Start && at.Start < p.End:
					busy++
				case p.Ready <= at.Start && at.Start < p.Start:
					waiting++
				}
			}
			if busy > slots || waiting > 0 && busy < slots {
				t.Fatalf("at %s %d of %d slots for %s are taken, and %d tasks wait", at.Start, busy, slots, capability, waiting)
			}
		}
	}
}

func TestAnUrgentRunGoesFirst(t *testing.T) {
	var runs []replay.Run
	for _, class := range []string{plan.ClassLow, plan.ClassUrgent} {
		r := replay.Run{ID: class, Plan: &plan.Plan{Project: "shop", Class: class}, Took: map[string]time.Duration{}}
		for i := range 10 {
			id := fmt.Sprint("build/", i)
			r.Plan.Tasks = append(r.Plan.Tasks, plan.Task{ID: id, Kind: plan.KindBuild, Can: plan.CapabilityBuild})
			r.Took[id] = time.Minute
		}
		runs = append(runs, r)
	}
	out, err := replay.Replay(runs, each(2))
	if err != nil {
		t.Fatal(err)
	}
	early := 0
	for _, p := range out.Tasks[:11] {
		if p.Run == plan.ClassUrgent {
			early++
		}
	}
	if early != 10 || out.Makespan != 10*time.Minute || out.Bound != 10*time.Minute || out.Utilization != 1 || out.WaitMax != 9*time.Minute || out.WaitP50 != 4*time.Minute {
		t.Errorf("%d of the first 11 tasks are the urgent run's; %+v", early, out)
	}
}
