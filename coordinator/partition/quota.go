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
	delete(o.joined, l.ref.Token)
	if l.t.Spec.Group != "" {
		o.group(l.r, l.t).in[l.ref.Token] = true
	}
	o.tally(l.t, 1)
	o.tallied(l, 1)
}

func (o *owner) drop(token string) {
	if l, ok := o.leases[token]; ok {
		delete(o.leases, token)
		o.regroups(l.r, l.t)
		o.tally(l.t, -1)
		o.tallied(l, -1)
	}
}

// tallied counts a lease by what it takes. Dispatch hears of the sum once a batch.
func (o *owner) tallied(l *lease, by int) {
	q := l.r.Plan.Quota(l.t.Spec.Team)
	load := Load{Capability: l.t.Spec.Can, Class: l.r.Plan.ClassOf(l.t.Spec), Team: q.Name, Share: q.Share, Project: l.r.Project}
	o.leased[load] += by
	o.recount[load] = true
}

// recounted tells dispatch what changed.
func (o *owner) recounted() {
	for l := range o.recount {
		o.cfg.Dispatch.Leased(o.cfg.Number, l, o.leased[l])
		if o.leased[l] == 0 {
			delete(o.leased, l)
		}
	}
	clear(o.recount)
}

// tally counts a task of a team that is leased, or is no more. Dispatch hears of it at once:
// partitions share what a team may have.
func (o *owner) tally(t *run.Task, by int) {
	team := t.Spec.Team
	if team == "" {
		return
	}
	o.teams[team] += by
	o.cfg.Dispatch.Running(o.cfg.Number, team, o.teams[team])
}

// full is the error of a lease that the quota of the task's team does not allow now.
// Whoever asks for it had an old hint: the task waits among the others again. What is
// urgent waits for no quota.
func (o *owner) full(r *run.Run, t *run.Task) error {
	if t.Spec.Team == "" || r.Plan.ClassOf(t.Spec) == plan.ClassUrgent {
		return nil
	}
	q := r.Plan.Quota(t.Spec.Team)
	if q.Running == 0 {
		return nil
	}
	room, ok := o.cfg.Dispatch.Room(o.cfg.Number, q.Name, q.Running)
	if ok {
		return nil
	}
	o.forget(r, t)
	o.release(r, t)
	return fmt.Errorf("task %s: quota of %s: %d of %d tasks run, and this coordinator may have %d: %w", t.Spec.ID, q.Name, room.Running, room.Limit, room.May, ErrAborted)
}
