package run

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/internal/planted"
)

// Budgets beyond which a task is not tried again.
const (
	// LostBudget is how many attempts of a task may be lost with their workers. More
	// than that, and the task is suspected of killing them.
	LostBudget = 8
	// InfraBudget is how often the farm's own failures are tried again when the plan
	// does not say.
	InfraBudget = 2
	// RollbackBudget replaces InfraBudget for rollbacks: what was begun must be undone.
	RollbackBudget = 20
	// CatchUpBudget replaces it for what catches up: about a week.
	CatchUpBudget = 2000
)

// Report is the end of an attempt as its worker tells it, or as the owner finds it
// (OutcomeLost).
type Report struct {
	Attempt Attempt
	Result  plan.Result
}

// Finish decides what the end of the task's current attempt means: success, failure,
// or another try after a pause. The attempt must be the current one.
func (r *Run) Finish(t *Task, rep Report, now time.Time) []Event {
	a := rep.Attempt
	if (a.Outcome == OutcomeFailed || a.Doubted) && t.Spec.Kind == plan.KindTest {
		a.Failed = failedCases(rep.Result)
	}
	events := []Event{AttemptFinished{Run: r.ID, Task: t.Spec.ID, Attempt: a}}
	done := TaskFinished{Run: r.ID, Task: t.Spec.ID, Message: a.Message, Class: a.Class}
	switch a.Outcome {
	case OutcomeSucceeded:
		done.State, done.Result, done.Digest = TaskSucceeded, rep.Result, t.Spec.Digest
		if t.Spec.Render != nil { // manifests are reused only with the image that they carry
			if build, ok := r.Find(t.Spec.Render.Image); ok {
				done.Result.Image = build.Result.Image
			}
		}
		if why := failedBefore(t); why != "" && t.Spec.Kind == plan.KindTest {
			done.Class, done.Message = ClassFlaky, fmt.Sprintf("passed in attempt %d; %s", a.Number, why)
		}
	case OutcomeFailed:
		if Excused(t, rep) {
			done.State, done.Class, done.Result = TaskSucceeded, ClassFlaky, rep.Result
			done.Message = excuse(rep.Result.Tests)
			return append(events, done)
		}
		used, budget := r.tries(t, a)
		if used <= budget && !t.Revoked {
			return append(events, TaskRetried{Run: r.ID, Task: t.Spec.ID, At: now.Add(backoff(a, used)), Reason: a.Message})
		}
		done.State, done.Result = TaskFailed, rep.Result
		if budget > 0 && used > budget {
			done.Message = fmt.Sprintf("%s\n(gave up after %d attempts)", a.Message, len(t.Attempts))
		}
	case OutcomeCanceled:
		done.State = r.revoked(t)
	case OutcomeErrored, OutcomeLost:
		used, budget := r.tries(t, a)
		switch {
		case t.Revoked:
			done.State = r.revoked(t)
		case a.Doubted:
			return append(events, TaskRetried{Run: r.ID, Task: t.Spec.ID, At: now, Reason: a.Message})
		case r.goesOn(t, a, used > budget):
			done.State, done.Class = TaskUnreachable, ClassInfra
			done.Message = fmt.Sprintf("goes on without %s, which is caught up later: %s", t.Spec.Target.Cluster, a.Message)
		case used > budget:
			done.State = TaskErrored
			done.Message = fmt.Sprintf("%s\n(gave up after %d attempts)", a.Message, len(t.Attempts))
		default:
			return append(events, TaskRetried{Run: r.ID, Task: t.Spec.ID, At: now.Add(r.backoff(t, a, used)), Reason: a.Message})
		}
	default:
		done.State, done.Class, done.Message = TaskErrored, ClassInfra, fmt.Sprintf("unknown outcome %q", a.Outcome)
	}
	return append(events, done)
}

// revoked is how a task ends that was told to stop. What catches up is told so by a newer run, and nothing went wrong.
func (r *Run) revoked(t *Task) TaskState {
	if t.Spec.Kind == plan.KindCatchUp && !r.canceled {
		return TaskUnreachable
	}
	return TaskCanceled
}

// failedBefore says how the last attempt that failed did; empty: none has.
func failedBefore(t *Task) string {
	for _, a := range slices.Backward(t.Attempts) {
		if a.Outcome == OutcomeFailed {
			return fmt.Sprintf("attempt %d failed: %s", a.Number, a.Message)
		}
	}
	return ""
}

// tries is how many attempts have ended in the same way, and how many may be tried again:
// each class of failure has a budget of its own, so that one never uses up another's.
func (r *Run) tries(t *Task, now Attempt) (used, budget int) {
	used = 1
	for _, a := range t.Attempts[:len(t.Attempts)-1] {
		if a.Outcome == now.Outcome && limit(a) == limit(now) && !a.Doubted {
			used++
		}
	}
	switch {
	case limit(now) == ClassTimeout:
		budget = t.Spec.RetryTimeout
	case limit(now) == ClassOOM:
		budget = t.Spec.RetryOOM
	case now.Outcome == OutcomeFailed:
		budget = t.Spec.Flaky
	case now.Outcome == OutcomeLost:
		budget = LostBudget
	case t.Spec.Kind == plan.KindRollback:
		budget = RollbackBudget
	case t.Spec.Kind == plan.KindCatchUp:
		budget = CatchUpBudget
	case t.Spec.Infra > 0:
		budget = t.Spec.Infra
	default:
		budget = InfraBudget
	}
	return used, budget
}

