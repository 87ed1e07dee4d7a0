package node

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-build/slipway/bench/graph"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

// Live asks for runs that stop in the middle: the second half of their layers wants
// workers of the capability Rest, of which there are none.
type Live struct {
	Batch

	Rest string `json:"rest"`
}

// live waits until the first half of all runs is done.
func (p *parts) live(ctx context.Context, l Live) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, 9*time.Minute)
	defer cancel()
	plans := make([]plan.Plan, l.Runs)
	for i := range plans {
		plans[i] = graph.Halfway(fmt.Sprintf("live%d", i%max(1, l.Projects)), l.Layers, l.Width, l.Rest, l.Seed*1000+uint64(i))
	}
	want := p.done.Load() + int64(l.Runs*(l.Layers/2)*l.Width)
	if _, err := p.submitAll(ctx, plans, l.Submitters); err != nil {
		return nil, err
	}
	return nil, until(ctx, func() bool { return p.done.Load() >= want })
}

// First is the first task that a worker was given.
type First struct {
	Run  string    `json:"run"`
	Task string    `json:"task"`
	At   time.Time `json:"at"` // when its handler started
}

// right answers what is wrong about a first dispatch; empty: nothing.
func (p *parts) right(ctx context.Context, f First) (any, error) {
	for _, part := range p.set.All() {
		var r *run.Run
		err := part.Do(ctx, func(tx *partition.Tx) (err error) {
			r, err = tx.Run(f.Run)
			return err
		})
		if err == nil {
			return wrong(r, f.Task), nil
		}
	}
	return "I1: nobody knows run " + f.Run, nil
}

// wrong says why a task of a run may not have been leased; empty: it may.
func wrong(r *run.Run, id string) string {
	t, ok := r.Find(id)
	if !ok {
		return fmt.Sprintf("I1: run %s has no task %s", r.ID, id)
	}
	if len(t.Attempts) != 1 {
		return fmt.Sprintf("I5: %s of run %s has %d attempts", id, r.ID, len(t.Attempts))
	}
	for _, need := range t.Spec.Needs {
		n, ok := r.Find(need)
		switch {
		case !ok || n.State != run.TaskSucceeded:
			return fmt.Sprintf("I4: %s of run %s was leased before %s had succeeded", id, r.ID, need)
		case !n.Attempts[len(n.Attempts)-1].Fence.Less(t.Attempts[0].Fence):
			return fmt.Sprintf("I5: the fence of %s of run %s is not above that of %s", id, r.ID, need)
		}
	}
	return ""
}
