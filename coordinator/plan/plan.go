// Package plan holds the plan of a run: one graph of tasks from the checkout to
// the last cluster, with the compensation that a failure would need (DESIGN D1).
//
// A plan is data. It is made by planner and rollout, accepted into the journal by
// its hash, and never changed afterwards. The package decides nothing: what may
// start next is run's business, what a task does is its runner's.
package plan

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Version is the format of the canonical JSON that Encode writes and Hash covers.
const Version = 1

// Kind says what a task does, and so which program can carry it out.
type Kind string

// The kinds of tasks, in the order in which a run meets them.
const (
	// KindCheckout pins the commit in the coordinator's mirror, so that every later
	// task finds it. Carried out by the coordinator.
	KindCheckout Kind = "checkout"
	// KindBuild builds one service's image and pushes it by digest. Worker.
	KindBuild Kind = "build"
	// KindTest runs one test of a service through BuildKit. Worker.
	KindTest Kind = "test"
	// KindGather adds up what the shards of a test found; it is reused in their place. Coordinator.
	KindGather Kind = "gather"
	// KindScan looks for what is wrong in the sources of a service. Worker.
	KindScan Kind = "scan"
	// KindFindings compares what the scans of a service found with what the last green commit
	// had, and says no to what is new and severe. Coordinator.
	KindFindings Kind = "findings"
	// KindSign signs the image of one service, and what is said about it. Coordinator.
	KindSign Kind = "sign"
	// KindRender makes the manifests of one service for one target, digests injected. Worker.
	KindRender Kind = "render"
	// KindDiff compares the manifests of one service with what is on one target, and
	// changes nothing: of runs that are not released. Deployer.
	KindDiff Kind = "diff"
	// KindRelease is the gate between CI and CD: it waits for every test and every
	// render, and fixes the release (images, manifests, targets) under one hash. Coordinator.
	KindRelease Kind = "release"
	// KindApprove waits until people of a team have approved the release for one environment. Coordinator.
	KindApprove Kind = "approve"
	// KindRollout begins the rollout to one environment: it waits for the
	// environment before it, takes the environment's lock and its epoch. Coordinator.
	KindRollout Kind = "rollout"
	// KindApply applies one service's manifests to one target and waits until it is
	// healthy. Deployer.
	KindApply Kind = "apply"
	// KindShift gives the candidate of one service a part of the pods on one target, beside
	// those that serve: one step of a canary. Deployer.
	KindShift Kind = "shift"
	// KindAnalyze watches the candidate of one service on one target for a while, and says
	// whether it may have more. Deployer.
	KindAnalyze Kind = "analyze"
	// KindStep is the barrier behind one step of a canary: the candidate of one service did
	// well in every cluster of a wave. Coordinator.
	KindStep Kind = "step"
	// KindWave is the barrier between two waves of an environment: every service is
	// healthy in the clusters of the first. Coordinator.
	KindWave Kind = "wave"
	// KindPromote makes the candidate of one service stable in one environment, after
	// it is healthy in every cluster of it. Coordinator.
	KindPromote Kind = "promote"
	// KindVerified is the barrier at the end of an environment: every service in it is
	// promoted. Coordinator.
	KindVerified Kind = "verified"
	// KindRollback brings one service on one target back to its last good release.
	// Only in Plan.Compensation, instantiated when an apply did not succeed. Deployer.
	KindRollback Kind = "rollback"
	// KindCatchUp brings one service to one target whose cluster could not be reached while the release was
	// rolled out. Only in Plan.Compensation, instantiated when the release is promoted without it. Deployer.
	KindCatchUp Kind = "catchup"
)

// Changes says that a task of the kind writes to a cluster; but for a catch-up, under the lock of its environment.
func (k Kind) Changes() bool {
	return k == KindApply || k == KindShift || k == KindRollback || k == KindCatchUp
}

// Capabilities name who may lease a task; the empty one is the coordinator itself.
const (
	CapabilityCoordinator  = ""
	CapabilityBuild        = "build"   // BuildKit: KindBuild, KindTest, KindScan with a tool of the user's
	CapabilityRender       = "render"  // KindRender, KindScan by what the worker brings along
	CapabilityDeployPrefix = "deploy_" // + cluster name: KindApply, KindShift, KindAnalyze, KindRollback, KindDiff
)

