package run

import (
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
)

// State of a run.
type State string

// The states of a run.
const (
	Running   State = "running"
	Stopping  State = "stopping"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Canceled  State = "canceled"
)

// Ended reports that the state is terminal.
func (s State) Ended() bool { return s == Succeeded || s == Failed || s == Canceled }

// TaskState is the state of a task.
type TaskState string

// The states of a task.
const (
	TaskPending   TaskState = "pending"
	TaskReady     TaskState = "ready"
	TaskLeased    TaskState = "leased"
	TaskRunning   TaskState = "running"
	TaskSucceeded TaskState = "succeeded"
	TaskReused    TaskState = "reused"
	TaskFailed    TaskState = "failed"
	TaskErrored   TaskState = "errored"
	TaskCanceled  TaskState = "canceled"
	TaskSkipped   TaskState = "skipped"
	// TaskUnreachable: the cluster could not be reached, and the release goes on without it.
	TaskUnreachable TaskState = "unreachable"
)

// Ended reports that the state is terminal.
func (s TaskState) Ended() bool {
	switch s {
	case TaskSucceeded, TaskReused, TaskFailed, TaskErrored, TaskCanceled, TaskSkipped, TaskUnreachable:
		return true
	case TaskPending, TaskReady, TaskLeased, TaskRunning:
	}
	return false
}

// Good reports that what needs the task may start.
func (s TaskState) Good() bool {
	return s == TaskSucceeded || s == TaskReused || s == TaskUnreachable
}

// Outcome is how an attempt ended.
type Outcome string

// The outcomes of an attempt.
const (
	OutcomeSucceeded Outcome = "succeeded"
	OutcomeFailed    Outcome = "failed"  // the work said no
	OutcomeErrored   Outcome = "errored" // the farm could not tell
	OutcomeCanceled  Outcome = "canceled"
	OutcomeLost      Outcome = "lost" // the lease ran out
)

// Class says whose failure it was; each has its own retry budget.
type Class string

// The failure classes.
const (
	ClassNone    Class = ""
	ClassUser    Class = "user"
	ClassInfra   Class = "infra"
	ClassFlaky   Class = "flaky"
	ClassTimeout Class = "timeout"
	ClassOOM     Class = "oom"
)

// Fence orders every effect of a project: by the epoch of the partition's owner, then
// by a counter within it. The zero fence is older than every lease.
type Fence struct {
	Epoch   uint64
	Counter uint64
}

// Less reports that f is older than g.
func (f Fence) Less(g Fence) bool {
	return f.Epoch < g.Epoch || f.Epoch == g.Epoch && f.Counter < g.Counter
}

// Step is one timed part of an attempt: a BuildKit vertex, a phase of a pod.
type Step struct {
	Name       string
	Kind       string
	StartedAt  time.Time
	FinishedAt time.Time
	Cached     bool
	Error      string
	Attributes map[string]string
}

// Attempt is one numbered try at a task.
type Attempt struct {
	Number     int // from 1
	Worker     string
	Fence      Fence
	Outcome    Outcome // empty while it goes on
	Class      Class
	Message    string
	LeasedAt   time.Time
	StartedAt  time.Time
	FinishedAt time.Time
	Steps      []Step
	LogSize    int64 // bytes of its log
	Untouched  bool  // an apply that changed nothing at its target

	Unreachable bool `json:",omitempty"` // it ended since its cluster did not answer

	Doubted bool `json:",omitempty"` // a test failed, and the machine may be to blame: it counts for nothing

	Failed []plan.TestName `json:",omitempty"` // cases of a test that failed, the first plan.MaxFailures; sorted
}

// Task is a task of a run with what became of it.
type Task struct {
	Index      int // position in Run.Tasks, and in the task's token
	Spec       *plan.Task
	State      TaskState
	Attempts   []Attempt
	ReadyAt    time.Time
	NotBefore  time.Time // of the next attempt
	FinishedAt time.Time
	Message    string
	Class      Class
	Result     plan.Result
	Approvals  []Approval `json:",omitempty"` // of a task that waits for them, in the order in which they came
	// Revoked: whoever carries it out was or must be told to stop.
	Revoked bool

	waiting int   // needs that are not good yet
	kids    []int // tasks that need this one
	bottom  time.Duration
}

