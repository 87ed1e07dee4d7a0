package run

import (
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
)

// Event is something that happened to a run. The set is closed: these types.
type Event interface{ RunID() string }

// Accepted begins a run.
type Accepted struct {
	Run            string
	Number         uint64
	Project        string
	Repository     string
	Ref            string
	Commit         string
	Dirty          bool
	PlanHash       string
	SubmittedBy    string
	IdempotencyKey string
	RequestHash    string
	TraceID        string
	Origin         Origin
}

// Origin is the event at a git host that began a run, as far as the host must be told
// what became of it. The zero Origin: somebody asked for the run.
type Origin struct {
	Webhook    string // its name in the coordinator's configuration
	Repository string // as the host calls it: "owner/name"
	Branch     string // where the host has the commit: a branch, or a full ref
}

// AttemptStarted says that somebody holds the lease of an attempt.
type AttemptStarted struct {
	Run      string
	Task     string
	Attempt  int
	Worker   string
	Fence    Fence
	LeasedAt time.Time
}

// AttemptFinished says how an attempt ended.
type AttemptFinished struct {
	Run     string
	Task    string
	Attempt Attempt
}

// TaskFinished gives a task its last state.
type TaskFinished struct {
	Run     string
	Task    string
	State   TaskState
	Message string
	Class   Class
	Result  plan.Result
	Digest  string // the result may be reused under it; empty: never
}

// TaskRetried makes a task ready again.
type TaskRetried struct {
	Run    string
	Task   string
	At     time.Time // not before
	Reason string
}

// CompensationStarted adds tasks from the plan's templates.
type CompensationStarted struct {
	Run    string
	Tasks  []string
	Reason string
}

// StopRequested says that somebody canceled the run. Said again, with fewer to keep, it stops
// those too.
type StopRequested struct {
	Run     string
	Message string
	Keep    []string // tasks that go on nevertheless: other runs wait for what they make
}

// Finished gives the run its last state.
type Finished struct {
	Run     string
	State   State
	Message string
}

// RolloutEntered says that the run holds an environment's lock.
type RolloutEntered struct {
	Run         string
	Environment string
}

// Promoted says that what a run applied to a target is stable there now.
type Promoted struct {
	Run         string
	Environment string
	Cluster     string
	Service     string
	Manifests   string
	Release     string
}

// RolloutLeft says that an environment's lock is free again.
type RolloutLeft struct {
	Run         string
	Environment string
}

// Archived says that a run that has ended left the state, and which blob it is kept as.
type Archived struct {
	Run  string
	Blob string
}

// LogsArchived says that the logs of a run that has ended are kept as a blob, and may be gone
// from where they were written to.
type LogsArchived struct {
	Run  string
	Blob string
}

// Forgotten says what the state does not know any more. The zero time: nothing of that
// kind. It belongs to no run.
type Forgotten struct {
	Keys     time.Time // idempotency keys that came before
	Results  time.Time // results, and last green commits, that are older
	Archives time.Time // archives of runs that ended before
	Logs     time.Time // archives of the logs of runs that ended before
}

// Quarantined says that a case of a test is in quarantine from now on. It belongs to no run.
type Quarantined struct {
	Project string
	Test    string // id of its task, or of the one that gathers its shards
	Case    plan.TestName
	By      string // the token that asked for it; empty: what runs taught
	Reason  string
	Until   time.Time
	Release int // how often in a row it must pass to be let out before
}

// Released says that a case is in quarantine no longer. It belongs to no run.
type Released struct {
	Project string
	Test    string
	Case    plan.TestName
	By      string // the token that asked for it; empty: its time is over, or it passed often enough
	Reason  string
}

// ResultsForgotten says that what was made of some inputs stands in for nothing any more, nor does
// what goes on. It belongs to no run.
type ResultsForgotten struct {
	Project string
	Digests []string
	By      string // the token that asked for it
	Reason  string
}

// Approved says that somebody approved the release of a run for an environment.
type Approved struct {
	Run    string
	Task   string
	By     string
	Reason string
}

// EnvironmentHeld says that no run begins a rollout to an environment from now on; with Pause, that
// the one that goes on there begins nothing more. It belongs to no run.
type EnvironmentHeld struct {
	Project     string
	Environment string
	By          string // the token that asked for it; empty: a rollout that failed
	Run         string // whose rollout that was
	Reason      string
	Pause       bool
}

// EnvironmentFreed takes that back. It belongs to no run.
type EnvironmentFreed struct {
	Project     string
	Environment string
	By          string // the token that asked for it
	Reason      string
}

// RunID is the run that the event belongs to.
func (e Accepted) RunID() string            { return e.Run }
func (e AttemptStarted) RunID() string      { return e.Run } //nolint:revive // as above
func (e AttemptFinished) RunID() string     { return e.Run } //nolint:revive // as above
func (e TaskFinished) RunID() string        { return e.Run } //nolint:revive // as above
func (e TaskRetried) RunID() string         { return e.Run } //nolint:revive // as above
func (e CompensationStarted) RunID() string { return e.Run } //nolint:revive // as above
func (e StopRequested) RunID() string       { return e.Run } //nolint:revive // as above
func (e Finished) RunID() string            { return e.Run } //nolint:revive // as above
func (e RolloutEntered) RunID() string      { return e.Run } //nolint:revive // as above
func (e Promoted) RunID() string            { return e.Run } //nolint:revive // as above
func (e RolloutLeft) RunID() string         { return e.Run } //nolint:revive // as above
func (e Archived) RunID() string            { return e.Run } //nolint:revive // as above
func (e LogsArchived) RunID() string        { return e.Run } //nolint:revive // as above
func (e Forgotten) RunID() string           { return "" }    //nolint:revive // as above
func (e Quarantined) RunID() string         { return "" }    //nolint:revive // as above
func (e Released) RunID() string            { return "" }    //nolint:revive // as above
func (e ResultsForgotten) RunID() string    { return "" }    //nolint:revive // as above
func (e Approved) RunID() string            { return e.Run } //nolint:revive // as above
func (e EnvironmentHeld) RunID() string     { return "" }    //nolint:revive // as above
func (e EnvironmentFreed) RunID() string    { return "" }    //nolint:revive // as above
