package partition

import (
	"time"

	"github.com/slipway-build/slipway/coordinator/explain"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
)

// lastRuns is how many runs of a project say how long its tasks take.
const lastRuns = 20

// Facts are what explain needs to know of a run, a copy of this partition's, but for the
// queues of workers.
func (tx *Tx) Facts(r *run.Run) explain.Facts {
	o := tx.o
	// Deadlines are on the process's clock; people are shown the journal's.
	until := func(deadline time.Time) time.Time { return o.at.Add(deadline.Sub(o.cfg.Now())) }
	f := explain.Facts{
		Run: r, At: o.at, Orphans: map[int]time.Time{}, InTheWay: map[string]string{}, Groups: map[int]explain.InGroup{},
		Took: explain.Means(o.st.Runs(r.Project, lastRuns)),
	}
	if o.cfg.Now().Before(o.quiet) {
		f.Quiet, f.Claimed = until(o.quiet), o.claimed
	}
	for _, t := range r.Tasks {
		if l, ok := o.leases[o.token(r, t)]; ok && l.sink == nil {
			f.Orphans[t.Index] = until(l.deadline)
		}
		if g, ok := o.before(r, t); ok {
			f.Groups[t.Index] = g
		}
		if t.Spec.Kind == plan.KindRollout {
			if e, by := o.st.Project(r.Project).MayEnter(r, t.Spec.Target.Environment); e == project.EnterWait {
				f.InTheWay[t.Spec.Target.Environment] = by
			}
		}
	}
	return f
}

// Taken is how many leases are out, by capability.
func (tx *Tx) Taken() map[string]int {
	out := map[string]int{}
	for _, l := range tx.o.leases {
		out[l.t.Spec.Can]++
	}
	return out
}