// Current is the attempt that goes on, or nil.
func (t *Task) Current() *Attempt {
	if n := len(t.Attempts); n > 0 && t.Attempts[n-1].Outcome == "" {
		return &t.Attempts[n-1]
	}
	return nil
}

// Approval is one yes.
type Approval struct {
	By     string
	Reason string
	At     time.Time
}

// Run is the state of one run. Tasks holds the plan's tasks in the plan's order, then
// the compensation that was started. Only Apply changes it.
type Run struct {
	ID          string
	Number      uint64
	Project     string
	Repository  string
	Ref         string
	Commit      string
	Dirty       bool
	PlanHash    string
	TraceID     string
	SubmittedBy string
	Origin      Origin
	AcceptedAt  time.Time
	FinishedAt  time.Time
	State       State
	Message     string
	Release     string // hash of the release, once there is one
	// Logs is the blob of the archive of its logs; empty: there is none yet, or none any more.
	Logs          string `json:",omitempty"`
	LogsForgotten bool   `json:",omitempty"` // they were archived
	Plan          *plan.Plan
	Tasks         []*Task

	byID     map[string]int
	changes  map[change][]int // what a release of a service does on a target: applies, shifts, analyses
	open     int              // tasks that have not ended
	entered  map[string]int   // environment whose rollout was begun and not left → tasks there that have not ended
	work     []int            // tasks that ended and whose consequences Next has not said yet
	ready    []int            // tasks that became ready and were not taken yet
	revoke   []int            // tasks that must be told to stop and were not taken yet
	canceled bool
}

// change is a release of a service on a target.
type change struct {
	service string
	target  plan.Target
}

// Written are the attempts that may have written a log: not those of the coordinator itself.
func (r *Run) Written(each func(*Task, Attempt)) {
	for _, t := range r.Tasks {
		if t.Spec.Can == plan.CapabilityCoordinator {
			continue
		}
		for _, a := range t.Attempts {
			each(t, a)
		}
	}
}

// OwesLogs reports that the run has ended, and its logs are where they were written to.
func (r *Run) OwesLogs() bool {
	owes := false
	if r.State.Ended() && r.Logs == "" && !r.LogsForgotten {
		r.Written(func(*Task, Attempt) { owes = true })
	}
	return owes
}

// Find returns a task by its id in the plan.
func (r *Run) Find(id string) (*Task, bool) {
	i, ok := r.byID[id]
	if !ok {
		return nil, false
	}
	return r.Tasks[i], true
}

// TakeReady returns the tasks that became ready since the last call and still are.
func (r *Run) TakeReady() []*Task {
	return r.take(&r.ready, func(t *Task) bool { return t.State == TaskReady })
}

// TakeRevoked returns the tasks that must be told to stop since the last call.
func (r *Run) TakeRevoked() []*Task {
	return r.take(&r.revoke, func(t *Task) bool { return t.Current() != nil })
}

func (r *Run) take(list *[]int, still func(*Task) bool) []*Task {
	var out []*Task
	for _, i := range *list {
		if t := r.Tasks[i]; still(t) {
			out = append(out, t)
		}
	}
	*list = nil
	return out
}

// Snapshot is a copy that later events do not change. Plan, specs and steps are shared:
// nothing changes them.
func (r *Run) Snapshot() *Run {
	c := r.Head()
	c.byID = make(map[string]int, len(r.byID))
	c.Tasks = make([]*Task, len(r.Tasks))
	for i, t := range r.Tasks {
		c.Tasks[i] = t.Snapshot()
		c.byID[t.Spec.ID] = i
	}
	return c
}

// Head is a Snapshot without tasks.
func (r *Run) Head() *Run {
	c := *r
	c.Tasks, c.byID, c.entered, c.work, c.ready, c.revoke = nil, nil, nil, nil, nil, nil
	return &c
}

// Snapshot is a copy that later events do not change.
func (t *Task) Snapshot() *Task {
	c := *t
	c.Attempts = append([]Attempt(nil), t.Attempts...)
	c.kids = nil
	return &c
}
