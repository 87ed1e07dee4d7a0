package pipeline

import (
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
)

// Targets is what targets.yaml says about one project.
type Targets struct {
	Version      int            `json:"version"`
	Project      string         `json:"project"`
	Clusters     []*Cluster     `json:"clusters"`     // sorted by name
	Environments []*Environment `json:"environments"` // in the order of the rollout
	Pools        []*Pool        `json:"pools,omitempty"`
	Classes      []Class        `json:"classes,omitempty"` // the first that is for a run counts
	Quotas       []*Quota       `json:"quotas,omitempty"`  // sorted by team
	Groups       []*Group       `json:"groups,omitempty"`  // sorted by name
	Secrets      []*Secret      `json:"secrets,omitempty"` // sorted by name
	Findings     *Findings      `json:"findings,omitempty"`
	Analyses     []*Analysis    `json:"analysis,omitempty"` // sorted by name
	ProjectPos   Pos            `json:"-"`
}

// Cluster is a Kubernetes cluster. How it is reached is the deployer's business.
type Cluster struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
	Pos    Pos               `json:"-"`
}

// Environment is a set of targets that are updated together.
type Environment struct {
	Name      string            `json:"name"`
	Selector  map[string]string `json:"selector"`        // labels of its clusters
	Clusters  []string          `json:"clusters"`        // whom Selector selects; sorted, at least one
	Waves     []*Wave           `json:"waves,omitempty"` // one after the other; none: all clusters side by side
	Namespace string            `json:"namespace"`       //
	After     *After            `json:"after,omitempty"` // nil: it waits for no other environment
	Strategy  string            `json:"strategy"`        // rolling, canary, blue-green, flag
	Canary    *Canary           `json:"canary,omitempty"`
	BlueGreen *BlueGreen        `json:"blue_green,omitempty"`
	Flag      *Flag             `json:"flag,omitempty"`
	Rollback  string            `json:"rollback"`           // every-wave, none
	Hold      bool              `json:"hold,omitempty"`     // after a failure no run begins a rollout, until somebody frees the environment
	Approve   *Approve          `json:"approve,omitempty"`  // nil: nobody is asked
	Windows   []plan.Window     `json:"windows,omitempty"`  // sorted by name; outside them no rollout and no wave begins
	Tolerate  int               `json:"tolerate,omitempty"` // clusters that may be unreachable, and are caught up later
	Drift     string            `json:"drift"`              // none, report, restore
	Every     time.Duration     `json:"every,omitempty"`    // clusters are compared at least that often; 0: not, for Drift is none
	Policies  []plan.Policy     `json:"policies,omitempty"`
	KeyFiles  []KeyFile         `json:"-"` // that policies name
	Pos       Pos               `json:"-"` // of its name
}

// KeyFile is where the public key of a policy is named. Reading it is the coordinator's business.
type KeyFile struct {
	Policy, Key int // Environment.Policies[Policy].Keys[Key]: its name is that of a file, or it has a PEM that nobody has read yet
	Pos         Pos
}

// Canary gives the candidate of a service more and more of the pods, in all clusters of a wave
// at the same time.
type Canary struct {
	Steps []int         `json:"steps"` // percent, ascending; the last is 100
	Pause time.Duration `json:"pause"` // after each step but the last, in which the candidate is watched
	Measured
}

// BlueGreen has a whole candidate beside what serves, gives it all requests at once, and keeps what
// served before for a while.
type BlueGreen struct {
	Verify   time.Duration `json:"verify"` // before it is given any
	Warm     time.Duration `json:"warm"`   // that what served before is kept
	Measured               // while that is kept
}

// Flag moves a feature flag of a service from the variant that all have to another one, a part of the
// evaluations at a time, in all clusters of a wave at the same time. Services without it are rolled out as a whole.
type Flag struct {
	Name  string        `json:"name"`
	Steps []int         `json:"steps"` // percent, ascending; the last is 100
	Pause time.Duration `json:"pause"` // after each step but the last, in which the service is watched
	Measured
}

// Measured is what must be good while a candidate is watched.
type Measured struct {
	Analyze  []string    `json:"analyze,omitempty"` // in the order of the file
	Analyses []*Analysis `json:"-"`                 // those that Analyze names
	alone    bool        // nothing stands beside to compare with
}

// Analysis is a set of metrics that says whether a candidate does well.
type Analysis struct {
	plan.Analysis
	Pos Pos `json:"-"` // of its name
}

// Approve is who must approve a release for an environment, before its rollout begins.
type Approve struct {
	Team   string        `json:"team"`           // a group of tokens of the coordinator's configuration
	Min    int           `json:"min"`            // default: 1
	Self   bool          `json:"self,omitempty"` // whoever asked for the run may be one
	Within time.Duration `json:"within"`         // default: a week
}

// Wave is a part of an environment's clusters. The next wave waits until every service is healthy in it.
type Wave struct {
	Name     string            `json:"name"`
	Selector map[string]string `json:"selector,omitempty"` // labels of its clusters; none: those of no other wave
	Clusters []string          `json:"clusters"`           // sorted, at least one, in no wave before
	Parallel int               `json:"parallel,omitempty"` // how many of them at a time, in their order; 0: all
	Soak     time.Duration     `json:"soak,omitempty"`     // between the end of the wave and the next one
	Pos      Pos               `json:"-"`
}

// After is the environment that must be done before.
type After struct {
	Env      string        `json:"env"`
	Verified bool          `json:"verified"`       // always true today: healthy in every cluster, and its verifications passed
	Soak     time.Duration `json:"soak,omitempty"` // since then
	Pos      Pos           `json:"-"`
}

// Pool is a set of interchangeable workers.
type Pool struct {
	Name string   `json:"name"`
	Arch []string `json:"arch,omitempty"`
	Min  int      `json:"min"`
	Max  int      `json:"max"`
	Pos  Pos      `json:"-"`
}

// How the pods of a service are replaced.
const (
	StrategyRolling   = "rolling"    // by Kubernetes, in every cluster of a wave side by side
	StrategyCanary    = "canary"     // in steps
	StrategyBlueGreen = "blue-green" // all at once, and back as fast
	StrategyFlag      = "flag"       // the release at once, and a feature flag of it in steps
)

// What happens when a service does not become healthy in an environment.
const (
	RollbackEveryWave = "every-wave" // it goes back to its last good release in every cluster that it touched
	RollbackNone      = "none"       // everything stays as it is, for people to look at
)

// What becomes of what somebody changes in an environment between releases.
const (
	DriftNone    = "none"    // nobody looks
	DriftReport  = "report"  // it is told
	DriftRestore = "restore" // it is told, and brought back
)

// Environment finds an environment by name.
func (t *Targets) Environment(name string) (*Environment, bool) {
	for _, e := range t.Environments {
		if e.Name == name {
			return e, true
		}
	}
	return nil, false
}
