package planner

import (
	"slices"

	"github.com/slipway-build/slipway/coordinator/dag"
	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/plan"
)

// patterns of artifacts by name; nil: there are none.
func patterns(list []pipeline.Artifact) map[string]string {
	if len(list) == 0 {
		return nil
	}
	out := make(map[string]string, len(list))
	for _, a := range list {
		out[a.Name] = a.Pattern
	}
	return out
}

// testOf is a test with its service.
type testOf struct {
	service *pipeline.Service
	test    *pipeline.Test
}

// testOrder puts tests behind those whose artifacts they use, so that their digests are known, and notes what is used.
func (p *planner) testOrder() []testOf {
	g := dag.New[string]()
	byID := map[string]testOf{}
	for _, s := range p.in.Pipeline.Services {
		for _, t := range s.Tests {
			if t.At == pipeline.AtDeploy {
				continue
			}
			id := plan.TestID(s.Name, t.Name)
			byID[id] = testOf{s, t}
			g.Add(id)
			for _, u := range t.Use {
				maker := plan.TestID(u.Service, u.Test)
				g.Edge(maker, id)
				p.required[maker] = append(p.required[maker], u.Artifact)
			}
		}
	}
	order, _ := g.Order()
	out := make([]testOf, 0, len(order))
	for _, id := range order {
		out = append(out, byID[id])
	}
	for maker, names := range p.required {
		slices.Sort(names)
		p.required[maker] = slices.Compact(names)
	}
	return out
}

// uses are the artifacts that a test is given, what tells them from others, and the tests that it needs for them.
func (p *planner) uses(t *pipeline.Test) (list []plan.Use, inputs map[string]string, needs []string) {
	for _, u := range t.Use {
		if inputs == nil {
			inputs = map[string]string{}
		}
		maker := plan.TestID(u.Service, u.Test)
		list = append(list, plan.Use{Path: u.Path, Task: maker, Artifact: u.Artifact})
		inputs[u.Path] = p.testDigests[maker] + " " + u.Artifact
		needs = append(needs, maker)
	}
	return list, inputs, needs
}

// left says that an earlier result has the artifacts that other tests use.
func (p *planner) left(task string, known plan.Reuse) bool {
	return !slices.ContainsFunc(p.required[task], func(name string) bool {
		_, ok := known.Result.Artifact(name)
		return !ok
	})
}

// alone is a coverage without what it was compared with: that was another commit's.
func alone(c *plan.Coverage) *plan.Coverage {
	if c == nil || c.Before == nil {
		return c
	}
	out := *c
	out.Before = nil
	return &out
}