// Plan is the graph of one run. Services, Tasks and Compensation are sorted:
// services by name, tasks topologically and then by id, compensation by id.
type Plan struct {
	Version    int       `json:"version"`
	Project    string    `json:"project"`
	Repository string    `json:"repository"`          // as given at submit: URL or path
	Ref        string    `json:"ref,omitempty"`       // as given at submit: branch, tag or commit
	Commit     string    `json:"commit"`              // full object id, 40 or 64 hex digits
	Base       string    `json:"base,omitempty"`      // the last green commit that "affected" was measured against
	Dirty      bool      `json:"dirty,omitempty"`     // the commit holds somebody's uncommitted working tree
	Rebuild    bool      `json:"rebuild,omitempty"`   // nothing that another run makes stands in for what this one does
	Untrusted  bool      `json:"untrusted,omitempty"` // the commit is a stranger's: its tasks get no secrets
	Source     Source    `json:"source,omitzero"`     // what tasks get in place of what git has
	Registry   string    `json:"registry,omitempty"`  // prefix that images are pushed under, e.g. 127.0.0.1:7423/shop
	Services   []Service `json:"services"`            //
	Tasks      []Task    `json:"tasks"`               //
	Line       string    `json:"line,omitempty"`      // the branch or pull request whose event began it: of its runs the newest counts
	Supersede  string    `json:"supersede,omitempty"` // which older runs of the line it ends; empty: none
	Back       string    `json:"back,omitempty"`      // the run whose release it brings back to an environment, which may be held; empty: none
	Drift      *Drift    `json:"drift,omitempty"`     // it looks for what somebody changed, or the farm by itself takes that back; nil: neither
	Timeout    int       `json:"timeout_seconds,omitempty"`
	Class      string    `json:"class,omitempty"`    // urgent or low, as the platform decided; empty: normal
	Teams      []Team    `json:"teams,omitempty"`    // quotas of those that have tasks here, sorted by name; who has none is not there
	Groups     []Group   `json:"groups,omitempty"`   // of those that tasks here are in, the ones with room for more than one, sorted by name
	Timings    []Timing  `json:"timings,omitempty"`  // of tests that are split by them, sorted by test
	Findings   *Findings `json:"findings,omitempty"` // of the tasks that judge; nil: there are none
	Rollbacks  []Task    `json:"compensation"`       // templates, KindRollback and KindCatchUp; ids "rollback/<service>@<environment>/<cluster>"
}

// Source says how the sources of tasks differ from what git has.
type Source struct {
	LFS        bool     `json:"lfs,omitempty"`        // the content of files in Git LFS is there, not their pointers
	Submodules []string `json:"submodules,omitempty"` // paths at which the files of a submodule are, sorted
}

// Drift says of a plan that it is about what somebody changed in an environment since its release.
type Drift struct {
	Environment string   `json:"environment"`
	Restores    []string `json:"restores,omitempty"` // what the farm takes back by itself, as "cluster/service/ConfigMap/settings", sorted; none: it compares
}

// Values of Plan.Supersede.
const (
	SupersedeQueued  = "queued"  // older runs of the line of which no task has been taken
	SupersedeRunning = "running" // those too that go on
)

// Values of Plan.Class, and of ClassOf.
const (
	ClassUrgent = "urgent"
	ClassNormal = ""
	ClassLow    = "low"
)

// ClassOf is the class of a task: its run's, but what undoes is always urgent.
func (p *Plan) ClassOf(t *Task) string {
	if t.Kind == KindRollback || p.Back != "" {
		return ClassUrgent
	}
	return p.Class
}

// Team is what the tasks of a team have of the workers: the platform's word when the plan
// was made, so that what is decided about a run depends on its plan alone.
type Team struct {
	Name    string `json:"name"`
	Share   int    `json:"share"`             // weight among the teams that wait
	Running int    `json:"running,omitempty"` // how many of its tasks are leased at once; 0: no limit
}

// Quota of a team: an equal share and no limit, if the platform says nothing.
func (p *Plan) Quota(team string) Team {
	i, ok := slices.BinarySearchFunc(p.Teams, team, func(t Team, name string) int { return strings.Compare(t.Name, name) })
	if !ok {
		return Team{Name: team, Share: 1}
	}
	return p.Teams[i]
}

// Group is how many tasks of a group are leased at once, of all runs of the project: the
// platform's word when the plan was made.
type Group struct {
	Name    string `json:"name"`
	Running int    `json:"running"`
}

// Room of a group: one, if the platform says nothing.
func (p *Plan) Room(group string) int {
	for _, g := range p.Groups {
		if g.Name == group {
			return max(1, g.Running)
		}
	}
	return 1
}

