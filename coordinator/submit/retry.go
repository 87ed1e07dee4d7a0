package submit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/planner"
	"github.com/slipway-build/slipway/coordinator/run"
)

// ErrNoRetry: the run cannot be begun again from where it failed.
var ErrNoRetry = errors.New("no retry")

// Retryable says why a run cannot be begun again, as it stands.
func Retryable(old *run.Run) error {
	switch {
	case !old.State.Ended():
		return fmt.Errorf("%w: run %s has not ended: cancel it first", ErrNoRetry, old.ID)
	case old.State == run.Succeeded:
		return fmt.Errorf("%w: run %s succeeded", ErrNoRetry, old.ID)
	}
	return nil
}

// Retry accepts a new run of the plan of one, in which what was built, tested and rendered
// is reused. refuse is what Retryable says of the old one. The plan is the old one's: what it
// may do, for whom and at which targets was decided with it. replayed: the key began it before.
func (s *Submitter) Retry(ctx context.Context, old *run.Run, refuse error, key, by string) (id string, replayed bool, err error) {
	home, err := s.cfg.Home(ctx, old.Project)
	if err != nil {
		return "", false, err
	}
	request := fmt.Sprintf("retry %q by %q", old.ID, by)
	id, err = home.Replayed(ctx, old.Project, key, request)
	switch {
	case !errors.Is(err, partition.ErrNotFound):
		return id, err == nil, err
	case refuse != nil:
		return "", false, refuse
	}
	p, err := s.revive(ctx, home, Again(old), old)
	if err != nil {
		return "", false, err
	}
	return s.accept(ctx, home, p, Acceptance{SubmittedBy: by, Origin: old.Origin, Key: key, RequestHash: request, Retries: old.ID})
}

// accept has a plan become a run.
func (s *Submitter) accept(ctx context.Context, home Home, p plan.Plan, a Acceptance) (id string, replayed bool, err error) {
	data, err := plan.Encode(p)
	if err != nil {
		return "", false, err
	}
	hash, err := s.cfg.Blobs.Put(ctx, data)
	if err != nil {
		return "", false, err
	}
	a.Project, a.PlanHash = p.Project, hash
	return home.Accept(ctx, a)
}

// forgotten is why what tasks of a plan made stands for nothing, by their ids: it was forgotten since. Where that is
// what a test found, it is so of each of its shards.
func (s *Submitter) forgotten(ctx context.Context, home Home, p plan.Plan, since time.Time) (map[string]string, error) {
	var digests []string
	for _, t := range p.Tasks {
		if t.Digest != "" {
			digests = append(digests, t.Digest)
		}
	}
	_, why, err := home.Known(ctx, p.Project, digests, since)
	out := map[string]string{}
	for _, t := range p.Tasks {
		if why[t.Digest] == "" {
			continue
		}
		out[t.ID] = why[t.Digest]
		if t.Kind == plan.KindGather {
			for _, need := range t.Needs {
				if isShard(need) {
					out[need] = why[t.Digest]
				}
			}
		}
	}
	return out, err
}

// isShard says that a task is a test, by its id: of what gathers, a shard.
func isShard(id string) bool { return strings.HasPrefix(id, "test/") }

// afresh has a task take nothing from what BuildKit has in its cache.
func afresh(t *plan.Task) {
	switch {
	case t.Build != nil:
		b := *t.Build
		b.Fresh = true
		t.Build = &b
	case t.Test != nil:
		test := *t.Test
		test.Build.Fresh = true
		t.Test = &test
	case t.Command() != nil:
		scan, test := *t.Scan, *t.Scan.Test
		test.Build.Fresh = true
		scan.Test = &test
		t.Scan = &scan
	}
}

// Overtaken is the error of a retry whose target a newer run has rolled out to.
func Overtaken(old, newer, environment string) error {
	return fmt.Errorf("%w: the newer run %s has begun a rollout to %s, and a retry of %s would bring older code back there; run its commit anew if that is wanted", ErrNoRetry, newer, environment, old)
}

// revive is a plan that reuses what succeeded in a run, as far as that is still there. What
// rests on something that is gone is made anew too.
func (s *Submitter) revive(ctx context.Context, home Home, p plan.Plan, old *run.Run) (plan.Plan, error) {
	forgotten, err := s.forgotten(ctx, home, p, old.AcceptedAt)
	if err != nil {
		return plan.Plan{}, err
	}
	if p.Findings != nil { // the platform's word is the present one
		targets, err := s.Targets(old.Project)
		if err != nil {
			return plan.Plan{}, err
		}
		p.Findings = planner.Rule(targets, p.Findings.Onto)
	}
	var mu sync.Mutex
	gone := map[string]bool{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, t := range p.Tasks {
		if t.Reuse == nil {
			continue
		}
		if forgotten[t.ID] != "" {
			mu.Lock()
			gone[t.ID] = true
			mu.Unlock()
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
	if err := s.withArtifacts(ctx, p, gone); err != nil {
		return plan.Plan{}, err
	}
	for i := range p.Tasks { // a task comes behind what it needs
		t := &p.Tasks[i]
		if t.Reuse != nil && (gone[t.ID] || slices.ContainsFunc(t.Needs, func(need string) bool { return gone[need] })) {
			gone[t.ID], t.Reuse, t.Reason = true, nil, "what run "+old.ID+" left of it is gone"
		}
		if t.Kind == plan.KindSign && t.Reuse == nil && t.Key != s.cfg.Key {
			return plan.Plan{}, fmt.Errorf("%w: images of run %s were to be signed with another key than the farm has now; run its commit anew", ErrNoRetry, old.ID)
		}
		if why := forgotten[t.ID]; why != "" {
			t.Reason = why
			afresh(t)
		}
		if t.Kind == plan.KindGather && t.Reuse == nil && !slices.ContainsFunc(t.Needs, isShard) {
			return plan.Plan{}, fmt.Errorf("%w: what run %s knew of %s is gone, and its plan does not say how it is tested; run its commit anew", ErrNoRetry, old.ID, t.ID)
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
		if !ok || t.State != run.TaskSucceeded || t.Result.Tests != nil && t.Result.Tests.Failed > 0 { // the last passed because of a quarantine
			continue
		}
		switch spec.Kind {
		case plan.KindBuild, plan.KindTest, plan.KindGather, plan.KindScan, plan.KindSign, plan.KindRender:
			spec.Reuse, spec.Reason = &plan.Reuse{Run: old.ID, Result: t.Result}, "succeeded in run "+old.ID+", which this one tries again"
		case plan.KindCheckout, plan.KindFindings, plan.KindDiff, plan.KindRelease, plan.KindApprove, plan.KindRollout, plan.KindApply, plan.KindShift, plan.KindAnalyze, plan.KindStep, plan.KindWave, plan.KindPromote, plan.KindVerified, plan.KindRollback, plan.KindCatchUp:
		}
	}
	return p
}
