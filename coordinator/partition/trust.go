package partition

import (
	"fmt"
	"slices"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

// weigh decides whether the failure of a test is its own. One that may be the machine's is an error of the farm's,
// once: what the next worker says is believed.
func (o *owner) weigh(l *lease, rep *run.Report) {
	a := &rep.Attempt
	if o.cfg.Trust == nil || l.t.Spec.Kind != plan.KindTest {
		return
	}
	switch {
	case a.Outcome == run.OutcomeSucceeded:
		o.cfg.Trust.Passed(a.Worker)
	case a.Outcome != run.OutcomeFailed || run.Excused(l.t, *rep) || l.t.Revoked || doubted(l.t):
	case o.cfg.Trust.Failed(a.Worker, l.ref.Token, l.t.Spec.ID+" of run "+l.r.ID):
		a.Outcome, a.Class, a.Doubted = run.OutcomeErrored, run.ClassInfra, true
		a.Message = fmt.Sprintf("%s\n(on worker %s, where no test passes: it is carried out on another one before it is believed)", a.Message, a.Worker)
		o.cfg.Log.WarnContext(o.ctx, "the failure of a test is doubted: it may be the machine's", "run", l.r.ID, "task", l.t.Spec.ID, "worker", a.Worker)
	}
}

func doubted(t *run.Task) bool {
	return slices.ContainsFunc(t.Attempts, func(a run.Attempt) bool { return a.Doubted })
}

// judged says what became of a test that was doubted.
func (o *owner) judged(r *run.Run, t *run.Task) {
	if o.cfg.Trust == nil || !doubted(t) {
		return
	}
	o.cfg.Trust.Judged(o.token(r, t), t.State)
}