// Timing is how long the items of a test usually took when the plan was made: all its shards
// split by the same.
type Timing struct {
	Test  string `json:"test"`  // id of the task that gathers
	Items []Item `json:"items"` // sorted by name
}

// Item is one of the parts of a test that its list names.
type Item struct {
	Name   string `json:"name"`
	Millis int64  `json:"millis"`
}

// Timing of a test's items; none: nobody knows.
func (p *Plan) Timing(test string) []Item {
	i, ok := slices.BinarySearchFunc(p.Timings, test, func(t Timing, name string) int { return strings.Compare(t.Test, name) })
	if !ok {
		return nil
	}
	return p.Timings[i].Items
}

// Service says what became of one service in this plan, and why.
type Service struct {
	Name     string   `json:"name"`
	Digest   string   `json:"digest"`            // "sha256:…" of everything that its image depends on (DESIGN D5)
	Affected bool     `json:"affected"`          // changed since Base
	Reason   string   `json:"reason"`            // why it is built or reused, for people
	Owner    string   `json:"owner,omitempty"`   //
	Targets  []Target `json:"targets,omitempty"` // where it goes, in order of environments
}

// Target is one cluster and namespace of an environment.
type Target struct {
	Environment string `json:"environment"`
	Cluster     string `json:"cluster"`
	Namespace   string `json:"namespace"`
}

// Task is a node of the graph: the smallest thing that is queued and leased.
// Exactly the spec of its Kind is set; kinds of the coordinator have none but Needs.
type Task struct {
	ID      string   `json:"id"` // unique in the plan: "build/api", "test/api/unit", "apply/api@prod/prod-eu", "verified/prod"
	Kind    Kind     `json:"kind"`
	Service string   `json:"service,omitempty"`
	Target  *Target  `json:"target,omitempty"`          // apply, render, rollback; environment only for rollout, promote, verified
	Needs   []string `json:"needs,omitempty"`           // task ids that must have succeeded (or been reused) before; sorted
	Can     string   `json:"capability,omitempty"`      // who may lease it
	Team    string   `json:"team,omitempty"`            // whose share of them it takes; empty: nobody's
	Group   string   `json:"group,omitempty"`           // of the project's tasks that are not all leased at once; empty: none
	Digest  string   `json:"digest,omitempty"`          // content identity; empty: never reused
	Reuse   *Reuse   `json:"reuse,omitempty"`           // set: the task is reused, not run
	Reason  string   `json:"reason"`                    // why it runs or is reused, for people
	Timeout int      `json:"timeout_seconds,omitempty"` // of one attempt
	Infra   int      `json:"retry_infra,omitempty"`     // how often an errored attempt is tried again
	Flaky   int      `json:"retry_flaky,omitempty"`     // how often a test that failed is tried again: one that succeeds then is flaky

	Quarantine *Quarantine `json:"quarantine,omitempty"` // of a test, and of what gathers its shards

	RetryTimeout int `json:"retry_timeout,omitempty"` // how often an attempt that used up its time is tried again
	RetryOOM     int `json:"retry_oom,omitempty"`     // how often one that ran out of memory is

	Key string `json:"key,omitempty"` // of a task that signs: which key does

	Build  *Build  `json:"build,omitempty"`
	Test   *Test   `json:"test,omitempty"`
	Scan   *Scan   `json:"scan,omitempty"`
	Render *Render `json:"render,omitempty"`
	Apply  *Apply  `json:"apply,omitempty"` // also of KindShift, KindRollback and KindDiff

	Analyze  *Analyze `json:"analyze,omitempty"`
	Wait     int      `json:"wait_seconds,omitempty"`    // of a barrier: how long it takes once nothing stands before it
	Windows  []Window `json:"windows,omitempty"`         // of KindRollout and KindWave: outside them what is behind does not begin
	Approve  *Approve `json:"approve,omitempty"`         //
	Hold     bool     `json:"hold_on_failure,omitempty"` // of KindRollout: when something fails, later runs do not begin one
	Tolerate int      `json:"tolerate,omitempty"`        // of KindRollout: how many clusters may be unreachable
}

// Window is when a rollout may begin: at some hours of some days, or but for a span of time.
type Window struct {
	Name   string  `json:"name"`
	Zone   string  `json:"zone"` // of the time zone database
	Hours  []Hours `json:"hours,omitempty"`
	Freeze *Freeze `json:"freeze,omitempty"`
}

// Hours are a part of each of some days of the week.
type Hours struct {
	Days []int `json:"days"` // 0 is Sunday; sorted
	From int   `json:"from"` // minutes of the day
	To   int   `json:"to"`   // exclusive
}

