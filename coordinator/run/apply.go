package run

import (
	"fmt"
	"slices"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/internal/planted"
)

// New is the state after Accepted at a time, with the plan that the event names. took says
// how long a task usually takes; 0: nobody knows. It may be nil.
func New(e Accepted, p *plan.Plan, at time.Time, took func(task string) time.Duration) (*Run, error) {
	r := &Run{
		ID: e.Run, Number: e.Number, Project: e.Project, Repository: e.Repository, Ref: e.Ref, Commit: e.Commit, Dirty: e.Dirty,
		PlanHash: e.PlanHash, TraceID: e.TraceID, SubmittedBy: e.SubmittedBy, Origin: e.Origin, AcceptedAt: at, State: Running, Plan: p,
		byID: make(map[string]int, len(p.Tasks)), changes: map[change][]int{}, entered: map[string]int{},
	}
	for i := range p.Tasks {
		if err := r.add(&p.Tasks[i]); err != nil {
			return nil, fmt.Errorf("run %s: %w", e.Run, err)
		}
	}
	r.paths(took)
	for _, t := range r.Tasks {
		if t.waiting == 0 {
			r.makeReady(t, at)
		}
	}
	return r, nil
}

func (r *Run) add(spec *plan.Task) error {
	if _, ok := r.byID[spec.ID]; ok {
		return fmt.Errorf("task %s is twice in the plan", spec.ID)
	}
	t := &Task{Index: len(r.Tasks), Spec: spec, State: TaskPending}
	for _, need := range spec.Needs {
		i, ok := r.byID[need]
		if !ok {
			return fmt.Errorf("task %s needs %s, which does not come before it in the plan", spec.ID, need)
		}
		r.Tasks[i].kids = append(r.Tasks[i].kids, t.Index)
		if !r.Tasks[i].State.Good() {
			t.waiting++
		}
	}
	r.byID[spec.ID] = t.Index
	switch spec.Kind { //nolint:exhaustive // those that a rollback asks for
	case plan.KindApply, plan.KindShift, plan.KindAnalyze:
		of := change{spec.Service, *spec.Target}
		r.changes[of] = append(r.changes[of], t.Index)
	}
	r.Tasks = append(r.Tasks, t)
	r.open++
	if env := environment(t); env != "" {
		if n, ok := r.entered[env]; ok {
			r.entered[env] = n + 1
		}
	}
	return nil
}

// environment of a task that changes one under its lock; renders come before the rollout, and what catches up after it.
func environment(t *Task) string {
	switch t.Spec.Kind {
	case plan.KindApply, plan.KindShift, plan.KindAnalyze, plan.KindStep, plan.KindWave, plan.KindPromote, plan.KindVerified, plan.KindRollback:
		return t.Spec.Target.Environment
	case plan.KindCheckout, plan.KindBuild, plan.KindTest, plan.KindGather, plan.KindScan, plan.KindFindings, plan.KindSign, plan.KindRender, plan.KindDiff, plan.KindRelease, plan.KindApprove, plan.KindRollout, plan.KindCatchUp:
	}
	return ""
}

func (r *Run) makeReady(t *Task, at time.Time) {
	t.State, t.ReadyAt = TaskReady, at
	r.ready = append(r.ready, t.Index)
}

// Apply changes the state by one event, at the journal time of its record. An event
// that does not fit the state is an error: the journal and the program disagree, and
// going on would serve a state that never was.
func (r *Run) Apply(e Event, at time.Time) error {
	switch e := e.(type) {
	case AttemptStarted:
		return r.with(e.Task, func(t *Task) error { return r.started(t, e) })
	case AttemptFinished:
		return r.with(e.Task, func(t *Task) error { return attemptFinished(t, e) })
	case TaskFinished:
		return r.with(e.Task, func(t *Task) error { return r.taskFinished(t, e, at) })
	case TaskRetried:
		return r.with(e.Task, func(t *Task) error {
			t.NotBefore, t.Revoked = e.At, false
			r.makeReady(t, at)
			return nil
		})
	case Approved:
		return r.with(e.Task, func(t *Task) error {
			t.Approvals = append(t.Approvals, Approval{By: e.By, Reason: e.Reason, At: at})
			return nil
		})
	case CompensationStarted:
		return r.compensate(e, at)
	case StopRequested:
		r.canceled, r.State, r.Message = true, Stopping, e.Message
		r.stopAll(e.Keep)
	case Finished:
		r.State, r.Message, r.FinishedAt = e.State, e.Message, at
	case RolloutEntered:
		r.entered[e.Environment] = r.countOpen(e.Environment)
	case RolloutLeft:
		delete(r.entered, e.Environment)
	case LogsArchived:
		if !r.State.Ended() || r.Logs != "" {
			return fmt.Errorf("the logs of run %s are archived; it is %s, and they were archived as %q", r.ID, r.State, r.Logs)
		}
		r.Logs = e.Blob
	case Promoted, Archived, Forgotten, Quarantined, Released, ResultsForgotten, EnvironmentHeld, EnvironmentFreed:
		// The project's state, not the run's.
	case Accepted:
		return fmt.Errorf("run %s is accepted twice", r.ID)
	default:
		return fmt.Errorf("run %s: unknown event %T", r.ID, e)
	}
	return nil
}

