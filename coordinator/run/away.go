package run

import (
	"fmt"

	"github.com/slipway-build/slipway/coordinator/plan"
)

// goesOn says that a release goes on without the cluster that an attempt could not reach: the environment tolerates that, or it
// goes on without it already.
func (r *Run) goesOn(t *Task, a Attempt, exhausted bool) bool {
	switch t.Spec.Kind {
	case plan.KindApply, plan.KindShift, plan.KindAnalyze:
	default:
		return false
	}
	env, cluster := t.Spec.Target.Environment, t.Spec.Target.Cluster
	away := r.away(env)
	if away[cluster] {
		return true
	}
	begin, ok := r.Find(plan.RolloutID(env))
	if !ok || !exhausted || !a.Unreachable {
		return false
	}
	return len(away) < begin.Spec.Tolerate && len(away)+1 < r.clusters(env)
}

// away are the clusters of an environment without which the release goes on.
func (r *Run) away(env string) map[string]bool {
	out := map[string]bool{}
	for _, t := range r.Tasks {
		if t.State == TaskUnreachable && t.Spec.Target.Environment == env {
			out[t.Spec.Target.Cluster] = true
		}
	}
	return out
}

func (r *Run) clusters(env string) int {
	out := map[string]bool{}
	for _, t := range r.Tasks {
		if t.Spec.Kind == plan.KindApply && t.Spec.Target.Environment == env {
			out[t.Spec.Target.Cluster] = true
		}
	}
	return len(out)
}

// leaveOut ends what has not begun on the cluster of a task that went on without it. What goes on there says so itself.
func (r *Run) leaveOut(of *Task) []Event {
	if len(of.Attempts) == 0 { // whoever found the cluster away has done it
		return nil
	}
	var events []Event
	for _, t := range r.Tasks {
		if t.State.Ended() || t.Current() != nil || t.Spec.Target == nil || t.Spec.Target.Cluster != of.Spec.Target.Cluster || t.Spec.Target.Environment != of.Spec.Target.Environment {
			continue
		}
		switch t.Spec.Kind { //nolint:exhaustive // as in goesOn
		case plan.KindApply, plan.KindShift, plan.KindAnalyze:
			events = append(events, TaskFinished{
				Run: r.ID, Task: t.Spec.ID, State: TaskUnreachable, Class: ClassInfra,
				Message: fmt.Sprintf("goes on without %s, which is caught up later: %s could not reach it", of.Spec.Target.Cluster, of.Spec.ID),
			})
		}
	}
	return events
}

// catchUp begins what brings a promoted service to the clusters without which it was.
func (r *Run) catchUp(promote *Task) []Event {
	var ids []string
	for _, need := range promote.Spec.Needs {
		t, ok := r.Find(need)
		if !ok || t.State != TaskUnreachable {
			continue
		}
		id := plan.CatchUpID(t.Spec.Service, *t.Spec.Target)
		if _, begun := r.Find(id); begun {
			continue
		}
		if _, ok := r.Plan.Find(id); ok {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 || r.canceled {
		return nil
	}
	return []Event{CompensationStarted{Run: r.ID, Tasks: ids, Reason: fmt.Sprintf("%s was promoted in %s without them", promote.Spec.Service, promote.Spec.Target.Environment)}}
}

// Overtake decides what it means for what catches up in an environment that a newer run is to roll out there, which brings what is
// newer. goesOn: an attempt does, and is told to stop.
func (r *Run) Overtake(env, by string) (events []Event, goesOn bool) {
	for _, t := range r.Tasks {
		if t.Spec.Kind != plan.KindCatchUp || t.Spec.Target.Environment != env || t.State.Ended() {
			continue
		}
		if t.Current() != nil {
			r.revokeTask(t)
			goesOn = true
			continue
		}
		events = append(events, TaskFinished{Run: r.ID, Task: t.Spec.ID, State: TaskUnreachable, Message: fmt.Sprintf("the newer run %s rolls out to %s", by, env)})
	}
	return events, goesOn
}
