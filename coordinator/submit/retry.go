package submit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

// ErrNoRetry: the run cannot be begun again from where it failed.
var ErrNoRetry = errors.New("no retry")

// Retry accepts a new run of the plan of one that has ended without success, in which what
// was built, tested and rendered is reused. The plan is the old one: what it may do, for
// whom and at which targets was decided with it. replayed: the key began it before.
func (s *Submitter) Retry(ctx context.Context, name, key, by string) (r *run.Run, replayed bool, err error) {
	var old *run.Run
	err = s.cfg.Partitions.Find(ctx, name, func(_ *partition.Tx, found *run.Run) error { old = found; return nil })
	if err != nil {
		return nil, false, err
	}
	home, err := s.cfg.Partitions.Home(ctx, old.Project)
	if err != nil {
		return nil, false, err
	}
	request := fmt.Sprintf("retry %q by %q", old.ID, by)
	err = home.Do(ctx, func(tx *partition.Tx) error {
		r, err = tx.Replayed(old.Project, key, request)
		return err
	})
	if !errors.Is(err, partition.ErrNotFound) {
		return r, err == nil, err
	}
	switch {
	case !old.State.Ended():
		return nil, false, fmt.Errorf("%w: run %s has not ended: cancel it first", ErrNoRetry, old.ID)
	case old.State == run.Succeeded:
		return nil, false, fmt.Errorf("%w: run %s succeeded", ErrNoRetry, old.ID)
	}
	p, err := s.again(ctx, old)
	if err != nil {
		return nil, false, err
	}
	data, err := plan.Encode(p)
	if err != nil {
		return nil, false, err
	}
	hash, err := s.cfg.Blobs.Put(ctx, data)
	if err != nil {
		return nil, false, err
	}
	err = home.Do(ctx, func(tx *partition.Tx) error {
		if env, newer := tx.Overtaken(old); newer != "" {
			return fmt.Errorf("%w: the newer run %s has begun a rollout to %s, and a retry of %s would bring older code back there; run its commit anew if that is wanted", ErrNoRetry, newer, env, old.ID)
		}
		id, again, err := tx.Accept(partition.Submission{
			Plan: &p, PlanHash: hash, SubmittedBy: by, Origin: old.Origin, Key: key, RequestHash: request,
			TraceID: func(id string) string { return s.cfg.TraceID(p.Project, p.Commit, id) },
		})
		if err != nil {
			return err
		}
		replayed = again
		r, err = tx.Run(id)
		return err
	})
	return r, replayed, err
}

// again is the plan of a run with what succeeded there in place, as far as it is still
// there. What rests on something that is gone is made anew too.
func (s *Submitter) again(ctx context.Context, old *run.Run) (plan.Plan, error) {
	p := Again(old)
	var mu sync.Mutex
	gone := map[string]bool{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, t := range p.Tasks {
		if t.Reuse == nil {
			continue
		}
		g.Go(func() error {
			ok, err := s.there(ctx, t.Reuse.Result)
			mu.Lock()
			defer mu.Unlock()
			if err == nil && !ok {
				gone[t.ID] = true
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return plan.Plan{}, err
	}
	for i := range p.Tasks { // a task comes behind what it needs
		t := &p.Tasks[i]
		if t.Reuse != nil && (gone[t.ID] || slices.ContainsFunc(t.Needs, func(need string) bool { return gone[need] })) {
			gone[t.ID], t.Reuse, t.Reason = true, nil, "what run "+old.ID+" left of it is gone"
		}
	}
	return p, nil
}

// Again is the plan of a run, with what was built, tested and rendered in it reused. It
// supersedes nothing: the newer commits of its line have runs of their own.
func Again(old *run.Run) plan.Plan {
	p := *old.Plan
	p.Supersede = ""
	p.Tasks = slices.Clone(p.Tasks)
	for i := range p.Tasks {
		spec := &p.Tasks[i]
		t, ok := old.Find(spec.ID)
		if !ok || t.State != run.TaskSucceeded {
			continue
		}
		switch spec.Kind {
		case plan.KindBuild, plan.KindTest, plan.KindRender:
			spec.Reuse, spec.Reason = &plan.Reuse{Run: old.ID, Result: t.Result}, "succeeded in run "+old.ID+", which this one tries again"
		case plan.KindCheckout, plan.KindDiff, plan.KindRelease, plan.KindRollout, plan.KindApply, plan.KindWave, plan.KindPromote, plan.KindVerified, plan.KindRollback:
		}
	}
	return p
}
