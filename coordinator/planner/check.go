package planner

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/rollout"
)

// Paths are the repository paths whose identities a plan needs, sorted: Input.Objects
// holds those of them that exist at the commit. targets may be nil.
func Paths(p *pipeline.Pipeline, targets *pipeline.Targets) []string {
	set := map[string]bool{}
	add := func(paths ...string) {
		for _, path := range paths {
			set[path] = true
		}
	}
	for _, s := range p.Services {
		add(s.Path)
		add(s.Also...)
		if s.Build != nil {
			add(s.Build.Dockerfile, s.Build.Context)
			add(s.IgnoreFiles()...)
		}
		if s.Deploy == nil {
			continue
		}
		add(s.Deploy.Path)
		add(s.Deploy.Also...)
		add(kustomizations(s.Deploy.Path)...)
		if s.Deploy.Using == pipeline.UsingHelm {
			add(path.Join(s.Deploy.Path, "Chart.yaml"))
			add(s.Deploy.Values...)
		}
		if targets == nil {
			continue
		}
		for _, e := range targets.Environments {
			for _, t := range rollout.Targets(e) {
				add(overlays(s.Deploy, t)...)
				add(valuesFiles(s.Deploy, t)...)
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// overlays are the folders that may hold what is special about a target, the most
// special first.
func overlays(d *pipeline.Deploy, t plan.Target) []string {
	folder := path.Join(d.Path, "overlays", t.Environment)
	return []string{folder + "-" + t.Cluster, folder, path.Join(d.Path, "base")}
}

func kustomizations(folder string) []string {
	return []string{
		path.Join(folder, "kustomization.yaml"), path.Join(folder, "kustomization.yml"), path.Join(folder, "Kustomization"),
	}
}

// overlay is the folder that is rendered for a target: overlays/<environment>-<cluster>
// or overlays/<environment> below the deploy path if there is one, else the path
// itself, or base below it if only that is a kustomization.
func overlay(d *pipeline.Deploy, t plan.Target, objects map[string]string) string {
	candidates := overlays(d, t)
	for _, folder := range candidates[:2] {
		if objects[folder] != "" {
			return folder
		}
	}
	isKustomization := slices.ContainsFunc(kustomizations(d.Path), func(f string) bool { return objects[f] != "" })
	if base := candidates[2]; d.Using == pipeline.UsingKustomize && !isKustomization && objects[base] != "" {
		return base
	}
	return d.Path
}

// valuesFiles are the files that values for a target may be in, the most special last:
// beside the chart's own values.yaml and beside each file of deploy.values those whose
// name goes on with the environment, the cluster, or both.
func valuesFiles(d *pipeline.Deploy, t plan.Target) []string {
	if d.Using != pipeline.UsingHelm {
		return nil
	}
	var out []string
	for _, file := range append([]string{path.Join(d.Path, "values.yaml")}, d.Values...) {
		ext := path.Ext(file)
		stem := strings.TrimSuffix(file, ext)
		out = append(out, file, stem+"-"+t.Environment+ext, stem+"-"+t.Cluster+ext, stem+"-"+t.Environment+"-"+t.Cluster+ext)
	}
	return out[1:] // the chart brings its own
}

// values are the files that there are.
func values(d *pipeline.Deploy, t plan.Target, objects map[string]string) []string {
	return slices.DeleteFunc(valuesFiles(d, t), func(file string) bool { return objects[file] == "" })
}

// check reports what the files ask for and the commit does not have.
func (p *planner) check() {
	at := "at commit " + p.in.Commit[:min(len(p.in.Commit), 12)]
	pipeline.Match(p.in.Pipeline, p.in.Targets, p.report)
	p.checkScans()
	p.checkPolicies()
	for _, s := range p.in.Pipeline.Services {
		if p.folder(s.Pos, "", "the path %s of service "+s.Name, s.Path, at) && s.Build != nil {
			p.checkBuild(s, at)
		}
		for _, also := range s.Also {
			p.exists(s.Pos, "", "%s, which service "+s.Name+" lists below also,", also, at)
		}
		p.checkJobs(s)
		p.checkUnusable(s)
		if s.Deploy == nil || !p.deploys[s.Name] || !p.renders() {
			continue
		}
		p.folder(s.Deploy.Pos, "add the manifests, or write deploy: false", "the path %s of the manifests of service "+s.Name, s.Deploy.Path, at)
		if chart := path.Join(s.Deploy.Path, "Chart.yaml"); s.Deploy.Using == pipeline.UsingHelm {
			p.exists(s.Deploy.Pos, "name the folder of the chart with deploy.path", "the chart %s of service "+s.Name, chart, at)
		}
		for _, file := range s.Deploy.Values {
			p.exists(s.Deploy.Pos, "", "%s, which service "+s.Name+" lists below deploy.values,", file, at)
		}
		for _, also := range s.Deploy.Also {
			p.exists(s.Deploy.Pos, "", "%s, which the manifests of service "+s.Name+" need,", also, at)
		}
	}
}

// checkJobs reports what would be carried out beside a rollout that there is none of, or
// in an image that there is none of.
func (p *planner) checkJobs(s *pipeline.Service) {
	refuse := func(pos pipeline.Pos, what string) {
		switch {
		case s.Deploy == nil || !p.deploys[s.Name]:
			p.report.Add(pos, "add its manifests, or remove it", "%s of service %s follows its deployment, and it is not deployed", what, s.Name)
		case s.Build == nil:
			p.report.Add(pos, "add a Dockerfile, or remove it", "%s of service %s runs in its image, and it has none", what, s.Name)
		}
	}
	if s.Deploy != nil && s.Deploy.Migrate != nil {
		refuse(s.Deploy.Migrate.Pos, "the migration")
	}
	for _, t := range s.Tests {
		if t.At == pipeline.AtDeploy {
			refuse(t.Pos, "the test "+t.Name)
		}
	}
}

func (p *planner) checkBuild(s *pipeline.Service, at string) {
	file := s.Build.Dockerfile
	if p.exists(s.Build.Pos, "add it, name another one with build.dockerfile, or write build: false", "the Dockerfile %s of service "+s.Name, file, at) &&
		strings.HasPrefix(p.in.Objects[file], "04") {
		p.report.Add(s.Build.Pos, "name the file in it", "%s is a folder, and a Dockerfile is a file", file)
	}
	if dir := s.Build.Context; dir != "." && p.folder(s.Build.Pos, "correct build.context", "the build context %s of service "+s.Name, dir, at) &&
		!strings.HasPrefix(p.in.Objects[dir], "04") {
		p.report.Add(s.Build.Pos, "name the folder it is in", "%s is a file, and a build context is a folder", dir)
	}
	if s.Build.Push == "" && p.in.Registry == "" {
		p.report.Add(s.Build.Pos, "write build.push, or configure the farm's registry", "service %s has no registry to push to", s.Name)
	}
}

// exists reports a path that the commit does not have. what has a %s for the path.
func (p *planner) exists(pos pipeline.Pos, suggestion, what, name, at string) bool {
	if p.in.Objects[name] != "" {
		return true
	}
	if submodule, ok := p.through(name); ok {
		p.report.Add(pos, "name the whole submodule", "%s is not there: %s is a submodule, of which no part can be named", fmt.Sprintf(what, name), submodule)
		return false
	}
	p.report.Add(pos, suggestion, "%s does not exist %s", fmt.Sprintf(what, name), at)
	return false
}

// folder is exists for what must not be a link: only the link itself would be there.
func (p *planner) folder(pos pipeline.Pos, suggestion, what, name, at string) bool {
	if strings.HasPrefix(p.in.Objects[name], "12") {
		p.report.Add(pos, "write the path that it points to", "%s is a symbolic link", fmt.Sprintf(what, name))
		return false
	}
	return p.exists(pos, suggestion, what, name, at)
}

// seconds rounds up: a timeout is never shorter than what was asked for.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
