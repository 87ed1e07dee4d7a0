package pipeline

import (
	"maps"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/coordinator/dag"
	"github.com/slipway-build/slipway/internal/strictyaml"
)

// checkReferences checks what services say about each other.
func (d *decoder) checkReferences(services []*Service) {
	names := slices.Sorted(maps.Keys(d.services))
	needs, contexts := newCycles("needs"), newCycles("build.contexts")
	for _, s := range services {
		needs.graph.Add(s.Name)
		contexts.graph.Add(s.Name)
		for _, ref := range s.Needs {
			other := d.resolve(ref.Service, ref.Pos, names)
			if other == nil {
				continue
			}
			if other.Deploy == nil {
				d.report.Add(ref.Pos, "remove it from needs", "%s is never deployed, so that nothing can be rolled out after it", strictyaml.Quote(ref.Service))
			}
			needs.add(ref.Service, s.Name, ref.Pos)
		}
		if s.Deploy != nil {
			d.checkImages(s.Deploy.Images, names)
		}
		if s.Build == nil {
			continue
		}
		for _, c := range s.Build.Contexts {
			other := d.resolve(c.Service, c.Pos, names)
			if other == nil {
				continue
			}
			if other.Build == nil {
				d.report.Add(c.Pos, "", "%s has no image to build upon: it says build: false", strictyaml.Quote(c.Service))
			}
			contexts.add(c.Service, s.Name, c.Pos)
		}
	}
	needs.check(d.report)
	contexts.check(d.report)
}

// checkImages checks which services the images of manifests are said to be of.
func (d *decoder) checkImages(images []Context, names []string) {
	for _, image := range images {
		if other := d.resolve(image.Service, image.Pos, names); other != nil && other.Build == nil {
			d.report.Add(image.Pos, "", "%s has no image to roll out: it says build: false", strictyaml.Quote(image.Service))
		}
	}
}

func (d *decoder) resolve(name string, at Pos, names []string) *Service {
	s, ok := d.services[name]
	if !ok {
		suggestion := ""
		if !d.report.Full() {
			suggestion = strictyaml.Suggest(name, names)
		}
		d.report.Add(at, suggestion, "there is no service %s", strictyaml.Quote(name))
	}
	return s
}

// cycles finds a cycle among names and says where it is written.
type cycles struct {
	what  string
	graph *dag.Graph[string]
	at    map[[2]string]Pos // edge → where it is written
}

func newCycles(what string) *cycles {
	return &cycles{what: what, graph: dag.New[string](), at: map[[2]string]Pos{}}
}

func (c *cycles) add(before, after string, at Pos) {
	c.graph.Edge(before, after)
	c.at[[2]string{before, after}] = at
}

func (c *cycles) check(report *strictyaml.Reporter) {
	cycle := c.graph.Cycle()
	if cycle == nil {
		return
	}
	// An edge leads from what is needed to who needs it: read it backwards.
	slices.Reverse(cycle)
	at := c.at[[2]string{cycle[1], cycle[0]}]
	shown := cycle
	if len(shown) > 20 {
		shown = append(slices.Clone(cycle[:19]), "…", cycle[0])
	}
	report.Add(at, "remove one of them", "a cycle in %s: %s", c.what, strings.Join(shown, " → "))
}
