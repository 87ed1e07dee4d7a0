// Package partitiontest judges what a partition left behind: its journal, event by event,
// against the invariants, and a state that was served against the one that the journal
// adds up to.
package partitiontest

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/slipway-build/slipway/coordinator/journal"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
)

// History checks a journal, event by event, against the invariants. It is written apart
// from package run, so that a mistake there is not made here too.
type History struct {
	plans  map[string]*plan.Plan
	Runs   map[string]*Past
	Order  []string
	Keys   map[string]string    // "project key" → run
	number map[string]uint64    // of a project's newest run
	holder map[string]string    // "project environment" → run
	newest map[string]uint64    // "project environment" → number of the newest run in it
	held   map[string]bool      // "project environment" that is held → paused, too
	Ended  map[string]run.State // runs
	Wrong  []string
	// results of tasks that succeeded, by "project digest"
	results map[string][]plan.Result

	Archived map[string]string // run → blob
	Logs     map[string]string // run → blob of the archive of its logs
}

// Past is what became of one run.
type Past struct {
	accepted run.Accepted
	plan     *plan.Plan
	state    map[string]run.TaskState // tasks that ended
	added    map[string]bool          // compensations
	Attempts map[string][]run.Attempt // by task; without an outcome: it goes on
	stopping bool
}

// ReadHistory reads all records of a journal.
func ReadHistory(records []journal.Record, plans map[string]*plan.Plan) *History {
	h := &History{
		plans: plans, Runs: map[string]*Past{}, Keys: map[string]string{}, number: map[string]uint64{}, holder: map[string]string{}, held: map[string]bool{},
		newest: map[string]uint64{}, Ended: map[string]run.State{}, results: map[string][]plan.Result{}, Archived: map[string]string{}, Logs: map[string]string{},
	}
	for i, rec := range records {
		if i > 0 && (rec.Epoch < records[i-1].Epoch || rec.Time.Before(records[i-1].Time)) {
			h.bad("record %d goes back: epoch %d at %s after epoch %d at %s", rec.Sequence, rec.Epoch, rec.Time, records[i-1].Epoch, records[i-1].Time)
		}
		for _, e := range rec.Events {
			h.event(e)
		}
	}
	return h
}

func (h *History) bad(format string, args ...any) {
	h.Wrong = append(h.Wrong, fmt.Sprintf(format, args...))
}

func (h *History) event(e run.Event) {
	switch e := e.(type) {
	case run.Accepted:
		h.accept(e)
		return
	case run.Archived:
		h.archived(e)
		return
	case run.LogsArchived:
		if _, ok := h.Ended[e.Run]; !ok || h.Logs[e.Run] != "" || h.Archived[e.Run] != "" {
			h.bad("the logs of %s are archived; it has ended: %t, they were archived before as %q, and it as %q", e.Run, ok, h.Logs[e.Run], h.Archived[e.Run])
		}
		h.Logs[e.Run] = e.Blob
		return
	case run.EnvironmentHeld:
		h.held[e.Project+" "+e.Environment] = e.Pause
		return
	case run.EnvironmentFreed:
		delete(h.held, e.Project+" "+e.Environment)
		return
	case run.Forgotten, run.Quarantined, run.Released, run.ResultsForgotten:
		return
	}
	p, ok := h.Runs[e.RunID()]
	if !ok {
		h.bad("%T of run %s, which was not accepted", e, e.RunID())
		return
	}
	if s, ok := h.Ended[e.RunID()]; ok {
		h.bad("%T of run %s after its end (%s)", e, e.RunID(), s)
	}
	switch e := e.(type) {
	case run.AttemptStarted:
		h.started(p, e)
	case run.AttemptFinished:
		list := p.Attempts[e.Task]
		if len(list) == 0 || list[len(list)-1].Outcome != "" || list[len(list)-1].Fence != e.Attempt.Fence {
			h.bad("%s %s: attempt %d with fence %v ends and was not the one that went on", e.Run, e.Task, e.Attempt.Number, e.Attempt.Fence)
			return
		}
		list[len(list)-1] = e.Attempt
	case run.TaskFinished:
		h.over(p, e)
	case run.TaskRetried:
		if s, ok := p.state[e.Task]; ok {
			h.bad("%s %s is tried again and is %s", e.Run, e.Task, s)
		}
	case run.CompensationStarted:
		for _, id := range e.Tasks {
			if p.added[id] {
				h.bad("%s: %s twice", e.Run, id)
			}
			p.added[id] = true
		}
	case run.StopRequested:
		p.stopping = true
	case run.RolloutEntered:
		h.entered(p, e)
	case run.RolloutLeft:
		h.left(p, e)
	case run.Promoted:
		id := plan.ApplyID(e.Service, plan.Target{Environment: e.Environment, Cluster: e.Cluster})
		where := p.accepted.Project + " " + e.Environment
		later := plan.CatchUpID(e.Service, plan.Target{Environment: e.Environment, Cluster: e.Cluster})
		switch {
		case p.state[id] == run.TaskUnreachable:
			if p.state[later] != run.TaskSucceeded || h.newest[where] != p.accepted.Number {
				h.bad("%s promotes %s, which is %q, and its newest run is %d", e.Run, later, p.state[later], h.newest[where])
			}
		case h.holder[where] != e.Run || !p.state[id].Good():
			h.bad("%s promotes %s, which is %q, in an environment held by %q", e.Run, id, p.state[id], h.holder[p.accepted.Project+" "+e.Environment])
		}
	case run.Finished:
		h.finished(p, e)
	}
}

