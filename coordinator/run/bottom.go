package run

import (
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
)

// Bottom is how long the rest of the run takes at least once the task may begin, with
// workers without end: the longest path from it, with it. Of ready tasks of a run the one
// with the longest path has the least slack.
func (r *Run) Bottom(t *Task) time.Duration { return t.bottom }

// paths says how long the rest is behind each task. What needs a task comes behind it.
func (r *Run) paths(took func(task string) time.Duration) {
	for i := len(r.Tasks) - 1; i >= 0; i-- {
		t := r.Tasks[i]
		var rest time.Duration
		for _, k := range t.kids {
			rest = max(rest, r.Tasks[k].bottom)
		}
		t.bottom = rest + expected(t.Spec, took)
	}
}

// expected is how long a task will take: as it did before, or as its kind does.
func expected(t *plan.Task, took func(task string) time.Duration) time.Duration {
	if took != nil && t.Reuse == nil {
		if d := took(t.ID); d > 0 {
			return d
		}
	}
	return usual(t)
}

// usual is how long a task takes when nothing is known of it: only the proportions count.
func usual(t *plan.Task) time.Duration {
	if t.Reuse != nil {
		return 0
	}
	switch t.Kind {
	case plan.KindBuild:
		return 2 * time.Minute
	case plan.KindTest:
		return time.Minute
	case plan.KindAnalyze:
		return time.Duration(t.Analyze.Pause) * time.Second
	case plan.KindApply, plan.KindShift, plan.KindRollback, plan.KindCatchUp:
		return 30 * time.Second
	case plan.KindRender, plan.KindDiff, plan.KindScan:
		return 2 * time.Second
	case plan.KindCheckout, plan.KindGather, plan.KindFindings, plan.KindSign, plan.KindRelease, plan.KindApprove, plan.KindRollout, plan.KindStep, plan.KindWave, plan.KindPromote, plan.KindVerified:
		return time.Duration(t.Wait) * time.Second
	}
	return 0
}
