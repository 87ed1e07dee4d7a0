package pipeline

import (
	"slices"
	"strings"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

func (d *decoder) waves(n strictyaml.Node) []*Wave {
	var out []*Wave
	all := d.report.Count()
	seen := map[string]bool{}
	n.List(func(i int, item strictyaml.Node) {
		if d.over(item, i+1, maxClusters, "waves") {
			return
		}
		w := &Wave{Pos: item.Pos()}
		rest := false
		before := d.report.Count()
		item.Fields("wave", strictyaml.Fields{
			"name": func(n strictyaml.Node) {
				w.Name, w.Pos = d.name(n), n.Pos()
				if seen[w.Name] {
					n.Problem("give it another name", "two waves are named %s", strictyaml.Quote(w.Name))
				}
				seen[w.Name] = true
			},
			"clusters": func(n strictyaml.Node) {
				w.Selector = d.labels(n)
				if n.IsMap() && len(w.Selector) == 0 {
					n.Problem("write labels, as { region: eu }", "a selector without labels would select every cluster")
				}
			},
			"rest": func(n strictyaml.Node) {
				if rest = n.Bool(); !rest && n.IsBool() {
					n.KeyProblem("write true, or clusters with labels", "rest: false selects nothing")
				}
			},
			"soak":     func(n strictyaml.Node) { w.Soak = d.soak(n) },
			"parallel": func(n strictyaml.Node) { w.Parallel = n.Int(1, maxClusters) },
		}, "name")
		if d.report.Count() == before && rest == (len(w.Selector) > 0) {
			d.report.Add(w.Pos, "write clusters: with labels, or rest: true", "wave %s needs one of clusters and rest", strictyaml.Quote(w.Name))
		}
		out = append(out, w)
	})
	if d.report.Count() > all {
		return nil // which clusters are left over would only confuse
	}
	return out
}

// selectWaves gives each cluster of an environment to the first wave that selects it. A wave without a cluster, and a
// cluster without a wave, are mistakes: nobody would notice either.
func (d *decoder) selectWaves(e *Environment, clusters []*Cluster) {
	if len(e.Waves) == 0 || len(e.Clusters) == 0 {
		return
	}
	left := slices.Clone(e.Clusters)
	for _, w := range e.Waves {
		for _, c := range clusters {
			if i := slices.Index(left, c.Name); i >= 0 && (len(w.Selector) == 0 || selects(w.Selector, c.Labels)) {
				w.Clusters = append(w.Clusters, c.Name)
				left = slices.Delete(left, i, i+1)
			}
		}
		if len(w.Clusters) == 0 {
			d.report.Add(w.Pos, "remove it, or change its labels", "wave %s has no cluster of environment %q that is in no wave before", strictyaml.Quote(w.Name), e.Name)
		}
	}
	if len(left) > 0 {
		d.report.Add(e.Pos, "add a last wave with rest: true", "no wave of environment %q has %s", e.Name, strings.Join(left, ", "))
	}
}
