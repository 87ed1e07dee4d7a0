// Package planner turns a pipeline at a commit into the plan of a run: one graph from
// the checkout over builds, tests and renders to the last cluster (DESIGN D1).
//
// It decides what is built and what is reused: a task whose digest has a known result
// is in the plan with that result and is not carried out. It checks what only the
// commit can tell, such as a Dockerfile that is not there, and reports it at the place
// in the file that asks for it.
//
// Equal inputs give equal plans, byte for byte. The package reads no repository, no
// registry and no index: all of that is its Input.
package planner

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-build/slipway/coordinator/affected"
	"github.com/slipway-build/slipway/coordinator/dag"
	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/rollout"
)

// maxTasks bounds a plan: beyond it a run is no longer something that people follow.
const maxTasks = 50_000

// Input is everything that a plan depends on.
type Input struct {
	Pipeline *pipeline.Pipeline
	Targets  *pipeline.Targets // nil: nothing is deployed
	Until    string            // the last stage, of pipeline.Stage…; empty: release
	Diff     bool              // what would be released is compared with the targets; not with Until release
	Rebuild  bool              // reuse nothing
	Adopt    bool              // take over what others made at the targets

	Repository string // as given at submit
	Ref        string // as given at submit
	Commit     string // full object id
	Dirty      bool
	Untrusted  bool              // the commit is a stranger's, as that of a fork: its tasks get no secrets
	Objects    map[string]string // identities at Commit, "<mode>:<object id>", of those of Paths that exist
	Unusable   []Unusable        // what of Paths, or below or above them, no task can use as it is

	Base         string             // the last green commit; empty: there is none
	BasePipeline *pipeline.Pipeline // what it defined; nil: not known, and then every service counts as changed
	Changed      []string           // paths that differ between Base and Commit

	// Stands are the full names of the images that the Dockerfile of a service stands on, by service,
	// and Tags what the tags of those and of sidecars mean now; one that is not in it is not known.
	Stands map[string][]string
	Tags   map[string]Tag

	Registry string // where services push that do not say otherwise: their name is added
	Platform string // of services that do not name one, e.g. linux/amd64
	Runner   string // version of what builds, tests and renders: part of every digest
	Scope    string // trust scope: part of every build digest

	// Advisories is the digest of the blob that packages are compared with; empty: the farm has none.
	Advisories string

	// Onto is the branch that the commit is to be merged into; empty: it is on its own.
	Onto string
	// Key is which key signs images; empty: nothing is signed. PublicKey is what verifies it, in PEM.
	Key, PublicKey string

	// History is what runs have taught about tests, by their id.
	History map[string]History

	// Known finds the result of an earlier task that succeeded, by digest. It vouches
	// for the artifact being there: ask it again after Plan named what it reuses, and
	// plan once more without what is gone. May be nil.
	Known func(digest string) (plan.Reuse, bool)
	// Forgotten is why nothing is known of a digest that something was made of before.
	Forgotten map[string]string
	// Gone are the runs whose results would stand in, were their artifacts still there, by digest.
	Gone map[string]string

	// Owners says whose the services are, if not Pipeline: a stranger does not say whose
	// workers his commit is given.
	Owners *pipeline.Pipeline

	Line      string // of the plan
	Supersede string
	Class     string
}

// Tag is what a tag of an image means.
type Tag struct {
	Digest string
	Was    string // what it meant before it moved last; empty: that is not known
}

// History is what runs have taught about a test.
type History struct {
	Items []plan.Item     // how long those that its list names usually take, sorted by name; none: not measured
	Held  []plan.TestName // its cases in quarantine, sorted
}

// Plan makes the plan. It is the zero plan if there are problems.
func Plan(in Input) (plan.Plan, pipeline.Problems) {
	p := newPlanner(in)
	p.check()
	if p.report.Count() > 0 {
		return plan.Plan{}, p.report.Problems()
	}
	p.verdicts = affected.Decide(p.services(), affected.Change{Base: in.Base, Changed: in.Changed})
	p.add(plan.Task{
		ID: plan.CheckoutID, Kind: plan.KindCheckout, Timeout: checkoutTimeout, Infra: infraRetries,
		Reason: "everything else reads this commit",
	})
	for _, s := range p.buildOrder() {
		p.build(s)
	}
	if p.until >= stageTest {
		p.tests()
		for _, s := range in.Pipeline.Services {
			p.scans(s)
		}
	}
	p.sign()
	switch {
	case in.Targets == nil || len(in.Targets.Environments) == 0:
	case p.until >= stageRelease:
		p.release()
	case in.Diff:
		p.diffs()
	}
	if len(p.tasks) > maxTasks {
		p.report.Add(in.Pipeline.Pos, "roll out to fewer clusters at once", "the plan has %d tasks; at most %d", len(p.tasks), maxTasks)
		return plan.Plan{}, p.report.Problems()
	}
	return p.result(), nil
}

