package planner

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/coordinator/affected"
	"github.com/slipway-build/slipway/coordinator/dag"
	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/rollout"
)

// Of tasks that the files say nothing about.
const (
	checkoutTimeout = 600 // seconds
	renderTimeout   = 300 // seconds
	diffTimeout     = 300 // seconds
	infraRetries    = 2
)

// definition identifies how a service is defined, as far as its results depend on it.
func definition(s *pipeline.Service) string {
	c := *s
	c.Owner = ""
	return plan.Sum([]byte(encoded(&c)))
}

// encoded is the JSON of strings, numbers and maps of strings.
func encoded(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err))
	}
	return string(data)
}

// jobs are what a service carries out beside its rollout: its migration, and the tests
// of what was rolled out.
func (p *planner) jobs(s *pipeline.Service) []plan.Job {
	var out []plan.Job
	if m := s.Deploy.Migrate; m != nil {
		out = append(out, plan.Job{Name: pipeline.MigrateName, Phase: plan.PhaseBefore, Run: m.Run, Timeout: seconds(s.Deploy.Timeout)})
	}
	for _, t := range s.Tests {
		if t.At == pipeline.AtDeploy {
			out = append(out, plan.Job{
				Name: t.Name, Phase: plan.PhaseAfter, Run: t.Run, Env: maps.Clone(t.Env), Services: p.deployed(), Timeout: seconds(t.Timeout),
			})
		}
	}
	return out
}

// beside is how long jobs may take, one after the other, with the time that each needs to
// be started and to be found dead.
func beside(jobs []plan.Job) int {
	const around = 30
	sum := 0
	for _, j := range jobs {
		sum += j.Timeout + around
	}
	return sum
}

// deployed are the services that are rolled out, sorted.
func (p *planner) deployed() []string {
	var out []string
	for _, s := range p.in.Pipeline.Services {
		if p.deploys[s.Name] {
			out = append(out, s.Name)
		}
	}
	return out
}

// buildOrder puts services behind those whose images they build upon, so that their
// digests are known.
func (p *planner) buildOrder() []*pipeline.Service {
	g := dag.New[string]()
	for _, s := range p.in.Pipeline.Services {
		g.Add(s.Name)
		if s.Build != nil {
			for _, c := range s.Build.Contexts {
				g.Edge(c.Service, s.Name)
			}
		}
	}
	order, _ := g.Order()
	out := make([]*pipeline.Service, 0, len(order))
	for _, name := range order {
		s, _ := p.in.Pipeline.Service(name)
		out = append(out, s)
	}
	return out
}

// paths are those that the image of a service depends on: its own, and what says which of them are in the context.
func (p *planner) paths(s *pipeline.Service) []string {
	paths := s.Paths()
	for _, name := range s.IgnoreFiles() {
		if _, ok := p.in.Objects[name]; ok {
			paths = append(paths, name)
		}
	}
	return pipeline.Outermost(paths)
}

// objects are the identities of paths at the commit.
func (p *planner) objects(paths []string) map[string]string {
	out := make(map[string]string, len(paths))
	for _, path := range paths {
		out[path] = p.in.Objects[path]
	}
	return out
}

// cacheNamespace is the build argument by which BuildKit's Dockerfile frontend keeps
// cache mounts apart.
const cacheNamespace = "BUILDKIT_CACHE_MOUNT_NS"

// build adds the build of a service, or only its digest if it has no image.
func (p *planner) build(s *pipeline.Service) {
	inputs := affected.BuildInputs{
		Service: s.Name, Objects: p.objects(p.paths(s)), Images: map[string]string{},
		Platform: p.in.Platform, Runner: p.in.Runner, Scope: p.in.Scope,
	}
	if s.Build == nil {
		p.digests[s.Name] = affected.BuildDigest(inputs)
		return
	}
	b := plan.Build{
		Paths: p.paths(s), Dockerfile: s.Build.Dockerfile, Context: s.Build.Context, Target: s.Build.Target, Args: maps.Clone(s.Build.Args),
		Platform: p.in.Platform, Push: p.in.Registry, Provenance: s.Build.Provenance, SBOM: s.Build.SBOM,
		Secrets: names(s.Build.Secrets),
	}
	inputs.Bases, b.Bases = p.stands(s)
	if s.Build.Platform != "" {
		b.Platform = s.Build.Platform
	}
	if s.Build.Push != "" {
		b.Push = s.Build.Push
	}
	b.Push += "/" + s.Name
	if p.in.Untrusted {
		// Nothing that a stranger's build leaves in a cache mount is there for others.
		if b.Args == nil {
			b.Args = map[string]string{}
		}
		b.Args[cacheNamespace] = p.in.Scope
	}
	needs := []string{plan.CheckoutID}
	for _, c := range s.Build.Contexts {
		if b.Contexts == nil {
			b.Contexts = map[string]string{}
		}
		b.Contexts[c.Name] = c.Service
		inputs.Images[c.Name] = p.digests[c.Service]
		needs = append(needs, plan.BuildID(c.Service))
	}
	inputs.Dockerfile, inputs.Context, inputs.Target, inputs.Args = b.Dockerfile, b.Context, b.Target, b.Args
	inputs.Platform, inputs.Push, inputs.Provenance, inputs.SBOM, inputs.Secrets = b.Platform, b.Push, b.Provenance, b.SBOM, b.Secrets
	digest := affected.BuildDigest(inputs)
	p.digests[s.Name], p.builds[s.Name] = digest, b
	p.reasons[s.Name] = p.moved(s, inputs)

	_, b.Fresh = p.in.Forgotten[digest]
	t := plan.Task{
		ID: plan.BuildID(s.Name), Kind: plan.KindBuild, Service: s.Name, Needs: needs, Can: plan.CapabilityBuild,
		Digest: digest, Reason: p.why(s), Timeout: seconds(s.Build.Timeout), Infra: s.Build.Infra, Build: &b,
		RetryTimeout: s.Build.RetryTimeout, RetryOOM: s.Build.RetryOOM,
	}
	p.add(t)
	last := p.tasks[len(p.tasks)-1]
	if p.reasons[s.Name] = last.Reason; last.Reuse != nil {
		p.reused[s.Name] = *last.Reuse
	}
}

