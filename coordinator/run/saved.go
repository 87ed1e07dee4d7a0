package run

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
)

// Saved is what of a run's state its plan does not say. With the plan it is the run again:
// Restore.
type Saved struct {
	Accepted      Accepted // without key and hash of the request, which are the project's
	AcceptedAt    time.Time
	State         State
	Message       string
	FinishedAt    time.Time
	Release       string
	Canceled      bool
	Logs          string // blob of the archive of its logs
	LogsForgotten bool
	Entered       []string // environments whose rollout was begun and not left; sorted
	// Of a run that goes on, positions of tasks: those whose consequences Next has not said,
	// and those that are ready, the longest first. A run that has ended has none. Who is to be told
	// to stop is not in it: Revoked says so to whoever takes the lease back.
	Work, Ready []int
	Tasks       []SavedTask // the plan's, then the compensation that was started
}

// SavedTask is what of a task its spec does not say.
type SavedTask struct {
	ID         string // of compensation; those of the plan stand in its order
	State      TaskState
	Attempts   []Attempt
	ReadyAt    time.Time
	NotBefore  time.Time
	FinishedAt time.Time
	Message    string
	Class      Class
	Result     plan.Result
	Revoked    bool
	Approvals  []Approval
	Longest    time.Duration // Bottom
}

// Save is the run as it is. It shares attempts and results with the run.
func (r *Run) Save() Saved {
	s := Saved{
		Accepted: Accepted{
			Run: r.ID, Number: r.Number, Project: r.Project, Repository: r.Repository, Ref: r.Ref, Commit: r.Commit, Dirty: r.Dirty,
			PlanHash: r.PlanHash, SubmittedBy: r.SubmittedBy, TraceID: r.TraceID, Origin: r.Origin,
		},
		AcceptedAt: r.AcceptedAt, State: r.State, Message: r.Message, FinishedAt: r.FinishedAt, Release: r.Release, Canceled: r.canceled,
		Logs: r.Logs, LogsForgotten: r.LogsForgotten,
		Entered: slices.Sorted(maps.Keys(r.entered)), Tasks: make([]SavedTask, len(r.Tasks)),
	}
	for i, t := range r.Tasks {
		s.Tasks[i] = SavedTask{
			State: t.State, Attempts: t.Attempts, ReadyAt: t.ReadyAt, NotBefore: t.NotBefore, FinishedAt: t.FinishedAt,
			Message: t.Message, Class: t.Class, Result: t.Result, Revoked: t.Revoked, Approvals: t.Approvals, Longest: t.bottom,
		}
		if i >= len(r.Plan.Tasks) {
			s.Tasks[i].ID = t.Spec.ID
		}
	}
	if !r.State.Ended() {
		s.Work = slices.Clone(r.work)
		s.Ready = r.isReady()
	}
	return s
}

// isReady are the ready tasks in the order in which they became so last.
func (r *Run) isReady() []int {
	var out []int
	seen := make(map[int]bool, len(r.ready))
	for _, i := range slices.Backward(r.ready) {
		if !seen[i] && r.Tasks[i].State == TaskReady {
			seen[i] = true
			out = append(out, i)
		}
	}
	slices.Reverse(out)
	return out
}

// Restore is the run that was saved, with the plan that it was accepted with.
func Restore(s Saved, p *plan.Plan) (*Run, error) {
	r, err := New(s.Accepted, p, s.AcceptedAt, nil)
	if err != nil {
		return nil, err
	}
	if len(s.Tasks) < len(r.Tasks) {
		return nil, fmt.Errorf("run %s: %d tasks were saved, and its plan has %d", r.ID, len(s.Tasks), len(r.Tasks))
	}
	r.State, r.Message, r.FinishedAt, r.Release, r.canceled = s.State, s.Message, s.FinishedAt, s.Release, s.Canceled
	r.Logs, r.LogsForgotten = s.Logs, s.LogsForgotten
	for i, saved := range s.Tasks {
		if i >= len(p.Tasks) {
			if err := r.compensation(saved.ID); err != nil {
				return nil, err
			}
		}
		t := r.Tasks[i]
		t.State, t.Attempts, t.ReadyAt, t.NotBefore, t.FinishedAt = saved.State, saved.Attempts, saved.ReadyAt, saved.NotBefore, saved.FinishedAt
		t.Message, t.Class, t.Result, t.Revoked, t.bottom = saved.Message, saved.Class, saved.Result, saved.Revoked, saved.Longest
		t.Approvals = saved.Approvals
	}
	r.count()
	for _, env := range s.Entered {
		r.entered[env] = r.countOpen(env)
	}
	for _, list := range [][]int{s.Work, s.Ready} {
		if i := slices.IndexFunc(list, func(i int) bool { return i < 0 || i >= len(r.Tasks) }); i >= 0 {
			return nil, fmt.Errorf("run %s: task %d was saved, of %d", r.ID, list[i], len(r.Tasks))
		}
	}
	r.work, r.ready = s.Work, s.Ready
	return r, nil
}

// count says again of each task how many needs it waits for, and how many tasks are open.
func (r *Run) count() {
	r.open = 0
	for i, t := range r.Tasks {
		if !t.State.Ended() {
			r.open++
		}
		t.waiting = 0
		if i >= len(r.Plan.Tasks) {
			continue // compensation waits for nothing
		}
		for _, need := range t.Spec.Needs {
			if n := r.Tasks[r.byID[need]]; !n.State.Good() {
				t.waiting++
			}
		}
	}
}