// Freeze is a span of time, in the zone of its window: 2006-01-02 15:04.
type Freeze struct {
	From string `json:"from"`
	To   string `json:"to"` // exclusive
}

// Approve is who must say yes.
type Approve struct {
	Team   string `json:"team"`           // a group of tokens
	Min    int    `json:"min"`            // how many of them
	Self   bool   `json:"self,omitempty"` // whoever asked for the run may be one
	Within int    `json:"within_seconds"` // how long it is waited for
}

// Command is what is carried out as a test is: a test, or the tool of a scan; nil: it is neither.
func (t *Task) Command() *Test {
	if t.Scan != nil {
		return t.Scan.Test
	}
	return t.Test
}

// Quarantine is what becomes of the cases of a test that fail now and then. A case in quarantine
// is carried out, and its failure does not fail the test. It is no input of the test: what passed
// only because of it stands in for nothing.
type Quarantine struct {
	After   int        `json:"after,omitempty"` // so many times that a case failed, and passed with the same inputs, put it there; 0: only people do
	Days    int        `json:"days"`            // how long it stays there at most
	Release int        `json:"release"`         // how often in a row it must pass to be let out before
	Cases   []TestName `json:"cases,omitempty"` // that were there when the plan was made, sorted
}

// Holds says that a case is in quarantine.
func (q *Quarantine) Holds(n TestName) bool {
	if q == nil {
		return false
	}
	_, ok := slices.BinarySearchFunc(q.Cases, n, TestName.Compare)
	return ok
}

// Leaves is how often a case must pass in a row until it is not remembered as one that fails now
// and then.
func (q *Quarantine) Leaves() int {
	if q == nil || q.Release == 0 {
		return QuarantineRelease
	}
	return q.Release
}

// Of a test that says nothing else about its quarantine.
const (
	QuarantineAfter   = 2
	QuarantineDays    = 14
	QuarantineRelease = 20
)

// TestName names a test case.
type TestName struct {
	Suite string `json:"suite,omitempty"`
	Name  string `json:"name"`
}

// Compare orders by suite and name.
func (n TestName) Compare(m TestName) int {
	return cmp.Or(strings.Compare(n.Suite, m.Suite), strings.Compare(n.Name, m.Name))
}

// String is the name as people are shown it.
func (n TestName) String() string {
	if n.Suite == "" || n.Suite == n.Name {
		return n.Name
	}
	return n.Suite + " " + n.Name
}

// Reuse points to the earlier result that stands in for a task.
type Reuse struct {
	Run    string `json:"run"` // the run that produced it
	Result Result `json:"result"`
}

// Result is what a task that succeeded leaves for the tasks after it. It is small:
// large things are blobs named by digest.
type Result struct {
	Image     string            `json:"image,omitempty"`     // build: "<registry>/<service>@sha256:…"; render: the image that the manifests carry; sign: the one that is signed
	Index     string            `json:"index,omitempty"`     // build: of what BuildKit pushed, the image and its provenance: "<registry>/<service>@sha256:…"
	SBOM      string            `json:"sbom,omitempty"`      // build: digest of the blob with its packages: SPDX
	Key       string            `json:"key,omitempty"`       // sign: by which key
	Manifests string            `json:"manifests,omitempty"` // render: digest of the blob with the rendered manifests
	Resolved  map[string]string `json:"resolved,omitempty"`  // render: what tags of images meant, "name:tag" → "sha256:…"
	Release   string            `json:"release,omitempty"`   // release: its hash, also the digest of its blob
	Tests     *TestSummary      `json:"tests,omitempty"`     // test: counts
	Deploy    *Deployed         `json:"deploy,omitempty"`    // apply, rollback: what was found in the cluster
	Diff      *Diff             `json:"diff,omitempty"`      // diff: what would change there

	Coverage  *Coverage  `json:"coverage,omitempty"`  // test: also of one that failed
	Artifacts []Artifact `json:"artifacts,omitempty"` // test: files that it left, also one that failed; sorted by name

	Scan     *ScanSummary     `json:"scan,omitempty"`     // scan: counts
	Findings *FindingsSummary `json:"findings,omitempty"` // findings: counts, also of those that said no
}

// How many artifacts a result names: those of a test, with that of its coverage, and those of all shards of one.
const (
	MaxArtifacts = 21
	MaxGathered  = 200
)