// Stages in their order.
const (
	stageBuild = iota
	stageTest
	stageRelease
)

// planner gathers the parts of one plan.
type planner struct {
	in       Input
	until    int
	report   *pipeline.Reporter
	verdicts map[string]affected.Verdict
	digests  map[string]string     // service → build digest
	builds   map[string]plan.Build // service → how it is built
	reused   map[string]plan.Reuse // service → the build that stands in
	reasons  map[string]string     // service → why it is built
	deploys  map[string]bool       // services that are deployed
	tasks    []plan.Task
	rolls    []plan.Task
	timings  []plan.Timing

	testDigests map[string]string   // of tests without shards, by id
	required    map[string][]string // test → artifacts of it that others use

	signs     map[string]bool // services whose image is signed
	forgotten map[string]bool // tests with shards, by id
	judges    bool            // there are findings
}

func newPlanner(in Input) *planner {
	p := &planner{
		in: in, until: stageRelease, report: pipeline.NewReporter(),
		signs: map[string]bool{}, forgotten: map[string]bool{}, testDigests: map[string]string{}, required: map[string][]string{},
		digests: map[string]string{}, builds: map[string]plan.Build{}, reused: map[string]plan.Reuse{}, reasons: map[string]string{}, deploys: map[string]bool{},
	}
	switch in.Until {
	case pipeline.StageBuild:
		p.until = stageBuild
	case pipeline.StageTest:
		p.until = stageTest
	}
	for _, s := range in.Pipeline.Services {
		if s.Deploy != nil {
			_, exists := in.Objects[s.Deploy.Path]
			p.deploys[s.Name] = exists || !s.Deploy.Implicit
		}
	}
	return p
}

// renders says whether manifests are made.
func (p *planner) renders() bool { return p.until >= stageRelease || p.in.Diff }

func (p *planner) add(t plan.Task) {
	slices.Sort(t.Needs)
	t.Needs = slices.Compact(t.Needs)
	if t.Digest != "" && p.in.Known != nil && !p.in.Rebuild && t.Reuse == nil && !p.anew(t) {
		if known, ok := p.in.Known(t.Digest); ok && p.usable(t, known) {
			known.Result.Coverage = alone(known.Result.Coverage)
			t.Reuse, t.Reason = &known, "the same inputs as in run "+known.Run
		}
	}
	if why, ok := p.in.Forgotten[t.Digest]; ok {
		t.Reason = why
	}
	if run, ok := p.in.Gone[t.Digest]; ok && t.Reuse == nil && t.Digest != "" {
		t.Reason = p.lost(t, run)
	}
	t.Team = p.team(t)
	p.tasks = append(p.tasks, t)
}

// anew says that a shard is carried out whatever is known of it: what its test found was forgotten.
func (p *planner) anew(t plan.Task) bool {
	return t.Test != nil && t.Test.Shard != nil && p.forgotten[t.Test.Shard.Test]
}

// lost is why a task is carried out again whose inputs are those of an earlier run.
func (p *planner) lost(t plan.Task, run string) string {
	what := "result"
	switch t.Kind {
	case plan.KindBuild:
		what = "image"
	case plan.KindRender:
		what = "manifests"
	case plan.KindTest: // of which nothing else is looked for
		what = "artifacts"
	default:
	}
	return fmt.Sprintf("the %s that run %s made of the same inputs cannot be found any more", what, run)
}

// usable says that a known result stands in for a task. Manifests carry the image, and a signature is
// one's: they are reused only with the very image that they were made for. Those with
// images of several services are always rendered anew: a result names only one.
func (p *planner) usable(t plan.Task, known plan.Reuse) bool {
	switch {
	case t.Kind == plan.KindTest:
		return p.left(t.ID, known)
	case t.Kind == plan.KindRender && len(t.Render.Images) > 0:
		return false
	case t.Kind == plan.KindRender && t.Render.Image != "", t.Kind == plan.KindSign:
		build, ok := p.reused[t.Service]
		return ok && build.Result.Image == known.Result.Image
	}
	return true
}

