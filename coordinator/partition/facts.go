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
		Run: r, At: o.at, Orphans: map[int]time.Time{}, InTheWay: map[string]string{}, Held: map[string]*project.Hold{}, Groups: o.behind(r), Shared: map[int]string{}, Kept: map[int][]string{},
		Took: explain.Means(o.st.Runs(r.Project, lastRuns)),
	}
	if o.cfg.Now().Before(o.quiet) {
		f.Quiet, f.Claimed = until(o.quiet), o.claimed
	}
	for _, t := range r.Tasks {
		if x := o.joined[o.token(r, t)]; x != nil {
			f.Shared[t.Index] = x.by.r.ID
		}
		if by := o.waitFor(r, t); len(by) > 0 {
			f.Kept[t.Index] = by
		}
		if l, ok := o.leases[o.token(r, t)]; ok && l.sink == nil {
			f.Orphans[t.Index] = until(l.deadline)
		}
		if t.Spec.Target != nil {
			f.Held[t.Spec.Target.Environment] = o.st.Project(r.Project).HoldOf(t.Spec.Target.Environment)
		}
		if t.Spec.Kind == plan.KindRollout {
			if e, by := o.st.Project(r.Project).MayEnter(r, t.Spec.Target.Environment); e == project.EnterWait {
				f.InTheWay[t.Spec.Target.Environment] = by
			}
		}
	}
	return f
}

// Held is a lease that is out.
type Held struct {
	Ref       Ref
	Run, Task string
	Can       string // the capability that it takes a slot of
	Worker    Worker // without an instance: it has not spoken to this owner yet
	LeasedAt  time.Time
}

// Leases that are out.
func (tx *Tx) Leases() []Held {
	out := make([]Held, 0, len(tx.o.leases))
	for _, l := range tx.o.leases {
		h := Held{Ref: l.ref, Run: l.r.ID, Task: l.t.Spec.ID, Can: l.t.Spec.Can, Worker: l.worker}
		if a := l.t.Current(); a != nil {
			h.LeasedAt = a.LeasedAt
		}
		out = append(out, h)
	}
	return out
}
