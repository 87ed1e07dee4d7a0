// Package affected decides what a commit means for each service: from the paths that
// changed since the last green commit and the graph of services it says which are
// affected and why, in words; and it composes the digests by which results are found
// again (DESIGN D5).
//
// The two answer different questions. A digest decides whether a task runs. The
// verdict explains it, and marks what a person would call changed. So a wrong verdict
// misleads, and never leaves anything out.
//
// The package reads no repository: object ids and changed paths come from source.
package affected

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/coordinator/dag"
)

// Service is what matters of a service here. Paths are repository paths.
type Service struct {
	Name     string
	Path     string
	Also     []string          // further paths that its image depends on
	Deploy   []string          // paths that its manifests depend on
	Contexts map[string]string // build context → service whose image it is
	// Definition is the digest of how the service is defined now, and Before at the
	// last green commit; empty: it was not defined then.
	Definition, Before string
}

// Change is the difference from the last green commit.
type Change struct {
	Base    string   // the last green commit; empty: there is none
	Changed []string // paths that differ between it and this commit
}

// Verdict says whether a service is affected. Build and Deploy say whether its image
// or only its manifests are.
type Verdict struct {
	Build  bool
	Deploy bool
	Reason string // for people; also if it is not affected
}

// Affected says that anything of the service is.
func (v Verdict) Affected() bool { return v.Build || v.Deploy }

// Decide gives the verdict on every service. Its cost is that of the paths and the
// edges, not their product.
func Decide(services []Service, change Change) map[string]Verdict {
	out := make(map[string]Verdict, len(services))
	if change.Base == "" {
		for _, s := range services {
			out[s.Name] = Verdict{Build: true, Deploy: true, Reason: "no earlier green run"}
		}
		return out
	}
	byPath := match(services, change.Changed)
	for _, s := range services {
		out[s.Name] = own(s, byPath[s.Name], change)
	}
	spread(services, out)
	return out
}

// own is the verdict on a service by itself.
func own(s Service, hits hits, change Change) Verdict {
	v := Verdict{Deploy: hits.deploy.count > 0}
	switch {
	case s.Before == "":
		v.Build, v.Reason = true, "new since "+short(change.Base)
	case s.Before != s.Definition:
		v.Build, v.Reason = true, "its definition changed"
	case hits.path.count > 0:
		v.Build, v.Reason = true, hits.path.String()
	case hits.also.count > 0:
		v.Build, v.Reason = true, hits.also.String()+" (also)"
	case v.Deploy:
		v.Reason = hits.deploy.String() + " (deploy)"
	default:
		v.Reason = "unchanged since " + short(change.Base)
	}
	return v
}

// spread affects the services that build upon the image of an affected one.
func spread(services []Service, out map[string]Verdict) {
	g := dag.New[string]()
	byName := map[string]Service{}
	for _, s := range slices.SortedFunc(slices.Values(services), func(a, b Service) int { return cmp.Compare(a.Name, b.Name) }) {
		byName[s.Name] = s
		g.Add(s.Name)
		for _, name := range slices.Sorted(maps.Keys(s.Contexts)) {
			g.Edge(s.Contexts[name], s.Name)
		}
	}
	order, _ := g.Order()
	for _, name := range order {
		s := byName[name]
		for _, context := range slices.Sorted(maps.Keys(s.Contexts)) {
			base := s.Contexts[context]
			if v := out[name]; out[base].Build && !v.Build {
				v.Build, v.Reason = true, "image of "+base+" is rebuilt"
				out[name] = v
			}
		}
	}
}

// hit counts changed paths and keeps the first.
type hit struct {
	first string
	count int
}

func (h *hit) add(path string) {
	if h.count == 0 || path < h.first {
		h.first = path
	}
	h.count++
}

// String is what changed, in words.
func (h hit) String() string {
	switch h.count {
	case 1:
		return h.first + " changed"
	case 2:
		return h.first + " and 1 more path changed"
	default:
		return fmt.Sprintf("%s and %d more paths changed", h.first, h.count-1)
	}
}

type hits struct{ path, also, deploy hit }

// role says what a path is to a service.
type role struct {
	service string
	of      func(*hits) *hit
}

// match finds the services that each changed path belongs to by walking up from it.
// A path that is both a service's own and one of also counts as its own.
func match(services []Service, changed []string) map[string]hits {
	roles := map[string][]role{}
	for _, s := range services {
		roles[s.Path] = append(roles[s.Path], role{s.Name, func(h *hits) *hit { return &h.path }})
		for _, p := range s.Also {
			roles[p] = append(roles[p], role{s.Name, func(h *hits) *hit { return &h.also }})
		}
		for _, p := range s.Deploy {
			roles[p] = append(roles[p], role{s.Name, func(h *hits) *hit { return &h.deploy }})
		}
	}
	found := map[string]*hits{}
	for _, path := range changed {
		for at := path; ; at = parent(at) {
			for _, r := range roles[at] {
				if found[r.service] == nil {
					found[r.service] = &hits{}
				}
				r.of(found[r.service]).add(path)
			}
			if at == "." {
				break
			}
		}
	}
	out := make(map[string]hits, len(found))
	for name, h := range found {
		out[name] = *h
	}
	return out
}

func parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "."
}

func short(commit string) string { return commit[:min(len(commit), 12)] }