// Coverage counts lines of the program that a test carried out.
type Coverage struct {
	Covered int64 `json:"covered"`
	Total   int64 `json:"total"`
	Files   int   `json:"files"`
	// Before is what the base commit of the run had; nil: that is not known.
	Before *CoverageBefore `json:"before,omitempty"`
}

// Percent of the lines that are covered, rounded down to a tenth.
func (c *Coverage) Percent() float64 {
	if c.Total == 0 {
		return 0
	}
	return float64(c.Covered*1000/c.Total) / 10
}

// CoverageBefore is what an earlier run found.
type CoverageBefore struct {
	Run     string `json:"run"`
	Covered int64  `json:"covered"`
	Total   int64  `json:"total"`
}

// Artifact is what a test left of files: one file as it was, or an archive.
type Artifact struct {
	Name   string `json:"name"`           // as slipway.yaml calls it; of what gathers shards with the shard behind it: "screenshots.2of4"
	Digest string `json:"digest"`         // "sha256:…" of what is stored
	Size   int64  `json:"size"`           // of what is stored, in bytes
	Files  int    `json:"files"`          // in it
	File   string `json:"file,omitempty"` // name of the one file that it is; empty: it is a tar, compressed with zstd

	Executable bool `json:"executable,omitempty"` // that file can be executed
}

// Empty says that there is nothing in it.
func (r *Result) Empty() bool {
	return r.Image == "" && r.Index == "" && r.SBOM == "" && r.Key == "" && r.Manifests == "" && r.Release == "" &&
		r.Tests == nil && r.Deploy == nil && r.Diff == nil && r.Scan == nil && r.Findings == nil && r.Coverage == nil && len(r.Artifacts) == 0 && len(r.Resolved) == 0
}

// Artifact with a name; false: the task left none.
func (r *Result) Artifact(name string) (Artifact, bool) {
	for _, a := range r.Artifacts {
		if a.Name == name {
			return a, true
		}
	}
	return Artifact{}, false
}

// ScanSummary counts what a scan found.
type ScanSummary struct {
	Tool     string `json:"tool,omitempty"` // what looked for it
	Report   string `json:"report"`         // digest of the blob with all of it: SARIF
	Critical int    `json:"critical,omitempty"`
	High     int    `json:"high,omitempty"`
	Medium   int    `json:"medium,omitempty"`
	Low      int    `json:"low,omitempty"`
}

// FindingsSummary is what the scans of a service found, compared with the last green commit.
// Fresh + Known + Waived is all of it.
type FindingsSummary struct {
	Fresh    int       `json:"fresh,omitempty"`
	Known    int       `json:"known,omitempty"`
	Waived   int       `json:"waived,omitempty"`
	Blocking int       `json:"blocking,omitempty"` // of Fresh
	Report   string    `json:"report"`             // digest of the blob with what later runs are compared with
	First    bool      `json:"first,omitempty"`    // there was nothing to compare with
	Worst    []Finding `json:"worst,omitempty"`    // fresh ones, the most severe first, the first MaxFindings
}

// MaxFindings is how many findings a result names.
const MaxFindings = 50

// Finding is one thing that a scan found.
type Finding struct {
	Scan        string `json:"scan"` // what looked: of what a worker brings along, what it uses; else the name of the scan
	Rule        string `json:"rule"`
	Severity    string `json:"severity"` // of Severities
	Path        string `json:"path"`     // repository path
	Line        int    `json:"line,omitempty"`
	Message     string `json:"message"`
	Help        string `json:"help,omitempty"`
	Fingerprint string `json:"fingerprint"`
	Blocking    bool   `json:"blocking,omitempty"`
}

// Diff is what a release would change on a target. Counts are of all objects.
type Diff struct {
	Created   int            `json:"created"`
	Changed   int            `json:"changed"`
	Deleted   int            `json:"deleted"`
	Unchanged int            `json:"unchanged"`
	Namespace bool           `json:"namespace,omitempty"` // it is not there yet, and would be created
	Objects   []ObjectChange `json:"objects,omitempty"`   // those that would not stay as they are, the first 100
}

// ObjectChange is what would become of one object.
type ObjectChange struct {
	Object string        `json:"object"`           // "Deployment/api"
	Action string        `json:"action"`           // created, changed, deleted, taken over, kept, carried out
	Reason string        `json:"reason,omitempty"` // from whom it is taken over; why it is kept; when it is carried out
	Fields []FieldChange `json:"fields,omitempty"` // the first 30
	More   int           `json:"more,omitempty"`   // fields that are not among them
	By     string        `json:"by,omitempty"`     // who holds what would change: managers of fields, with how they write
	At     time.Time     `json:"at,omitzero"`      // when they wrote last
}

