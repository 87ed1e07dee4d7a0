// Package graph makes the synthetic plans that benchmarks run. It is pure: the same seed
// gives the same plan.
package graph

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
)

// commit of plans: nothing fetches it.
const commit = "0123456789012345678901234567890123456789"

func task(id, can string, needs ...string) plan.Task {
	slices.Sort(needs)
	return plan.Task{
		ID: id, Kind: plan.KindBuild, Service: strings.TrimPrefix(id, "build/"), Can: can, Needs: slices.Compact(needs), Reason: "a benchmark", Timeout: 3600, Infra: 3,
		Build: &plan.Build{Paths: []string{"."}, Dockerfile: "Dockerfile", Platform: "linux/amd64"},
	}
}

func begin(project string) plan.Plan {
	return plan.Plan{Version: plan.Version, Project: project, Repository: "https://git.example.com/" + project + ".git", Commit: commit, Ref: "main"}
}

// Layered is layers of width tasks; each but those of the first layer needs two random
// tasks of the layer before.
func Layered(project string, layers, width int, seed uint64) plan.Plan {
	rng := rand.New(rand.NewPCG(seed, 1))
	p := begin(project)
	name := func(layer, i int) string { return plan.BuildID(fmt.Sprintf("l%02d-%04d", layer, i)) }
	for layer := range layers {
		for i := range width {
			var needs []string
			if layer > 0 {
				a := rng.IntN(width)
				needs = append(needs, name(layer-1, a))
				if width > 1 {
					needs = append(needs, name(layer-1, (a+1+rng.IntN(width-1))%width))
				}
			}
			p.Tasks = append(p.Tasks, task(name(layer, i), plan.CapabilityBuild, needs...))
		}
	}
	return p
}

// Halfway is Layered, but the second half of the layers wants another kind of worker, so
// that without one a run stops in the middle.
func Halfway(project string, layers, width int, can string, seed uint64) plan.Plan {
	p := Layered(project, layers, width, seed)
	for i := layers / 2 * width; i < len(p.Tasks); i++ {
		p.Tasks[i].Can = can
	}
	return p
}

// Chain is two tasks, the second of which needs the first, for two kinds of worker.
func Chain(project, first, second string, n int) plan.Plan {
	p := begin(project)
	a, b := plan.BuildID(fmt.Sprintf("a%d", n)), plan.BuildID(fmt.Sprintf("b%d", n))
	p.Tasks = append(p.Tasks, task(a, first), task(b, second, a))
	return p
}

// Timed is a plan with the time that each task takes, in the plan's order.
type Timed struct {
	Plan plan.Plan
	Take []time.Duration
}

// Services is a graph as a repository of many services has it: n tasks, most of which
// need a few earlier ones near them, and a few libraries that many need. Times are
// log-normal with a mean.
func Services(project string, n int, mean time.Duration, seed uint64) Timed {
	const sigma = 0.8
	rng := rand.New(rand.NewPCG(seed, 2))
	t := Timed{Plan: begin(project)}
	name := func(i int) string { return plan.BuildID(fmt.Sprintf("s%04d", i)) }
	for i := range n {
		var needs []string
		if i >= n/20 { // the first twentieth are libraries, which need nothing
			for range 1 + rng.IntN(3) {
				if rng.Float64() < 0.5 {
					needs = append(needs, name(rng.IntN(n/20)))
				} else {
					needs = append(needs, name(max(0, i-1-rng.IntN(min(i, n/8)))))
				}
			}
		}
		t.Plan.Tasks = append(t.Plan.Tasks, task(name(i), plan.CapabilityBuild, needs...))
		take := float64(mean) * math.Exp(sigma*rng.NormFloat64()-sigma*sigma/2)
		t.Take = append(t.Take, time.Duration(take).Round(time.Millisecond))
	}
	return t
}

// Seconds is a time as the command sleep is told it.
func Seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

// Bound is the least time in which the plan can be carried out with so many slots: the
// longer of the critical path and the work divided by the slots.
func (t Timed) Bound(slots int) time.Duration {
	end := make(map[string]time.Duration, len(t.Take))
	var work, path time.Duration
	for i, spec := range t.Plan.Tasks {
		var start time.Duration
		for _, need := range spec.Needs {
			start = max(start, end[need])
		}
		end[spec.ID] = start + t.Take[i]
		path = max(path, end[spec.ID])
		work += t.Take[i]
	}
	return max(path, work/time.Duration(slots))
}
