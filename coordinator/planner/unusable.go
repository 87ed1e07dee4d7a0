package planner

import (
	"fmt"
	"slices"

	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/plan"
)

// Why a path of the commit cannot be used as it is.
type Why string

// What workers do not get, or may not follow.
const (
	Submodule        Why = "submodule"
	LFS              Why = "lfs"
	LeavesRepository Why = "link"
)

// Unusable is a path at the commit where a task would find something else than what
// belongs there.
type Unusable struct {
	Path   string
	Why    Why
	Target string   // of a link
	Spared []string // services whose .dockerignore leaves it out of their image
}

// checkUnusable reports what an image or manifests would lack.
func (p *planner) checkUnusable(s *pipeline.Service) {
	if s.Build != nil {
		p.unusable(s.Pos, "the image of service "+s.Name, s.Name, s.Paths())
	}
	if s.Deploy != nil && p.deploys[s.Name] && p.until >= stageRelease {
		paths := slices.Concat([]string{s.Deploy.Path}, s.Deploy.Also, s.Deploy.Values)
		p.unusable(s.Deploy.Pos, "the manifests of service "+s.Name, "", paths)
	}
}

// unusable reports each kind once, where product would need it. What lies inside of a
// link or submodule is not known to exist, and reported by exists.
func (p *planner) unusable(pos pipeline.Pos, product, service string, paths []string) {
	found := map[Why][]Unusable{}
	for _, u := range p.in.Unusable {
		if slices.ContainsFunc(paths, func(path string) bool { return path == "." || pipeline.Inside(u.Path, path) }) && !slices.Contains(u.Spared, service) {
			found[u.Why] = append(found[u.Why], u)
		}
	}
	leave := "commit what belongs there, or leave it out of the service's paths"
	if service != "" {
		leave += " or, in .dockerignore, out of the image"
	}
	named := p.in.Pipeline.Source.Submodules
	list := slices.DeleteFunc(found[Submodule], func(u Unusable) bool { return !p.in.Untrusted && slices.Contains(named, u.Path) })
	switch {
	case len(list) > 0 && slices.Contains(named, list[0].Path):
		p.report.Add(pos, leave, "the commit is a fork's, for which no submodules are fetched, and %s would have an empty folder in place of %s", product, some(list))
	case len(list) > 0:
		p.report.Add(pos, fmt.Sprintf("write \"source: { submodules: [%s] }\" in slipway.yaml, ", list[0].Path)+leave,
			"submodules are fetched where they are named, and %s would have an empty folder in place of %s", product, some(list))
	}
	// Where they are fetched, the pointers say which content there is: trees are enough for digests.
	if list := found[LFS]; len(list) > 0 && !p.in.Pipeline.Source.LFS {
		p.report.Add(pos, "write \"source: { lfs: true }\" in slipway.yaml, "+leave, "files in Git LFS are not fetched, and %s would have a pointer in place of %s", product, some(list))
	}
	if list := found[LeavesRepository]; len(list) > 0 {
		p.report.Add(pos, "replace the link with what belongs there, or remove it",
			"%s, which %s would have, is a symbolic link to %q, outside the repository; nothing may depend on the machine it is built on",
			some(list), product, list[0].Target)
	}
}

// source is what tasks get. What a stranger's commit says of other repositories is not
// followed: it would be read with the coordinator's credentials.
func (p *planner) source() plan.Source {
	out := plan.Source(p.in.Pipeline.Source)
	if p.in.Untrusted {
		out.Submodules = nil
	}
	return out
}

// some names three at most.
func some(list []Unusable) string {
	out := list[0].Path
	for i := 1; i < min(len(list), 3); i++ {
		out += ", " + list[i].Path
	}
	if more := len(list) - 3; more > 0 {
		out += fmt.Sprintf(" and %d more", more)
	}
	return out
}

// through answers the submodule that a path leads into.
func (p *planner) through(name string) (string, bool) {
	for _, u := range p.in.Unusable {
		if u.Why == Submodule && u.Path != name && pipeline.Inside(name, u.Path) {
			return u.Path, true
		}
	}
	return "", false
}
