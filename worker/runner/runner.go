// Package runner says what it means to carry out one attempt at a task: a Runner
// takes a Task and a Report and answers an Outcome. What surrounds every kind of
// work (time limit, trace context, metrics, masking of secrets, survival of a
// panic) is in decorators, so that a runner holds its own work alone.
//
// It does not know leases, the queue or the wire: worker/agent and worker/report do.
package runner

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/slipway-build/slipway/worker/runner/coverage"
	"github.com/slipway-build/slipway/worker/runner/mask"
	"github.com/slipway-build/slipway/worker/runner/split"
	"github.com/slipway-build/slipway/worker/runner/testreport"
)

// Runner carries out one kind of work.
//
// Run blocks until the attempt has ended. It always answers: a failing command, a
// broken registry and a canceled context are outcomes, not errors. It stops soon
// after ctx ends. It may be called from several goroutines at once.
type Runner interface {
	Run(ctx context.Context, t Task, r Report) Outcome
}

// Func is a Runner made of a function.
type Func func(ctx context.Context, t Task, r Report) Outcome

// Run calls f.
func (f Func) Run(ctx context.Context, t Task, r Report) Outcome { return f(ctx, t, r) }

// Report is where a runner says what it is doing while it does it.
// Its methods may be called from several goroutines and do not block for long.
type Report interface {
	// Write appends bytes to the attempt's log. It never fails.
	io.Writer
	// Started says that the work itself begins. Repeats are ignored.
	Started()
	// Progress gives the present state of steps; a later state of a step replaces an earlier one.
	Progress(steps ...Progress)
}

// Task is one attempt and everything that is needed for it.
type Task struct {
	Token       string // unique over all runs
	Attempt     int    // from 1
	Run         string
	ID          string // unique within the run: "build/api"
	Project     string
	Commit      string
	Service     string
	Timeout     time.Duration // 0: none
	Traceparent string        // W3C trace context of the attempt's span; empty: none
	Workspace   string        // folder with the repository at Commit, cut down to Work.SourcePaths; read only; another content has another name
	Work        Work
	Secrets     map[string][]byte // values by name; overwritten when the attempt has ended
	Mask        *mask.Masker      // of those and the worker's own; set by Redact
	// Keep has Workspace stay as it is when the attempt has ended, until what it answers is called. Nil, or nil answered: it cannot.
	Keep func() (release func())
	// Folders are further ones that BuildKit may read, by a name that changes with the content.
	Folders map[string]string
}

// Work is the specification of one kind of work: Build, Test, Render or Scan.
type Work interface {
	// Kind is the name by which runners are chosen and metrics are labeled.
	Kind() Kind
	// SourcePaths are the repository paths that the workspace must hold.
	SourcePaths() []string
}

// Kind names a kind of work.
type Kind string

// The kinds that this worker carries out.
const (
	KindBuild  Kind = "build"
	KindTest   Kind = "test"
	KindRender Kind = "render"
)

// Build makes an image from a Dockerfile. The build context is the workspace.
type Build struct {
	Paths      []string          // repository paths in the context
	Dockerfile string            // repository path
	Context    string            // repository path of the folder that is the context; empty: the root
	Target     string            // stage; empty: the last one
	Args       map[string]string // build arguments
	Contexts   map[string]string // name in the Dockerfile → image by digest
	Bases      map[string]string // image that the Dockerfile names, in full → digest that it is built from
	Secrets    map[string]string // id of a secret mount in the Dockerfile → name of the secret
	Platform   string            // e.g. linux/amd64; empty: BuildKit's own
	Push       string            // repository to push to, by digest; empty: nothing is pushed
	Provenance bool              // attach a SLSA provenance attestation
	SBOM       bool              // list the packages that the sources lock
	Fresh      bool              // take nothing from the daemon's cache
	Cacheable  bool              // its steps may go into the cache of builds that is everybody's
	Untrusted  bool              // the commit is a stranger's: BuildKit's own Dockerfile frontend alone is used
}

// Kind is KindBuild.
func (Build) Kind() Kind { return KindBuild }

