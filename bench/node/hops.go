package node

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-build/slipway/bench/graph"
	"github.com/slipway-build/slipway/bench/invariant"
	"github.com/slipway-build/slipway/coordinator/plan"
)

// Hops is runs of two tasks, one run after the other, whose tasks are leased by different
// processes. Each begins when the one before has ended, so that nothing else is going on.
type Hops struct {
	Runs   int    `json:"runs"`
	First  string `json:"first"` // capability of the first task
	Second string `json:"second"`
	From   int    `json:"from"` // number of the first run
}

// HopReport has the time of each hop: from the end of the first task's handler to the
// start of the second's, in nanoseconds.
type HopReport struct {
	Hops   []time.Duration `json:"hops"`
	Broken []string        `json:"broken,omitempty"`
}

func (p *parts) hops(ctx context.Context, h Hops) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	ids := make([]string, h.Runs)
	for i := range ids {
		one, err := p.submitAll(ctx, []plan.Plan{graph.Chain("hops", h.First, h.Second, h.From+i)}, 1)
		if err != nil {
			return nil, err
		}
		if err := p.ends.all(ctx, one); err != nil {
			return nil, err
		}
		ids[i] = one[0]
	}
	runs, err := p.runs(ctx, ids)
	if err != nil {
		return nil, err
	}
	rep := HopReport{Broken: invariant.Check(runs)}
	for _, r := range runs {
		a, b := r.Tasks[0], r.Tasks[1]
		if len(a.Attempts) != 1 || len(b.Attempts) != 1 {
			return nil, fmt.Errorf("run %s: a task has several attempts", r.ID)
		}
		rep.Hops = append(rep.Hops, b.Attempts[0].StartedAt.Sub(a.Attempts[0].FinishedAt))
	}
	return rep, nil
}

// TimedProject is the one whose tasks take time.
const TimedProject = "timed"

// TimedRun is a run whose tasks take time.
type TimedRun struct {
	Tasks int           `json:"tasks"`
	Mean  time.Duration `json:"mean"`
	Seed  uint64        `json:"seed"`
}

func (p *parts) timed(ctx context.Context, t TimedRun) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	g := graph.Services(TimedProject, t.Tasks, t.Mean, t.Seed)
	for i := range g.Plan.Tasks {
		g.Plan.Tasks[i].Build.Args = map[string]string{Sleep: graph.Seconds(g.Take[i])}
	}
	start := time.Now()
	ids, err := p.submitAll(ctx, []plan.Plan{g.Plan}, 1)
	if err != nil {
		return nil, err
	}
	if err := p.ends.all(ctx, ids); err != nil {
		return nil, err
	}
	rep := Report{Tasks: t.Tasks, Elapsed: time.Since(start)}
	runs, err := p.runs(ctx, ids)
	if err != nil {
		return nil, err
	}
	rep.Broken = invariant.Check(runs)
	return rep, nil
}
