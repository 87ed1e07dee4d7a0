package pipeline

import (
	"time"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

// Limits of a canary.
const (
	maxSteps = 20
	maxPause = 24 * time.Hour
	maxSoak  = 30 * 24 * time.Hour
)

func (d *decoder) soak(n strictyaml.Node) time.Duration { return n.Duration(time.Second, maxSoak) }

func (d *decoder) canary(n strictyaml.Node) *Canary {
	c := &Canary{}
	n.Fields("strategy", strictyaml.Fields{
		StrategyCanary: func(n strictyaml.Node) { c.Steps = d.steps(n) },
		"pause":        func(n strictyaml.Node) { c.Pause = n.Duration(time.Second, maxPause) },
		"router": func(n strictyaml.Node) {
			if n.Enum("replicas", "gateway") == "gateway" {
				n.KeyProblem("write replicas", "gateway is not supported yet")
			}
		},
		"analyze": later, "blue-green": later, "flag": later,
	}, StrategyCanary, "pause")
	return c
}

// steps are ascending and end with 100. Pods beside those that serve can be at most as many: without a router
// that counts requests, no step lies between half and all.
func (d *decoder) steps(n strictyaml.Node) []int {
	var out []int
	good := n.IsList()
	n.List(func(i int, item strictyaml.Node) {
		if d.over(item, i+1, maxSteps, "steps") {
			return
		}
		before := d.report.Count()
		step := item.Int(1, 100)
		switch {
		case d.report.Count() > before:
			good = false
		case len(out) > 0 && step <= out[len(out)-1]:
			item.Problem("write ascending percentages", "step %d comes after step %d", step, out[len(out)-1])
			good = false
		case step > 50 && step < 100:
			item.Problem("write at most 50, or 100", "the candidate's pods are beside those that serve and at most as many: %d %% of the requests cannot be theirs", step)
			good = false
		}
		out = append(out, step)
	})
	if good && (len(out) == 0 || out[len(out)-1] != 100) {
		n.Problem("add 100", "the last step is not 100, so that the release would never be everywhere")
	}
	return out
}