// SourcePaths is Paths.
func (b Build) SourcePaths() []string { return b.Paths }

// Test builds a stage, or runs a command in it.
type Test struct {
	Name   string
	Build  Build             // Build.Target is the stage
	Run    string            // for /bin/sh -c in the stage; empty: building the stage is the test
	Env    map[string]string // of the command
	Secret map[string]string // environment variable of the command → name of the secret
	Report string            // glob of report files, relative to the stage's working directory

	Sidecars []Sidecar // beside the command, in the order in which they are started
	Shard    *Shard    // nil: all of it, or the command knows its part

	Artifacts []Pattern // files that are kept when it has ended
	Limits    ArtifactLimits
	Use       []Use  // what other tests left
	Coverage  string // pattern of files that say which lines were carried out; empty: none
}

// Use is what another test left, in a folder that the command can only read.
type Use struct {
	Path     string // in the container: relative to the stage's working directory, or absolute
	Task     string // id of the test
	Artifact Artifact
}

// Pattern is what of the files that a test leaves is kept under a name.
type Pattern struct {
	Name    string
	Pattern string // of files and folders, relative to the stage's working directory, or absolute

	Required bool // another test uses it: that nothing matches fails the test
}

// ArtifactLimits are in bytes of the files, before they are packed.
type ArtifactLimits struct{ Each, All int64 }

// Artifact is what was kept: one file as it was, or an archive.
type Artifact struct {
	Name   string
	Digest string // "sha256:…" of what is stored
	Size   int64  // of what is stored, in bytes
	Files  int    // in it
	File   string // name of the one file that it is; empty: it is an archive

	Executable bool // that file can be executed
}

// Shard is the part of a test that one of several tasks is given.
type Shard struct {
	Number, Of int                      // the number from 1
	List       string                   // for /bin/sh -c in the stage: names the items, each on a line
	Usual      map[string]time.Duration // what items usually take
}

// Sidecar is a container beside a test, which shares its network: a database, a queue.
type Sidecar struct {
	Name   string // the test reaches it by this name, and at localhost
	Image  string
	Run    string // for /bin/sh -c in the image; empty: what the image itself runs
	Env    map[string]string
	Secret map[string]string // environment variable → name of the secret
	Ready  string            // a command in the image that succeeds once it can be used; empty: its ports are open
}

// Kind is KindTest.
func (Test) Kind() Kind { return KindTest }

// SourcePaths are those of the stage.
func (t Test) SourcePaths() []string { return t.Build.Paths }

// Render makes the manifests of one service for one target.
type Render struct {
	Path        string   // repository path of the kustomization or folder
	Paths       []string // repository paths that Path may refer to
	Using       string   // UsingKustomize, UsingManifests or UsingHelm
	Values      []string // files of values for a chart, later ones over earlier ones
	HelmRelease bool
	Images      map[string]string // image name in the manifests → image by digest
	Environment string
	Cluster     string
	Namespace   string
	Jobs        []Job
	Policies    []Policy
}

// Policy is a condition in CEL on objects, whose names are object, cluster, environment and service; or what is required of the images
// of their containers.
type Policy struct {
	Name    string
	Kinds   []string // of the objects that it is about; none: all
	CEL     string
	Message string
	Warn    bool   // what does not hold is told, and the task does not fail
	At      string // where it is said: "targets.yaml:14:9"

	Require []string    // instead of CEL: RequirePinned and others
	Images  []string    // repositories that Require is about, and those below them, with * for any letters but a slash; none: all
	Keys    []PublicKey // any of which may have signed
}

// PublicKey is one that signatures may be by.
type PublicKey struct {
	Name string // for people
	PEM  string
	Farm bool // it is the farm's own
}

// Values of Policy.Require.
const (
	RequirePinned     = "pinned"
	RequireResolved   = "resolved"
	RequireSignature  = "signature"
	RequireProvenance = "provenance"
	RequireSBOM       = "sbom"
)

// BuilderID names us in provenance.
const BuilderID = "https://github.com/slipway-build/slipway/worker"