// names of secrets, by what they are called where they are used.
func names(uses []pipeline.SecretUse) map[string]string {
	if len(uses) == 0 {
		return nil
	}
	out := make(map[string]string, len(uses))
	for _, u := range uses {
		out[u.As] = u.Secret
	}
	return out
}

// why a task runs that no known result stands in for.
func (p *planner) why(s *pipeline.Service) string {
	v := p.verdicts[s.Name]
	switch {
	case p.in.Rebuild:
		return "a run that reuses nothing was asked for"
	case v.Build:
		return v.Reason
	}
	if _, reused := p.reused[s.Name]; !reused && p.reasons[s.Name] != "" {
		return p.reasons[s.Name]
	}
	return "no earlier result is kept"
}

// stands are the images that a service stands on, by what their tags mean: as inputs, and those
// that the build must be told.
func (p *planner) stands(s *pipeline.Service) (inputs, pins map[string]string) {
	inputs = map[string]string{}
	for _, image := range p.in.Stands[s.Name] {
		digest := p.in.Tags[image].Digest
		if inputs[image] = digest; digest == "" || strings.Contains(image, "@") {
			continue
		}
		if pins == nil {
			pins = map[string]string{}
		}
		pins[image] = digest
	}
	return inputs, pins
}

// moved is why a build is carried out whose own files are as they were: what it stands on is not. Of
// a tag that is said only where there is a result with what it meant before.
func (p *planner) moved(s *pipeline.Service, inputs affected.BuildInputs) string {
	for _, c := range s.Build.Contexts {
		if _, reused := p.reused[c.Service]; !reused {
			return "the image of " + c.Service + " is built anew"
		}
	}
	inputs.Bases = maps.Clone(inputs.Bases)
	var which []string
	for _, image := range slices.Sorted(maps.Keys(inputs.Bases)) {
		if t := p.in.Tags[image]; t.Was != "" && t.Was != t.Digest {
			inputs.Bases[image] = t.Was
			which = append(which, fmt.Sprintf("%s is another image now: %s, not %s", image, brief(t.Digest), brief(t.Was)))
		}
	}
	if len(which) == 0 || p.in.Known == nil {
		return ""
	}
	if _, ok := p.in.Known(affected.BuildDigest(inputs)); !ok {
		return ""
	}
	return strings.Join(which, "; ")
}

// brief is a digest as people compare it.
func brief(digest string) string {
	_, sum, _ := strings.Cut(digest, ":")
	return sum[:min(len(sum), 12)]
}

// release adds everything behind the builds and tests: renders, the gate, rollouts.
func (p *planner) release() {
	var services []rollout.Service
	gate := plan.Task{ID: plan.ReleaseID, Kind: plan.KindRelease, Needs: []string{plan.CheckoutID}, Infra: infraRetries}
	for _, t := range p.tasks {
		if t.Kind == plan.KindBuild || t.Kind == plan.KindTest || t.Kind == plan.KindGather || t.Kind == plan.KindFindings || t.Kind == plan.KindSign {
			gate.Needs = append(gate.Needs, t.ID)
		}
	}
	needs := p.rolloutNeeds()
	for _, s := range p.in.Pipeline.Services {
		if !p.deploys[s.Name] {
			continue
		}
		for _, e := range p.in.Targets.Environments {
			for _, target := range rollout.Targets(e) {
				gate.Needs = append(gate.Needs, p.render(s, target))
			}
		}
		services = append(services, rollout.Service{
			Adopt: p.in.Adopt, OneWay: s.Deploy.Migrate != nil && s.Deploy.Migrate.OneWay,
			Name: s.Name, Needs: needs[s.Name], Health: health(s.Deploy), Timeout: seconds(s.Deploy.Timeout), Beside: beside(p.jobs(s)),
		})
	}
	if len(services) == 0 {
		return
	}
	gate.Reason = "fixes images, manifests and targets once every test has passed"
	p.add(gate)
	part := rollout.Make(services, p.in.Targets.Environments)
	for _, t := range part.Tasks {
		p.add(t)
	}
	p.rolls = part.Rollbacks
}