// Drifted reports that a comparison found the object to be otherwise than it was released.
func (o ObjectChange) Drifted() bool { return o.Action != "carried out" && o.Action != "kept" }

// FieldChange is what would become of one field: JSON, cut to 160 characters. Empty: the
// field is not there.
type FieldChange struct {
	Path string `json:"path"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// TestSummary counts test cases. Passed + Failed + Skipped = Total.
type TestSummary struct {
	Total    int        `json:"total"`
	Passed   int        `json:"passed"`
	Failed   int        `json:"failed"`
	Skipped  int        `json:"skipped"`
	Millis   int64      `json:"millis"`
	Failures []TestCase `json:"failures,omitempty"` // the first MaxFailures
	Partial  bool       `json:"partial,omitempty"`  // there may be cases that are not counted: the lines of a log were read, or a report could not be
	Listed   string     `json:"listed,omitempty"`   // of a shard that was given items: a hash of all that were listed
	Items    []Item     `json:"items,omitempty"`    // of a shard that was given them: how long each took, sorted by name
}

// MaxFailures is how many failed cases of a test are kept.
const MaxFailures = 50

// TestCase is one failed test with the end of its output.
type TestCase struct {
	Suite  string `json:"suite,omitempty"`
	Name   string `json:"name"`
	Millis int64  `json:"millis"`
	Output string `json:"output,omitempty"` // at most 4 KiB
}

// Deployed is the state of a service on a target after apply or rollback.
type Deployed struct {
	State     string   `json:"state"`               // healthy, canary, unchanged (there is nothing to stand beside), rolled_back, removed (there was no earlier release), superseded
	Simulated bool     `json:"simulated,omitempty"` // the nodes are simulated: nothing answered over HTTP
	HTTP      int      `json:"http,omitempty"`      // status of the health request; 0: none was made
	Written   int      `json:"written"`             // objects written; 0: everything was as released already
	Pruned    []string `json:"pruned,omitempty"`    // "Kind/name" of deleted objects
	Replicas  int      `json:"replicas,omitempty"`  // ready pods
	Adopted   []string `json:"adopted,omitempty"`   // what was taken over: "Kind/name from …"
}

// Build tells a BuildKit runner what to build. The build context is the repository
// at the commit, cut down to Paths; COPY paths are relative to the repository root.
type Build struct {
	Paths      []string          `json:"paths"`              // repository paths in the context; sorted
	Dockerfile string            `json:"dockerfile"`         // repository path
	Context    string            `json:"context"`            // repository path of the folder that is the context, cut down to Paths
	Target     string            `json:"target,omitempty"`   // stage; empty: the last one
	Args       map[string]string `json:"args,omitempty"`     //
	Contexts   map[string]string `json:"contexts,omitempty"` // name in the Dockerfile → service whose image it is; its build task is in Needs
	Bases      map[string]string `json:"bases,omitempty"`    // image that the Dockerfile names → digest that it is built from
	Secrets    map[string]string `json:"secrets,omitempty"`  // id of a secret mount in the Dockerfile → name of the secret
	Platform   string            `json:"platform"`           // e.g. linux/amd64
	Push       string            `json:"push"`               // repository to push to, by digest: "127.0.0.1:7423/shop/api"
	Provenance bool              `json:"provenance"`         //
	SBOM       bool              `json:"sbom,omitempty"`     // the packages that the sources lock are listed
	Fresh      bool              `json:"fresh,omitempty"`    // nothing of it is taken from what BuildKit has in its cache; no input
}

// Test runs one test: a stage of the Dockerfile (Target), or a command in a stage.
type Test struct {
	Name   string            `json:"name"`
	Build  Build             `json:"build"`                // context and definition; Target is the stage that is built, or that the command runs in
	Run    string            `json:"run,omitempty"`        // command for /bin/sh -c; empty: building the stage is the test
	Env    map[string]string `json:"env,omitempty"`        //
	Secret map[string]string `json:"secret_env,omitempty"` // environment variable → name of the secret
	Report string            `json:"report,omitempty"`     // glob of report files, relative to the working directory of the stage

	Coverage string `json:"coverage,omitempty"` // pattern of files that say which lines were carried out

	Sidecars []Sidecar `json:"sidecars,omitempty"` // beside the command, in the order in which they are started
	Shard    *Shard    `json:"shard,omitempty"`    // the part of the test that this task is; nil: all of it

	Artifacts map[string]string `json:"artifacts,omitempty"` // name → pattern of the files that are kept
	Required  []string          `json:"required,omitempty"`  // names of those that tests of the plan use; sorted
	Use       []Use             `json:"use,omitempty"`       // what other tests left, and it is given; sorted by path
}

// Use is what another test left, in a folder that the command can only read. That test is in Needs.
type Use struct {
	Path     string `json:"path"` // in the container: relative to the working directory of the stage, or absolute
	Task     string `json:"task"` // id of the test
	Artifact string `json:"artifact"`
}

// Shard is one of several tasks that share a test.
type Shard struct {
	Test   string `json:"test"`           // id of the task that gathers
	Number int    `json:"number"`         // from 1
	Of     int    `json:"of"`             //
	List   string `json:"list,omitempty"` // command that names the items, each on a line, of which a shard is given some; empty: the test splits itself
}

// Sidecar is a container beside a test, which shares its network: a database, a queue.
type Sidecar struct {
	Name   string            `json:"name"` // the test reaches it by this name
	Image  string            `json:"image"`
	Run    string            `json:"run,omitempty"`        // for /bin/sh -c in the image; empty: what the image itself runs
	Env    map[string]string `json:"env,omitempty"`        //
	Secret map[string]string `json:"secret_env,omitempty"` // environment variable → name of the secret
	Ready  string            `json:"ready,omitempty"`      // a command in the image that succeeds once it can be used; empty: its ports are open
}

// Scan looks for what is wrong in the sources of a service.
type Scan struct {
	Name       string   `json:"name"`
	Using      string   `json:"using,omitempty"`      // one of those that the worker brings along; empty: Test
	Paths      []string `json:"paths"`                // repository paths that it looks into; sorted
	Manifests  string   `json:"manifests,omitempty"`  // config: folder with Kubernetes manifests; empty: none
	Dockerfile string   `json:"dockerfile,omitempty"` // config; empty: none
	Level      string   `json:"level,omitempty"`      // config: of the Pod Security Standards
	Deny       []string `json:"deny,omitempty"`       // licenses: SPDX ids; sorted
	Advisories string   `json:"advisories,omitempty"` // packages: digest of the blob with the advisories
	Test       *Test    `json:"test,omitempty"`       // a tool of the user's: Run and Report are set
}

// Findings is what says no to what scans found: the platform's word when the plan was made.
type Findings struct {
	Onto    string   `json:"onto,omitempty"`    // the branch that the commit is to be merged into; empty: it is on its own
	Block   string   `json:"block"`             // fresh findings that are at least so severe; BlockNever
	Waivers []Waiver `json:"waivers,omitempty"` // in the order of the platform's file
}

// Of is what counts for a service.
func (f Findings) Of(service string) Findings {
	f.Waivers = slices.DeleteFunc(slices.Clone(f.Waivers), func(w Waiver) bool { return w.Service != "" && w.Service != service })
	return f
}

// BlockNever has no finding block.
const BlockNever = "never"

// Severities of findings, the worst first.
func Severities() []string { return []string{"critical", "high", "medium", "low"} }

// Waiver lets a finding pass until its day is over, in UTC.
type Waiver struct {
	Service string `json:"service,omitempty"` // empty: any
	Rule    string `json:"rule"`              // "<scan>/<rule>", or a pattern of path.Match; of what a worker brings along, <scan> is what it uses
	Path    string `json:"path,omitempty"`    // file or folder of the repository; empty: any
	Until   string `json:"until"`             // the last day: 2006-01-02
	Reason  string `json:"reason"`
}

// Render makes manifests with kustomize or from plain files.
type Render struct {
	Path   string   `json:"path"`             // repository path of the overlay or folder
	Paths  []string `json:"paths"`            // repository paths that Path may refer to; sorted
	Using  string   `json:"using"`            // kustomize | manifests | helm
	Values []string `json:"values,omitempty"` // files of values for a chart, later ones over earlier ones
	// HelmRelease: what Helm's own record of the release needs goes with the manifests.
	HelmRelease bool   `json:"helm_release,omitempty"`
	Image       string `json:"image"` // task id of the build whose image replaces the image named like the service
	// Images are further names of images in the manifests → service whose image replaces them.
	Images map[string]string `json:"images,omitempty"`
	Jobs   []Job             `json:"jobs,omitempty"` // beside the rollout
	Health *Health           `json:"health,omitempty"`
	// Policies are what every object must be like, in the order of targets.yaml.
	Policies []Policy `json:"policies,omitempty"`
}

// Policy is a condition on objects of a release, before anything of it is written: CEL, or what is required of their images.
type Policy struct {
	Name    string   `json:"name"`
	Kinds   []string `json:"kinds,omitempty"` // of the objects that it is about; none: all
	CEL     string   `json:"cel"`             // true: the object may be so
	Message string   `json:"message,omitempty"`
	Warn    bool     `json:"warn,omitempty"` // what does not hold is told, and nothing fails
	At      string   `json:"at"`             // "targets.yaml:14:9"

	Require []string    `json:"require,omitempty"` // of each image: RequirePinned and others; without CEL
	Images  []string    `json:"images,omitempty"`  // repositories that it is about, with * for any letters but a slash, and all below them; none: all
	Keys    []PublicKey `json:"keys,omitempty"`    // any of which may have signed
}

// PublicKey is one that signatures may be by.
type PublicKey struct {
	Name string `json:"name"`           // for people; in targets, the file that it is in
	PEM  string `json:"pem,omitempty"`  //
	Farm bool   `json:"farm,omitempty"` // it is the farm's own
}

// What a policy requires of images.
const (
	RequirePinned     = "pinned"     // it is named by digest
	RequireResolved   = "resolved"   // a tag is replaced by what it means, and has not moved away from the digest beside it
	RequireSignature  = "signature"  // one of the keys signed it
	RequireProvenance = "provenance" // one of the keys signed how it was built
	RequireSBOM       = "sbom"       // one of the keys signed what is in it
)

// Verifies says whether what is signed is required.
func (p Policy) Verifies() bool {
	return slices.ContainsFunc(p.Require, func(r string) bool { return r == RequireSignature || r == RequireProvenance || r == RequireSBOM })
}

// Asks says whether the answer depends on what a registry says.
func (p Policy) Asks() bool { return p.Verifies() || slices.Contains(p.Require, RequireResolved) }

// PolicyObject is the name that the object has in a condition.
const PolicyObject = "object"

// PolicyTexts are the further names: those of the target and the service.
func PolicyTexts() []string { return []string{"cluster", "environment", "service"} }

// Job is a command in the service's image, carried out in the target's namespace.
type Job struct {
	Name     string            `json:"name"`  // unique within the service
	Phase    string            `json:"phase"` // before: before anything is changed; after: when the release works
	Run      string            `json:"run"`   // for /bin/sh -c
	Env      map[string]string `json:"env,omitempty"`
	Services []string          `json:"services,omitempty"` // whose addresses are in SLIPWAY_URL_<SERVICE>; sorted
	Timeout  int               `json:"timeout_seconds"`
}

// Phases of a Job.
const (
	PhaseBefore = "before"
	PhaseAfter  = "after"
)

// Health is the HTTP request that a healthy service answers.
type Health struct {
	Path string `json:"path"`
	Port int    `json:"port"`
}

// Apply brings manifests to a target.
type Apply struct {
	Manifests string  `json:"manifests"` // task id of the render whose result is applied; for a rollback: the one that is undone
	Health    *Health `json:"health,omitempty"`
	Beside    int     `json:"beside_seconds,omitempty"` // of the task's time, for what is carried out before and after
	Adopt     bool    `json:"adopt,omitempty"`          // take over what others made or hold
	OneWay    bool    `json:"one_way,omitempty"`        // carries out a migration that cannot be undone: nothing goes back across it by itself
	Weight    int     `json:"weight_percent,omitempty"` // of KindShift: how much the candidate is given, 0 to 100
	Router    string  `json:"router,omitempty"`         // of KindShift: by what
	Flag      string  `json:"flag,omitempty"`           // of KindShift by flag: its name
}

// Routers give a candidate its part of the requests.
const (
	RouterReplicas = ""        // as many pods beside those that serve, in the same Services: 1 to 50 percent
	RouterService  = "service" // all pods beside, in no Service, and then the Services to them: 0 or 100 percent
	RouterFlag     = "flag"    // a feature flag of the release, which gives what is new to a part of the evaluations: 1 to 99 percent
)

// Analyze watches a candidate that KindShift has given a part.
type Analyze struct {
	Manifests string     `json:"manifests"` // task id of the render whose result is the candidate
	Weight    int        `json:"weight_percent"`
	Router    string     `json:"router,omitempty"`
	Flag      string     `json:"flag,omitempty"`
	Pause     int        `json:"pause_seconds"`     // for how long
	Health    *Health    `json:"health,omitempty"`  // that it must answer all the while
	Metrics   []Analysis `json:"metrics,omitempty"` // what is measured all the while
}