// archived: a run leaves the state once, and after its end.
func (h *History) archived(e run.Archived) {
	if _, ok := h.Ended[e.Run]; !ok || h.Archived[e.Run] != "" {
		h.bad("%s is archived; it has ended: %t, it was archived before as %q", e.Run, ok, h.Archived[e.Run])
	}
	h.Archived[e.Run] = e.Blob
}

func (h *History) accept(a run.Accepted) {
	if _, ok := h.Runs[a.Run]; ok || a.Number <= h.number[a.Project] {
		h.bad("run %s, number %d after %d, accepted before: %t", a.Run, a.Number, h.number[a.Project], ok)
	}
	key := a.Project + " " + a.IdempotencyKey
	if by, ok := h.Keys[key]; ok && a.IdempotencyKey != "" {
		h.bad("key %s began %s and %s", key, by, a.Run)
	}
	h.Keys[key], h.number[a.Project] = a.Run, a.Number
	h.Runs[a.Run] = &Past{accepted: a, plan: h.plans[a.PlanHash], state: map[string]run.TaskState{}, added: map[string]bool{}, Attempts: map[string][]run.Attempt{}}
	h.Order = append(h.Order, a.Run)
}

// started: I4, I5, and who may change an environment.
func (h *History) started(p *Past, e run.AttemptStarted) {
	spec, ok := p.plan.Find(e.Task)
	if !ok || spec.Can == plan.CapabilityCoordinator {
		h.bad("%s %s is nobody's to lease", e.Run, e.Task)
		return
	}
	if s, ok := p.state[e.Task]; ok || p.stopping && spec.Kind != plan.KindRollback {
		h.bad("%s %s starts and is %q, in a run that must stop: %t", e.Run, e.Task, s, p.stopping)
	}
	for _, need := range spec.Needs {
		undoes := spec.Kind == plan.KindRollback && p.state[need].Ended() || spec.Kind == plan.KindCatchUp && p.state[need] == run.TaskUnreachable
		if !p.state[need].Good() && !undoes {
			h.bad("%s %s starts before %s, which is %q", e.Run, e.Task, need, p.state[need])
		}
	}
	list := p.Attempts[e.Task]
	if n := len(list); n > 0 && (list[n-1].Outcome == "" || !list[n-1].Fence.Less(e.Fence)) {
		h.bad("%s %s starts with fence %v after %+v", e.Run, e.Task, e.Fence, list[n-1])
	}
	p.Attempts[e.Task] = append(list, run.Attempt{Number: e.Attempt, Fence: e.Fence, Worker: e.Worker})
	switch spec.Kind {
	case plan.KindRollback:
		if !p.added[e.Task] {
			h.bad("%s %s was not asked for", e.Run, e.Task)
		}
		h.changes(p, e.Run, spec)
	case plan.KindApply, plan.KindShift:
		h.changes(p, e.Run, spec)
	case plan.KindCatchUp:
		if where := p.accepted.Project + " " + spec.Target.Environment; !p.added[e.Task] || h.newest[where] != p.accepted.Number || h.held[where] && p.plan.Back == "" {
			h.bad("%s %s starts and was asked for: %t, and its newest run is %d", e.Run, e.Task, p.added[e.Task], h.newest[where])
		}
	default:
	}
}

// entered: one run at a time, none after a newer one, and none while the environment is held.
func (h *History) entered(p *Past, e run.RolloutEntered) {
	where := p.accepted.Project + " " + e.Environment
	if by := h.holder[where]; by != "" && by != e.Run {
		h.bad("%s enters %s, which %s holds", e.Run, where, by)
	}
	if h.newest[where] > p.accepted.Number {
		h.bad("%s enters %s after the newer run %d", e.Run, where, h.newest[where])
	}
	if _, ok := h.held[where]; ok && p.plan.Back == "" {
		h.bad("%s enters %s, which is held", e.Run, where)
	}
	h.holder[where], h.newest[where] = e.Run, p.accepted.Number
}

func (h *History) changes(p *Past, id string, spec *plan.Task) {
	if by := h.holder[p.accepted.Project+" "+spec.Target.Environment]; by != id {
		h.bad("%s %s starts in an environment held by %q", id, spec.ID, by)
	}
	if h.held[p.accepted.Project+" "+spec.Target.Environment] && spec.Kind != plan.KindRollback && p.plan.Back == "" {
		h.bad("%s %s starts in an environment that is paused", id, spec.ID)
	}
}

