package partition

import (
	"fmt"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

// take notes a lease, and drop that it is over. Nothing else changes which there are, so
// the counts of teams are those of the leases.
func (o *owner) take(l *lease) {
	o.leases[l.ref.Token] = l
	o.tally(l.t, 1)
	o.tallied(l.t.Spec.Can, 1)
}

func (o *owner) drop(token string) {
	if l, ok := o.leases[token]; ok {
		delete(o.leases, token)
		o.tally(l.t, -1)
		o.tallied(l.t.Spec.Can, -1)
	}
}

// tallied counts a lease of a capability. Dispatch hears of the sum once a batch.
func (o *owner) tallied(capability string, by int) {
	o.leased[capability] += by
	o.recount[capability] = true
}

// recounted tells dispatch what changed.
func (o *owner) recounted() {
	for c := range o.recount {
		o.cfg.Dispatch.Leased(o.cfg.Number, c, o.leased[c])
		if o.leased[c] == 0 {
			delete(o.leased, c)
		}
	}
	clear(o.recount)
}

// tally counts a task of a team that is leased, or is no more.
func (o *owner) tally(t *run.Task, by int) {
	team := t.Spec.Team
	if team == "" {
		return
	}
	o.teams[team] += by
	n := o.teams[team]
	o.after = append(o.after, func() { o.cfg.Dispatch.Running(o.cfg.Number, team, n) })
}

// full is the error of a lease that the quota of the task's team does not allow now.
// Whoever asks for it had an old hint: the task waits among the others again. What is
// urgent waits for no quota.
func (o *owner) full(r *run.Run, t *run.Task) error {
	if t.Spec.Team == "" || r.Plan.ClassOf(t.Spec) == plan.ClassUrgent {
		return nil
	}
	q := r.Plan.Quota(t.Spec.Team)
	if q.Running == 0 || o.teams[q.Name] < q.Running {
		return nil
	}
	o.forget(r.ID, t.Spec.ID)
	o.release(r, t)
	return fmt.Errorf("task %s: quota of %s: %d of %d tasks run: %w", t.Spec.ID, q.Name, o.teams[q.Name], q.Running, ErrAborted)
}
