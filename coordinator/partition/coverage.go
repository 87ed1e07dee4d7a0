package partition

import (
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

// lookedAt is how many of the newest runs are looked at for what a base commit covered.
const lookedAt = 1000

// compared is what a test covers beside what it covered at the base commit of the run, as far as a run of that is
// remembered. A worker has no say in that.
func (o *owner) compared(r *run.Run, t *run.Task, c *plan.Coverage) *plan.Coverage {
	if c == nil {
		return nil
	}
	out := *c
	out.Before = nil
	if r.Plan.Base == "" {
		return &out
	}
	for _, old := range o.st.Runs(r.Project, lookedAt) {
		if old.Commit != r.Plan.Base || old.State != run.Succeeded {
			continue
		}
		if was, ok := old.Find(t.Spec.ID); ok && was.Result.Coverage != nil {
			out.Before = &plan.CoverageBefore{Run: old.ID, Covered: was.Result.Coverage.Covered, Total: was.Result.Coverage.Total}
			break
		}
	}
	return &out
}