// services is what affected needs of the pipeline.
func (p *planner) services() []affected.Service {
	out := make([]affected.Service, 0, len(p.in.Pipeline.Services))
	for _, s := range p.in.Pipeline.Services {
		a := affected.Service{Name: s.Name, Path: s.Path, Also: s.Also, Definition: definition(s)}
		if s.Build != nil {
			a.Also = append(append(slices.Clone(a.Also), s.Build.Dockerfile), s.IgnoreFiles()...)
			if s.Build.Context != "." {
				a.Also = append(a.Also, s.Build.Context)
			}
			a.Contexts = map[string]string{}
			for _, c := range s.Build.Contexts {
				a.Contexts[c.Name] = c.Service
			}
		}
		if p.deploys[s.Name] {
			a.Deploy = append([]string{s.Deploy.Path}, s.Deploy.Also...)
		}
		a.Before = p.before(s, a.Definition)
		out = append(out, a)
	}
	return out
}

// before is how a service was defined at the last green commit, empty if it was not.
// If that is not known, it is as now, unless a file that may define it changed.
func (p *planner) before(s *pipeline.Service, now string) string {
	if p.in.BasePipeline != nil {
		before, ok := p.in.BasePipeline.Service(s.Name)
		if !ok {
			return ""
		}
		return definition(before)
	}
	for _, path := range p.in.Changed {
		if service, ok := pipeline.IsServiceFile(path); path == pipeline.File || ok && service == s.Name {
			return "not known"
		}
	}
	return now
}

// result puts the parts into the order that plan.Plan asks for.
func (p *planner) result() plan.Plan {
	g := dag.New[string]()
	for i := range p.tasks {
		g.Add(p.tasks[i].ID)
		for _, need := range p.tasks[i].Needs {
			g.Edge(need, p.tasks[i].ID)
		}
	}
	level := g.Levels()
	slices.SortFunc(p.tasks, func(a, b plan.Task) int {
		return cmp.Or(cmp.Compare(level[a.ID], level[b.ID]), cmp.Compare(a.ID, b.ID))
	})
	for i := range p.rolls {
		p.rolls[i].Team = p.team(p.rolls[i])
	}
	slices.SortFunc(p.rolls, func(a, b plan.Task) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(p.timings, func(a, b plan.Timing) int { return cmp.Compare(a.Test, b.Test) })
	out := plan.Plan{
		Version: plan.Version, Project: p.in.Pipeline.Project, Repository: p.in.Repository, Ref: p.in.Ref,
		Commit: p.in.Commit, Base: p.in.Base, Dirty: p.in.Dirty, Rebuild: p.in.Rebuild, Untrusted: p.in.Untrusted, Registry: p.in.Registry, Source: p.source(),
		Services: make([]plan.Service, 0, len(p.in.Pipeline.Services)), Tasks: p.tasks, Rollbacks: p.rolls,
		Line: p.in.Line, Supersede: p.in.Supersede, Timeout: int(p.in.Pipeline.Timeout / time.Second),
		Teams: p.teams(), Groups: p.groups(), Class: p.in.Class, Timings: p.timings,
	}
	if p.judges {
		out.Findings = Rule(p.in.Targets, p.in.Onto)
	}
	for _, s := range p.in.Pipeline.Services {
		out.Services = append(out.Services, p.service(s))
	}
	return out
}

func (p *planner) service(s *pipeline.Service) plan.Service {
	v := p.verdicts[s.Name]
	out := plan.Service{Name: s.Name, Digest: p.digests[s.Name], Affected: v.Affected(), Reason: v.Reason, Owner: s.Owner}
	reuse, reused := p.reused[s.Name]
	switch {
	case reused && v.Build:
		out.Reason += "; the same inputs were built in run " + reuse.Run
	case !reused && !v.Build && s.Build != nil:
		out.Reason += "; " + p.reasons[s.Name]
	}
	if p.renders() && p.in.Targets != nil && p.deploys[s.Name] {
		for _, e := range p.in.Targets.Environments {
			out.Targets = append(out.Targets, rollout.Targets(e)...)
		}
	}
	return out
}