// diffs adds the comparisons with every target, and the renders that they need.
func (p *planner) diffs() {
	for _, s := range p.in.Pipeline.Services {
		if !p.deploys[s.Name] {
			continue
		}
		for _, e := range p.in.Targets.Environments {
			for _, target := range rollout.Targets(e) {
				manifests := p.render(s, target)
				p.add(plan.Task{
					ID: plan.DiffID(s.Name, target), Kind: plan.KindDiff, Service: s.Name, Target: &target, Needs: []string{manifests},
					Can: plan.CapabilityDeployPrefix + target.Cluster, Timeout: diffTimeout, Infra: infraRetries,
					Reason: "compares with what is there, and changes nothing",
					Apply:  &plan.Apply{Manifests: manifests, Adopt: p.in.Adopt},
				})
			}
		}
	}
}

// rolloutNeeds are the services before each service. A service that is not deployed
// passes on what it needs itself.
func (p *planner) rolloutNeeds() map[string][]string {
	g := dag.New[string]()
	for _, s := range p.in.Pipeline.Services {
		g.Add(s.Name)
		for _, ref := range s.Needs {
			g.Edge(ref.Service, s.Name)
		}
	}
	order, _ := g.Order()
	out := map[string][]string{}
	for _, name := range order {
		s, _ := p.in.Pipeline.Service(name)
		var needs []string
		for _, ref := range s.Needs {
			if p.deploys[ref.Service] {
				needs = append(needs, ref.Service)
			} else {
				needs = append(needs, out[ref.Service]...)
			}
		}
		slices.Sort(needs)
		out[name] = slices.Compact(needs)
	}
	return out
}

// render adds the task that makes the manifests of a service for a target.
func (p *planner) render(s *pipeline.Service, target plan.Target) string {
	r := &plan.Render{
		Path: overlay(s.Deploy, target, p.in.Objects), Using: s.Deploy.Using, Values: values(s.Deploy, target, p.in.Objects),
		HelmRelease: s.Deploy.HelmRelease, Health: health(s.Deploy),
	}
	paths := pipeline.Outermost(slices.Concat([]string{s.Deploy.Path}, s.Deploy.Also, r.Values))
	r.Paths = paths
	inputs := affected.RenderInputs{
		Service: s.Name, Objects: p.objects(paths), Path: r.Path, Using: r.Using, Values: r.Values, HelmRelease: r.HelmRelease, Project: p.in.Pipeline.Project,
		Environment: target.Environment, Cluster: target.Cluster, Namespace: target.Namespace, Runner: p.in.Runner,
	}
	if r.Jobs = p.jobs(s); len(r.Jobs) > 0 {
		inputs.Jobs = encoded(r.Jobs)
	}
	asked := p.policies(r, target)
	inputs.Policies = said(r.Policies)
	if r.Health != nil {
		inputs.Health = fmt.Sprintf("%d%s", r.Health.Port, r.Health.Path)
	}
	needs := []string{plan.CheckoutID}
	if s.Build != nil {
		inputs.Build, r.Image = p.digests[s.Name], plan.BuildID(s.Name)
		needs = append(needs, r.Image)
	}
	for _, image := range s.Deploy.Images {
		if r.Images == nil {
			r.Images, inputs.Images = map[string]string{}, map[string]string{}
		}
		r.Images[image.Name] = image.Service
		inputs.Images[image.Name] = image.Service + " " + p.digests[image.Service]
		needs = append(needs, plan.BuildID(image.Service))
	}
	t := plan.Task{
		ID: plan.RenderID(s.Name, target), Kind: plan.KindRender, Service: s.Name, Target: &target, Needs: needs,
		Can: plan.CapabilityRender, Digest: affected.RenderDigest(inputs), Timeout: renderTimeout, Infra: infraRetries, Render: r,
	}
	t.Reason = "no manifests are kept for this image and target"
	if asked {
		t.Digest, t.Reason = "", "a policy has registries asked about its images in each run"
		t.Needs = slices.Concat(needs, p.signed(needs))
	}
	p.add(t)
	return t.ID
}

func health(d *pipeline.Deploy) *plan.Health {
	if d.Health == nil {
		return nil
	}
	return &plan.Health{Path: d.Health.HTTP, Port: d.Health.Port}
}