func (h *History) over(p *Past, e run.TaskFinished) {
	if s, ok := p.state[e.Task]; ok {
		h.bad("%s %s is %s and becomes %s", e.Run, e.Task, s, e.State)
	}
	if list := p.Attempts[e.Task]; len(list) > 0 && list[len(list)-1].Outcome == "" {
		h.bad("%s %s is %s while attempt %d goes on", e.Run, e.Task, e.State, len(list))
	}
	p.state[e.Task] = e.State
	if e.State == run.TaskUnreachable {
		h.tolerated(p, e)
	}
	h.made(p, e)
}

// tolerated: no more clusters are left out than the environment says, and never all.
func (h *History) tolerated(p *Past, e run.TaskFinished) {
	spec, _ := p.plan.Find(e.Task)
	begin, _ := p.plan.Find(plan.RolloutID(spec.Target.Environment))
	away, all := map[string]bool{}, map[string]bool{}
	for _, t := range p.plan.Tasks {
		if t.Target == nil || t.Target.Environment != spec.Target.Environment || t.Target.Cluster == "" {
			continue
		}
		all[t.Target.Cluster] = true
		if p.state[t.ID] == run.TaskUnreachable {
			away[t.Target.Cluster] = true
		}
	}
	if len(away) > begin.Tolerate || len(away) >= len(all) {
		h.bad("%s goes on without %d of %d clusters of %s, and tolerates %d", e.Run, len(away), len(all), spec.Target.Environment, begin.Tolerate)
	}
}

// made: what a task takes over from another run was made there, by a task with its digest.
func (h *History) made(p *Past, e run.TaskFinished) {
	spec, ok := p.plan.Find(e.Task)
	if !ok || spec.Digest == "" {
		return
	}
	key := p.accepted.Project + " " + spec.Digest
	switch {
	case e.State == run.TaskSucceeded:
		h.results[key] = append(h.results[key], e.Result)
	case e.State == run.TaskReused && spec.Reuse == nil && !slices.ContainsFunc(h.results[key], func(r plan.Result) bool { return cmp.Equal(r, e.Result) }):
		h.bad("%s %s takes over %+v, which nobody made as %s", e.Run, e.Task, e.Result, spec.Digest)
	}
}

// left: what was begun in the environment is promoted or taken back.
func (h *History) left(p *Past, e run.RolloutLeft) {
	where := p.accepted.Project + " " + e.Environment
	if h.holder[where] != e.Run {
		h.bad("%s leaves %s, which %q holds", e.Run, where, h.holder[where])
	}
	h.holder[where] = ""
	for _, t := range p.plan.Tasks {
		if t.Kind != plan.KindApply || t.Target.Environment != e.Environment {
			continue
		}
		touched := slices.ContainsFunc(p.plan.Tasks, func(other plan.Task) bool {
			changes := other.Kind == plan.KindShift || other.Kind == plan.KindApply
			return changes && other.Service == t.Service && *other.Target == *t.Target &&
				slices.ContainsFunc(p.Attempts[other.ID], func(a run.Attempt) bool { return !a.Untouched })
		})
		promoted := p.state[plan.PromoteID(t.Service, e.Environment)].Good()
		if _, undone := p.state[plan.RollbackID(t.Service, *t.Target)]; touched && !promoted && !undone {
			h.bad("%s leaves %s, and %s (%q) is neither promoted nor taken back", e.Run, where, t.ID, p.state[t.ID])
		}
	}
}

func (h *History) finished(p *Past, e run.Finished) {
	for _, t := range p.plan.Tasks {
		if s, ok := p.state[t.ID]; !ok || e.State == run.Succeeded && !s.Good() {
			h.bad("run %s is %s and %s is %q", e.Run, e.State, t.ID, s)
		}
	}
	for id := range p.added {
		if _, ok := p.state[id]; !ok {
			h.bad("run %s is %s and %s has not ended", e.Run, e.State, id)
		}
	}
	if p.stopping != (e.State == run.Canceled) && p.stopping {
		h.bad("run %s was canceled and is %s", e.Run, e.State)
	}
	h.Ended[e.Run] = e.State
}

// Diff compares a state that was served with one that was read from the journal. That
// an attempt's work has begun is memory only; the lists of what is to be said next, and
// that somebody whose task has ended was told to stop, are not state.
func Diff(served, replayed *project.State) string {
	return cmp.Diff(served, replayed, cmpopts.EquateEmpty(),
		cmp.Exporter(func(reflect.Type) bool { return true }),
		cmp.Comparer(func(a, b run.TaskState) bool { return a == b || waits(a) && waits(b) }),
		cmp.FilterPath(func(p cmp.Path) bool {
			f, ok := p.Last().(cmp.StructField)
			return ok && slices.Contains([]string{"plans", "Plan", "Spec", "work", "ready", "revoke", "Revoked", "StartedAt"}, f.Name())
		}, cmp.Ignore()))
}

func waits(s run.TaskState) bool { return s == run.TaskLeased || s == run.TaskRunning }