// Job is a command in the service's image, in the target's namespace.
type Job struct {
	Name     string // unique within the service
	Phase    string // before: before anything is changed; after: when it works
	Run      string // for /bin/sh -c
	Env      map[string]string
	Services []string // whose addresses are in SLIPWAY_URL_<SERVICE>
	Timeout  int      // seconds
}

// Values of Render.Using.
const (
	UsingKustomize = "kustomize"
	UsingManifests = "manifests"
	UsingHelm      = "helm"
)

// Kind is KindRender.
func (Render) Kind() Kind { return KindRender }

// SourcePaths are Paths and Values.
func (r Render) SourcePaths() []string { return append(slices.Clone(r.Paths), r.Values...) }

// Outcome is what came of an attempt.
type Outcome struct {
	Kind    OutcomeKind
	Class   Class  // of what did not succeed
	Message string // for people
	Result  Result // of what succeeded; Tests also of what failed
	Steps   []Step // what the time went into, in order of their start
}

// OutcomeKind says how an attempt ended.
type OutcomeKind string

// The ways in which an attempt ends.
const (
	Succeeded OutcomeKind = "succeeded"
	// Failed: the work said no. It is not tried again on the farm's account.
	Failed OutcomeKind = "failed"
	// Errored: the farm could not tell. It is tried again on the farm's account.
	Errored OutcomeKind = "errored"
	// Canceled: somebody ended it.
	Canceled OutcomeKind = "canceled"
)

// Class says whose budget of retries an attempt uses.
type Class string

// The classes of failures.
const (
	ClassNone    Class = ""
	ClassUser    Class = "user"
	ClassInfra   Class = "infra"
	ClassTimeout Class = "timeout"
	ClassOOM     Class = "oom"
)

// Result is what an attempt leaves for the tasks after it.
type Result struct {
	Image     string              // "<repository>@sha256:…"
	Manifests string              // digest of the blob
	Resolved  map[string]string   // what tags of images meant, "name:tag" → "sha256:…"
	Index     string              // "<repository>@sha256:…" of what was pushed, the image and its provenance
	SBOM      string              // digest of the blob: SPDX
	Tests     *testreport.Summary // counts
	Items     []split.Item        // of a shard that was given them: what each took
	Listed    string              // of a shard with a list: a hash of all that was listed
	Scan      *ScanSummary        // of scans
	Coverage  *coverage.Summary   // of tests, also of those that failed
	Artifacts []Artifact          // of tests, also of those that failed
}

// Progress is the present state of a step of a running attempt.
type Progress struct {
	ID       string // unique within the attempt
	Name     string
	Started  time.Time
	Finished time.Time // zero: it runs
	Cached   bool
	Error    string
	Current  int64 // units done, e.g. bytes
	Total    int64 // units in all; 0: unknown
	Detail   string
}

// Step is one timed part of an attempt that has ended.
type Step struct {
	Name       string
	Kind       string // vertex, exec, fetch, push, render
	Started    time.Time
	Finished   time.Time
	Cached     bool
	Error      string
	Attributes map[string]string
}

// Fail is the outcome of work that said no.
func Fail(format string, a ...any) Outcome {
	return Outcome{Kind: Failed, Class: ClassUser, Message: fmt.Sprintf(format, a...)}
}

// Err is the outcome of a farm that could not tell.
func Err(format string, a ...any) Outcome {
	return Outcome{Kind: Errored, Class: ClassInfra, Message: fmt.Sprintf(format, a...)}
}

// ByKind hands a task to the runner of its kind.
type ByKind map[Kind]Runner

// Run runs t with the runner of its kind.
func (m ByKind) Run(ctx context.Context, t Task, r Report) Outcome {
	if t.Work == nil {
		return Err("task %s carries no work that this worker knows: the coordinator is newer than the worker; upgrade the worker", t.ID)
	}
	next, ok := m[t.Work.Kind()]
	if !ok {
		return Err("this worker has no runner for %s tasks: give it the capability only where it is configured", t.Work.Kind())
	}
	return next.Run(ctx, t, r)
}
