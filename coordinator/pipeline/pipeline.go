// Package pipeline reads the two files of a project: slipway.yaml, which lives with
// the code and describes services, and targets.yaml, which belongs to the platform
// team and describes where they go (DESIGN 5 and D7).
//
// It checks everything that can be known from the files alone and reports every
// mistake at once, with its position. What the files can say and Slipway cannot do
// yet is refused with "not supported yet": nothing that is written is ignored.
// Defaults are filled in, so that a reader of the result needs to know none.
//
// The package reads no file and no repository: whether a Dockerfile exists is the
// planner's business. It decides nothing about what is run.
package pipeline

import (
	"path"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

// Names of the files in a repository.
const (
	File              = "slipway.yaml"
	ServiceFileFolder = "services"
	ServiceFileName   = "service.yaml"
)

// root is the repository path of the repository itself.
const root = "."

// Version is the version of both files that is read.
const Version = 1

// Problem is one mistake in a file, Problems are all of them, and a Reporter gathers
// them: also those that are found later, from the positions that are kept here.
type (
	Problem  = strictyaml.Problem
	Problems = strictyaml.Problems
	Reporter = strictyaml.Reporter
	Pos      = strictyaml.Pos
)

// NewReporter gathers as many problems as Parse does.
func NewReporter() *Reporter { return strictyaml.NewReporter(strictyaml.DefaultLimits().Problems) }

// What a run does, in order: each stage includes those before it.
const (
	StageBuild   = "build"
	StageTest    = "test"
	StageRelease = "release"
	// StageDiff compares with the targets what a release would bring there. It stands in
	// for the release, and needs no tests.
	StageDiff = "diff"
)

// Pipeline is what a repository's slipway.yaml defines, with service.yaml files
// merged and defaults filled in.
type Pipeline struct {
	Version  int        `json:"version"`
	Project  string     `json:"project"`
	Triggers []Trigger  `json:"triggers,omitempty"` // sorted by event
	Sidecars []*Sidecar `json:"sidecars,omitempty"` // sorted by name
	Services []*Service `json:"services"`           // sorted by name

	Source  Source        `json:"source,omitzero"`
	Timeout time.Duration `json:"timeout,omitempty"` // of a run; 0: none
	Pos     Pos           `json:"-"`                 // of the project's name
}

// Source says what tasks get in place of what git has.
type Source struct {
	LFS        bool     `json:"lfs,omitempty"`        // the content of files in Git LFS
	Submodules []string `json:"submodules,omitempty"` // paths at which the files of a submodule are, sorted
}

// Trigger says which events start a run, and how much of the pipeline it runs.
type Trigger struct {
	Event       string   `json:"event"`                  // push, pull_request
	Branches    []string `json:"branches,omitempty"`     // globs; none: every branch
	Paths       []string `json:"paths,omitempty"`        // repository paths of which one must have changed; none: any
	PathsIgnore []string `json:"paths_ignore,omitempty"` // repository paths whose changes do not count
	Until       string   `json:"until"`                  // the last stage that is run: build, test or release
	Diff        bool     `json:"diff,omitempty"`         // what a release would change is compared with the targets
	Supersede   string   `json:"supersede,omitempty"`    // which older runs of the same branch a newer commit ends; empty: SupersedeQueued
	Pos         Pos      `json:"-"`
}

// What becomes of older runs of a branch or pull request when it has a newer commit. One
// that has begun to roll out is never ended by that.
const (
	SupersedeNever   = "never"
	SupersedeQueued  = "queued"  // those of which no task has been taken by a worker
	SupersedeRunning = "running" // those too that go on
)

// Filtered tells whether the trigger asks what changed.
func (t Trigger) Filtered() bool { return len(t.Paths)+len(t.PathsIgnore) > 0 }

// Concerns tells whether the change of a file counts.
func (t Trigger) Concerns(file string) bool {
	in := func(path string) bool { return path == "." || file == path || strings.HasPrefix(file, path+"/") }
	return (len(t.Paths) == 0 || slices.ContainsFunc(t.Paths, in)) && !slices.ContainsFunc(t.PathsIgnore, in)
}

// Service is one deployable unit, with its paths and dependencies. All paths are
// repository paths: relative to the root of the repository, clean, with slashes.
type Service struct {
	Name   string   `json:"name"`
	Path   string   `json:"path"`            // its folder
	Also   []string `json:"also,omitempty"`  // further paths of which a change affects it
	Owner  string   `json:"owner,omitempty"` // team
	Needs  []Ref    `json:"needs,omitempty"` // services that are rolled out before it
	Build  *Build   `json:"build"`           // nil: it has no image
	Tests  []*Test  `json:"tests,omitempty"` // sorted by name
	Scans  []*Scan  `json:"scans,omitempty"` // sorted by name
	Deploy *Deploy  `json:"deploy"`          // nil: it is never deployed
	Pos    Pos      `json:"-"`               // of its name
}

// Ref names a service, and where.
type Ref struct {
	Service string `json:"service"`
	Pos     Pos    `json:"-"`
}

// Build says how the image of a service is made.
type Build struct {
	Dockerfile string            `json:"dockerfile"`         // default: Dockerfile in the service's path
	Context    string            `json:"context"`            // folder that COPY is written from; default: the repository's root
	Target     string            `json:"target,omitempty"`   // stage; empty: the last one
	Args       map[string]string `json:"args,omitempty"`     //
	Contexts   []Context         `json:"contexts,omitempty"` // sorted by name
	Secrets    []SecretUse       `json:"secrets,omitempty"`  // what RUN --mount=type=secret,id= finds; sorted by id
	Platform   string            `json:"platform,omitempty"` // e.g. linux/amd64; empty: the farm's own
	Push       string            `json:"push,omitempty"`     // prefix that the service's name is added to; empty: the farm's own registry
	Provenance bool              `json:"provenance"`         // default: true
	SBOM       bool              `json:"sbom,omitempty"`     // default: false
	Timeout    time.Duration     `json:"timeout"`            // of one attempt; default: 1h
	Infra      int               `json:"retry_infra"`        // retries when the farm broke; default: 2
	Pos        Pos               `json:"-"`                  //

	RetryTimeout int `json:"retry_timeout,omitempty"` // retries when an attempt used up its time; default: 0
	RetryOOM     int `json:"retry_oom,omitempty"`     // retries when it ran out of memory; default: 0
}

// Context is an image of this repository that a Dockerfile builds upon.
type Context struct {
	Name    string `json:"name"`    // as the Dockerfile calls it
	Service string `json:"service"` // whose image it is
	Pos     Pos    `json:"-"`
}

// Test is one test of a service. Exactly one of Run and Target is set.
type Test struct {
	Name    string            `json:"name"`
	Run     string            `json:"run,omitempty"`         // command for /bin/sh -c
	In      string            `json:"in,omitempty"`          // stage of the Dockerfile that Run runs in; empty: the built image
	At      string            `json:"at,omitempty"`          // AtDeploy: after each rollout, as a Job in the target's namespace; empty: before any
	Target  string            `json:"target,omitempty"`      // stage of the Dockerfile whose build is the test
	Env     map[string]string `json:"env,omitempty"`         // of Run
	Secrets []SecretUse       `json:"secret_env,omitempty"`  // of Run too, from secrets; sorted by name
	Report  string            `json:"report,omitempty"`      // glob of result files, relative to the working directory of the stage
	Timeout time.Duration     `json:"timeout"`               // of one attempt; default: 15m
	Size    string            `json:"size"`                  // S, M, L, XL; default: S
	Infra   int               `json:"retry_infra"`           // retries when the farm broke; default: 2
	Flaky   int               `json:"retry_flaky,omitempty"` // retries when the test failed; default: 0
	Pos     Pos               `json:"-"`                     // of its name

	RetryTimeout int `json:"retry_timeout,omitempty"` // as of a build
	RetryOOM     int `json:"retry_oom,omitempty"`

	Sidecars []SidecarRef `json:"sidecars,omitempty"` // beside Run, in the order in which they are started
	// Cases that fail now and then go into quarantine by themselves; nil: only people put them there.
	Quarantine *Quarantine `json:"quarantine,omitempty"`

	Artifacts []Artifact `json:"artifacts,omitempty"` // files that are kept when it has ended; sorted by name

	Coverage string `json:"coverage,omitempty"` // pattern of files that say which lines it carried out
	Use      []Use  `json:"use,omitempty"`      // what other tests left, and it is given; sorted by path

	Group  string `json:"group,omitempty"`  // of tests of the project that are not all carried out at once
	Shards int    `json:"shards,omitempty"` // how many tasks share the work of Run, each of which is told its number; 0: one; AutoShards
	List   string `json:"list,omitempty"`   // command for /bin/sh -c that names, each on a line, what the shards are given parts of; empty: Run knows its part
}

// Quarantine is when a case goes into quarantine by itself, and for how long; 0: the default of
// plan.Quarantine.
type Quarantine struct {
	After   int `json:"after,omitempty"`   // so many times that it failed, and passed with the same inputs
	Days    int `json:"days,omitempty"`    // at most
	Release int `json:"release,omitempty"` // passes in a row that let it out before
}

// AutoShards are as many as the time that the test took asks for.
const AutoShards = -1

// MaxShards is how many one test may have.
const MaxShards = 50

// Sidecar is a container beside a test, which shares its network: a database, a queue.
type Sidecar struct {
	Name    string            `json:"name"`
	Image   string            `json:"image"`
	Run     string            `json:"run,omitempty"`        // command for /bin/sh -c in the image; empty: what the image itself runs
	Env     map[string]string `json:"env,omitempty"`        //
	Secrets []SecretUse       `json:"secret_env,omitempty"` // of its environment; sorted by name
	Ready   string            `json:"ready,omitempty"`      // command in the image that succeeds once it can be used; empty: its ports are open
	Pos     Pos               `json:"-"`                    // of its name
}

// Artifact is what of the files that a test leaves is kept.
type Artifact struct {
	Name    string `json:"name"`
	Pattern string `json:"pattern"` // of files and folders, relative to the working directory of the stage, or absolute
	Pos     Pos    `json:"-"`       // of its name
}

// Use is what another test left, in a folder that Run finds it in.
type Use struct {
	Path     string `json:"path"` // in the container: relative to the working directory of the stage, or absolute
	Service  string `json:"service"`
	Test     string `json:"test"`
	Artifact string `json:"artifact"`
	Pos      Pos    `json:"-"`
}

// SidecarRef names a sidecar where a test wants it.
type SidecarRef struct {
	Name string `json:"name"`
	Pos  Pos    `json:"-"`
}

// Sidecar finds one by name.
func (p *Pipeline) Sidecar(name string) (*Sidecar, bool) {
	for _, s := range p.Sidecars {
		if s.Name == name {
			return s, true
		}
	}
	return nil, false
}

// Deploy says how the manifests of a service are made, and when it is healthy.
type Deploy struct {
	Path   string   `json:"path"`             // default: deploy/<service>
	Also   []string `json:"also,omitempty"`   // further paths that the manifests in Path refer to
	Using  string   `json:"using"`            // kustomize, manifests, helm; default: kustomize
	Values []string `json:"values,omitempty"` // files of values for a chart, later ones over earlier ones
	// HelmRelease: the objects of the chart are applied as all others are, and Helm's own record of them is kept beside them.
	HelmRelease bool          `json:"helm_release,omitempty"`
	Images      []Context     `json:"images,omitempty"`  // image names in the manifests that mean images of services; sorted by name
	Health      *Health       `json:"health,omitempty"`  //
	Migrate     *Migrate      `json:"migrate,omitempty"` //
	Timeout     time.Duration `json:"timeout"`           // until healthy; default: 10m
	// Implicit: the file does not mention a deployment. The service is deployed if
	// Path exists in the commit, and is a library otherwise.
	Implicit bool `json:"implicit,omitempty"`
	Pos      Pos  `json:"-"`
}

// Health is the HTTP request that a healthy service answers with 2xx.
type Health struct {
	HTTP string `json:"http"` // path, beginning with a slash
	Port int    `json:"port"`
}

// Migrate is a command in the service's image that must succeed before anything of a
// new release is applied to a target.
type Migrate struct {
	Run    string `json:"run"`               // for /bin/sh -c
	OneWay bool   `json:"one_way,omitempty"` // what served before may not work with what it made: nothing goes back across it by itself
	Pos    Pos    `json:"-"`
}

// MigrateName is the name of the Job that a migration becomes, behind the service's.
const MigrateName = "migrate"

// AtDeploy is the value of Test.At for what is tested once it is rolled out.
const AtDeploy = "deploy"

// The ways to make manifests.
const (
	UsingKustomize = "kustomize"
	UsingManifests = "manifests"
	UsingHelm      = "helm"
)

// Values of mode, which only charts have.
const (
	modeApply   = "apply"
	modeRelease = "release"
)

// maxHelmName is how long the name of a Helm release may be.
const maxHelmName = 53

// Service finds a service by name.
func (p *Pipeline) Service(name string) (*Service, bool) {
	i, ok := slices.BinarySearchFunc(p.Services, name, func(s *Service, name string) int {
		return strings.Compare(s.Name, name)
	})
	if !ok {
		return nil, false
	}
	return p.Services[i], true
}

// Paths are the repository paths that the service's image depends on, sorted,
// without those that lie inside another of them.
func (s *Service) Paths() []string {
	paths := append([]string{s.Path}, s.Also...)
	if s.Build != nil {
		paths = append(paths, s.Build.Dockerfile)
		if s.Build.Context != root {
			paths = append(paths, s.Build.Context)
		}
	}
	return Outermost(paths)
}

// IgnoreFiles are where BuildKit looks for what is not in the build context, the one that it takes first: the
// Dockerfile's own, and the context's.
func (s *Service) IgnoreFiles() []string {
	if s.Build == nil {
		return nil
	}
	return []string{s.Build.Dockerfile + ".dockerignore", path.Join(s.Build.Context, ".dockerignore")}
}

// Outermost sorts paths and leaves out those that lie inside another of them.
func Outermost(paths []string) []string {
	sorted := slices.Clone(paths)
	// Parents before what is in them: a slash sorts before every other character.
	slices.SortFunc(sorted, func(a, b string) int {
		return strings.Compare(strings.ReplaceAll(a, "/", "\x00"), strings.ReplaceAll(b, "/", "\x00"))
	})
	var out []string
	for _, p := range sorted {
		if p == "." {
			return []string{"."}
		}
		if len(out) == 0 || !Inside(p, out[len(out)-1]) {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

// Inside says that a repository path is a folder or lies in it.
func Inside(path, folder string) bool {
	return folder == "." || path == folder || strings.HasPrefix(path, folder+"/")
}