// limit is the class of an attempt that ended at a limit, of time or of memory, whose
// next attempt may fare better on another machine; else none.
func limit(a Attempt) Class {
	if a.Outcome == OutcomeFailed && (a.Class == ClassTimeout || a.Class == ClassOOM) {
		return a.Class
	}
	return ClassNone
}

// backoff before the next try: none after a lost worker or a test that said no, else 1 s
// doubling to 30 s.
func backoff(a Attempt, used int) time.Duration {
	if a.Outcome == OutcomeLost || a.Outcome == OutcomeFailed && limit(a) == ClassNone {
		return 0
	}
	d := time.Second
	for ; used > 1 && d < 30*time.Second; used-- {
		d *= 2
	}
	return min(d, 30*time.Second)
}

// backoff is longer for a cluster that is away.
func (r *Run) backoff(t *Task, a Attempt, used int) time.Duration {
	d := backoff(a, used)
	if t.Spec.Kind == plan.KindCatchUp && used > 6 {
		d = min(time.Duration(used-5)*d, 5*time.Minute)
	}
	return d
}

// Complete decides the end of a task that the coordinator itself carries out, or that
// is reused.
func (r *Run) Complete(t *Task, s TaskState, message string, class Class, res plan.Result) []Event {
	return []Event{TaskFinished{Run: r.ID, Task: t.Spec.ID, State: s, Message: message, Class: class, Result: res, Digest: t.Spec.Digest}}
}

// Cancel decides what a request to stop the run means.
func (r *Run) Cancel(message string) []Event {
	if r.State != Running && (!planted.CancelAfterEnd.On() || !r.State.Ended()) {
		return nil
	}
	return []Event{StopRequested{Run: r.ID, Message: message}}
}

// Supersede decides what a newer run of the same line means: nothing for a run that has
// begun to roll out, for ending that means compensating; else its end, if nobody works on
// it or those that go on are to be ended too.
func (r *Run) Supersede(by string, running bool) []Event {
	if r.deploying() || !running && r.taken() {
		return nil
	}
	return r.Cancel(fmt.Sprintf("superseded by the newer run %s of %s", by, r.Plan.Line))
}

func (r *Run) deploying() bool {
	return slices.ContainsFunc(r.Tasks, func(t *Task) bool { return t.Spec.Kind == plan.KindRollout && t.State.Good() })
}

func (r *Run) taken() bool {
	return slices.ContainsFunc(r.Tasks, func(t *Task) bool { return len(t.Attempts) > 0 })
}

// Overdue decides what it means that the run has not ended in its time.
func (r *Run) Overdue(at time.Time) []Event {
	if due, ok := r.Due(); !ok || at.Before(due) {
		return nil
	}
	return r.Cancel(fmt.Sprintf("it did not end within %s, the timeout of runs in slipway.yaml", time.Duration(r.Plan.Timeout)*time.Second))
}

// Due is when the run must have ended, if it must.
func (r *Run) Due() (time.Time, bool) {
	return r.AcceptedAt.Add(time.Duration(r.Plan.Timeout) * time.Second), r.Plan.Timeout > 0
}

// Next says what follows from the state by itself, or nothing. The caller applies what
// it answers and asks again. Its cost is that of the tasks that ended since.
func (r *Run) Next() []Event {
	for len(r.work) > 0 {
		t := r.Tasks[r.work[0]]
		r.work = r.work[1:]
		if events := r.follows(t); len(events) > 0 {
			return events
		}
	}
	if envs := r.left(); len(envs) > 0 {
		return envs
	}
	if r.open == 0 && !r.State.Ended() {
		return []Event{r.finish()}
	}
	return nil
}

func (r *Run) follows(t *Task) []Event {
	if !t.State.Ended() { // from stopAll
		return []Event{TaskFinished{Run: r.ID, Task: t.Spec.ID, State: TaskCanceled, Message: r.Message}}
	}
	var events []Event
	if !t.State.Good() {
		why := fmt.Sprintf("needs %s, which %s", t.Spec.ID, ended(t.State))
		for _, k := range t.kids {
			kid := r.Tasks[k]
			if kid.State == TaskPending && kid.Spec.Kind != plan.KindRollback {
				events = append(events, TaskFinished{Run: r.ID, Task: kid.Spec.ID, State: TaskSkipped, Message: why})
			}
		}
	}
	if t.State == TaskUnreachable {
		return append(events, r.leaveOut(t)...)
	}
	switch t.Spec.Kind {
	case plan.KindPromote:
		if t.State.Good() {
			events = append(events, r.catchUp(t)...)
		} else {
			events = append(events, r.undo(t)...)
		}
	case plan.KindApply, plan.KindShift, plan.KindAnalyze:
		if p, ok := r.Find(plan.PromoteID(t.Spec.Service, t.Spec.Target.Environment)); ok && p.State.Ended() && !p.State.Good() {
			events = append(events, r.rollback(t.Spec.Service, *t.Spec.Target)...)
		}
	case plan.KindCheckout, plan.KindBuild, plan.KindTest, plan.KindGather, plan.KindScan, plan.KindFindings, plan.KindSign, plan.KindRender, plan.KindDiff, plan.KindRelease, plan.KindApprove, plan.KindRollout, plan.KindStep, plan.KindWave, plan.KindVerified, plan.KindRollback, plan.KindCatchUp:
	}
	return events
}

