package run

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
)

// RefusalError is why an approval does not count.
type RefusalError struct{ Reason string }

func (e *RefusalError) Error() string { return e.Reason }

// Answer is what somebody says to a release that waits for approvals.
type Answer struct {
	By         string
	Groups     []string
	Administer bool   // whoever may do everything is of every group
	Release    string // that they looked at; empty: they did not say
	Reason     string
}

// Approve decides what an approval means: it counts, and may be the last that is missing, or *RefusalError.
func (r *Run) Approve(t *Task, a Answer) ([]Event, error) {
	if err := r.mayAnswer(t, a, false); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(t.Approvals, func(was Approval) bool { return was.By == a.By }) {
		return nil, nil
	}
	events := []Event{Approved{Run: r.ID, Task: t.Spec.ID, By: a.By, Reason: a.Reason}}
	if len(t.Approvals)+1 < t.Spec.Approve.Min {
		return events, nil
	}
	names := make([]string, 0, len(t.Approvals)+1)
	for _, was := range t.Approvals {
		names = append(names, was.By)
	}
	return append(events, r.Complete(t, TaskSucceeded, "approved by "+strings.Join(append(names, a.By), ", "), ClassNone, plan.Result{})...), nil
}

// Reject decides what it means that somebody says no: nothing is rolled out there by this run.
func (r *Run) Reject(t *Task, a Answer) ([]Event, error) {
	if err := r.mayAnswer(t, a, true); err != nil {
		return nil, err
	}
	message := "rejected by " + a.By
	if a.Reason != "" {
		message += ": " + a.Reason
	}
	return r.Complete(t, TaskFailed, message, ClassUser, plan.Result{}), nil
}

func (r *Run) mayAnswer(t *Task, a Answer, reject bool) error {
	no := func(format string, args ...any) error { return &RefusalError{fmt.Sprintf(format, args...)} }
	env, ask := t.Spec.Target.Environment, t.Spec.Approve
	switch {
	case t.State == TaskPending:
		return no("run %s does not ask for approvals for %s yet: what comes before is not done", r.ID, env)
	case t.State.Ended():
		return no("run %s does not ask for approvals for %s any more: %s %s", r.ID, env, t.State, t.Message)
	case a.Release != "" && a.Release != r.Release:
		return no("run %s would roll out release %s to %s, and not %s, which was looked at", r.ID, r.Release, env, a.Release)
	case !a.Administer && !slices.Contains(a.Groups, ask.Team):
		return no("%s needs approvals of the group %s, and %s is not in it", env, ask.Team, a.By)
	case a.By == r.SubmittedBy && !ask.Self && !reject:
		return no("%s asked for run %s, and needs the approval of somebody else for %s", a.By, r.ID, env)
	}
	return nil
}

// Expired decides what it means that nobody approved in time.
func (r *Run) Expired(t *Task, at time.Time) []Event {
	if at.Before(t.Asks()) {
		return nil
	}
	ask := t.Spec.Approve
	return r.Complete(t, TaskFailed, fmt.Sprintf("%d of %d approvals of the group %s within %s", len(t.Approvals), ask.Min, ask.Team, time.Duration(ask.Within)*time.Second), ClassTimeout, plan.Result{})
}

// Asks is until when a task waits for approvals.
func (t *Task) Asks() time.Time {
	return t.ReadyAt.Add(time.Duration(t.Spec.Approve.Within) * time.Second)
}

// Passes is when a barrier that is ready lets by what stands behind it: a time after what is before it was done. Approvals may
// come meanwhile.
func (r *Run) Passes(t *Task) time.Time {
	since := t.ReadyAt
	if t.Spec.Kind == plan.KindRollout && t.Spec.Wait > 0 {
		since = time.Time{}
		for _, id := range t.Spec.Needs {
			if n, ok := r.Find(id); ok && n.Spec.Kind != plan.KindApprove && n.FinishedAt.After(since) {
				since = n.FinishedAt
			}
		}
	}
	return since.Add(time.Duration(t.Spec.Wait) * time.Second)
}