// ForgetLogs lets the archive of the logs go, if the run ended before a time.
func (r *Run) ForgetLogs(before time.Time) {
	if r.Logs != "" && r.FinishedAt.Before(before) {
		r.Logs, r.LogsForgotten = "", true
	}
}

func (r *Run) with(id string, f func(*Task) error) error {
	t, ok := r.Find(id)
	if !ok {
		return fmt.Errorf("run %s has no task %s", r.ID, id)
	}
	if t.State.Ended() {
		return fmt.Errorf("run %s: task %s has ended (%s) and cannot change", r.ID, id, t.State)
	}
	if err := f(t); err != nil {
		return fmt.Errorf("run %s: task %s: %w", r.ID, id, err)
	}
	return nil
}

func (r *Run) started(t *Task, e AttemptStarted) error {
	if t.State != TaskReady || e.Attempt != len(t.Attempts)+1 {
		return fmt.Errorf("attempt %d starts while the task is %s after %d attempts", e.Attempt, t.State, len(t.Attempts))
	}
	t.State = TaskLeased
	t.Attempts = append(t.Attempts, Attempt{Number: e.Attempt, Worker: e.Worker, Fence: e.Fence, LeasedAt: e.LeasedAt})
	if t.Revoked {
		r.revoke = append(r.revoke, t.Index)
	}
	return nil
}

func attemptFinished(t *Task, e AttemptFinished) error {
	a := t.Current()
	if a == nil || a.Number != e.Attempt.Number {
		return fmt.Errorf("attempt %d finishes and is not the current one", e.Attempt.Number)
	}
	*a = e.Attempt
	return nil
}

func (r *Run) taskFinished(t *Task, e TaskFinished, at time.Time) error {
	t.State, t.Message, t.Class, t.Result, t.FinishedAt = e.State, e.Message, e.Class, e.Result, at
	r.open--
	if t.Spec.Kind == plan.KindRelease { // others say which one they brought, and a rollback brings an older one
		r.Release = e.Result.Release
	}
	if env := environment(t); env != "" {
		if n, ok := r.entered[env]; ok {
			r.entered[env] = n - 1
		}
	}
	if e.State.Good() || planted.FailedNeedIsGood.On() && e.State == TaskFailed {
		for _, k := range t.kids {
			kid := r.Tasks[k]
			kid.waiting--
			if kid.waiting == 0 && kid.State == TaskPending {
				r.makeReady(kid, at)
			}
		}
	}
	r.work = append(r.work, t.Index)
	return nil
}

func (r *Run) compensate(e CompensationStarted, at time.Time) error {
	for _, id := range e.Tasks {
		if err := r.compensation(id); err != nil {
			return err
		}
		r.makeReady(r.Tasks[len(r.Tasks)-1], at)
	}
	return nil
}

// compensation adds a task from the plan's templates.
func (r *Run) compensation(id string) error {
	spec, ok := r.Plan.Find(id)
	if !ok {
		return fmt.Errorf("run %s: the plan has no template %s", r.ID, id)
	}
	if err := r.add(spec); err != nil {
		return fmt.Errorf("run %s: %w", r.ID, err)
	}
	t := r.Tasks[len(r.Tasks)-1]
	t.bottom = usual(spec) // nothing needs it
	t.waiting = 0          // its apply has ended, in whatever way
	return nil
}

// stopAll marks what goes on to be told to stop, and puts every task that has not
// begun on the list of Next.
func (r *Run) stopAll(keep []string) {
	for _, t := range r.Tasks {
		switch {
		case t.State.Ended() || t.Spec.Kind == plan.KindRollback:
		case t.Current() != nil:
			if !slices.Contains(keep, t.Spec.ID) {
				r.revokeTask(t)
			}
		default:
			r.work = append(r.work, t.Index)
		}
	}
}

func (r *Run) revokeTask(t *Task) {
	if !t.Revoked {
		t.Revoked = true
		r.revoke = append(r.revoke, t.Index)
	}
}

func (r *Run) countOpen(env string) int {
	n := 0
	for _, t := range r.Tasks {
		if environment(t) == env && !t.State.Ended() {
			n++
		}
	}
	return n
}

// SetRunning notes that the work of the current attempt has begun. It is memory only:
// after a change of owner the attempt is leased again or said to be running again.
func (t *Task) SetRunning(at time.Time) {
	if a := t.Current(); a != nil && t.State == TaskLeased {
		t.State, a.StartedAt = TaskRunning, at
	}
}