func ended(s TaskState) string {
	switch s {
	case TaskCanceled:
		return "was canceled"
	case TaskSkipped:
		return "was skipped"
	default:
		return string(s)
	}
}

// undo is what follows when a promotion cannot come any more: what goes on for the service
// in that environment is told to stop, what has not begun is not begun, and the targets that
// nobody works on are rolled back.
func (r *Run) undo(promote *Task) []Event {
	service, env := promote.Spec.Service, promote.Spec.Target.Environment
	var events []Event
	var targets []plan.Target
	for _, t := range r.Tasks {
		if t.Spec.Service != service || t.Spec.Target == nil || t.Spec.Target.Environment != env {
			continue
		}
		switch t.Spec.Kind {
		case plan.KindApply:
			targets = append(targets, *t.Spec.Target)
		case plan.KindShift, plan.KindAnalyze, plan.KindStep:
		default:
			continue
		}
		switch {
		case t.State.Ended():
		case t.Current() != nil:
			r.revokeTask(t)
		default:
			state := TaskCanceled
			if t.State == TaskPending {
				state = TaskSkipped
			}
			events = append(events, TaskFinished{Run: r.ID, Task: t.Spec.ID, State: state, Message: "the release of " + service + " did not succeed everywhere in " + env})
		}
	}
	for _, target := range targets {
		events = append(events, r.rollback(service, target)...)
	}
	return events
}

// rollback starts the compensation of what a release of a service did on a target, if all of
// that has ended, if it ever touched the target, was not compensated before, and if the plan has
// a template for it.
func (r *Run) rollback(service string, target plan.Target) []Event {
	id := plan.RollbackID(service, target)
	if _, ok := r.Find(id); ok {
		return nil
	}
	if _, ok := r.Plan.Find(id); !ok { // the environment asks for none
		return nil
	}
	touched := false
	for _, i := range r.changes[change{service, target}] {
		t := r.Tasks[i]
		if t.Current() != nil {
			return nil // its end asks again
		}
		touched = touched || t.Spec.Kind.Changes() && t.touched()
	}
	if !touched {
		return nil
	}
	return []Event{CompensationStarted{Run: r.ID, Tasks: []string{id}, Reason: fmt.Sprintf("the release of %s did not succeed in every cluster of %s", service, target.Environment)}}
}

// touched says whether an attempt may have changed something. One that was lost may
// have; one that goes on will say.
func (t *Task) touched() bool {
	for _, a := range t.Attempts {
		if planted.LostApplyUntouched.On() && a.Outcome == OutcomeLost {
			continue
		}
		if !a.Untouched {
			return true
		}
	}
	return false
}

func (r *Run) left() []Event {
	var envs []string
	for env, n := range r.entered {
		if n == 0 {
			envs = append(envs, env)
		}
	}
	sort.Strings(envs)
	events := make([]Event, 0, len(envs))
	for _, env := range envs {
		events = append(events, RolloutLeft{Run: r.ID, Environment: env})
	}
	return events
}

func (r *Run) finish() Event {
	e := Finished{Run: r.ID, State: Succeeded}
	every := func(*Task) bool { return true }
	failed, stopped := r.earliest(every, TaskFailed, TaskErrored), r.earliest(every, TaskCanceled)
	if aborted := r.earliest(func(t *Task) bool { return t.Spec.Kind == plan.KindPromote }, TaskCanceled); aborted != nil {
		stopped = aborted                                                                      // it says why the others were
		failed = r.earliest(func(t *Task) bool { return !t.Revoked }, TaskFailed, TaskErrored) // who was told to stop may have answered otherwise
	}
	switch {
	case r.canceled:
		e.State, e.Message = Canceled, r.Message
	case failed != nil:
		e.State, e.Message = Failed, failed.Spec.ID+": "+failed.Message
	case stopped != nil:
		e.State, e.Message = Canceled, stopped.Spec.ID+": "+stopped.Message
	}
	return e
}

// earliest of the tasks that ended in one of some states; nil: none did.
func (r *Run) earliest(of func(*Task) bool, states ...TaskState) (first *Task) {
	for _, t := range r.Tasks {
		if of(t) && slices.Contains(states, t.State) && (first == nil || t.FinishedAt.Before(first.FinishedAt)) {
			first = t
		}
	}
	return first
}
