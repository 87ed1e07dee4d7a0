package submit

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

// BackRequest asks that an earlier release be brought back to an environment.
type BackRequest struct {
	Project, Environment string
	Run                  string // whose release; empty: the one before
	Key                  string // idempotency key
	By                   string // who asks
}

// Back accepts a run that does. find is asked for the run whose release it brings, unless the key began it before.
func (s *Submitter) Back(ctx context.Context, req BackRequest, find func() (*run.Run, error)) (id string, err error) {
	home, err := s.cfg.Home(ctx, req.Project)
	if err != nil {
		return "", err
	}
	request := fmt.Sprintf("back to %q in %q by %q", req.Run, req.Environment, req.By)
	if id, err = home.Replayed(ctx, req.Project, req.Key, request); !errors.Is(err, partition.ErrNotFound) {
		return id, err
	}
	old, err := find()
	if err != nil {
		return "", err
	}
	p, err := s.revive(ctx, home, GoingBack(old, req.Environment), old)
	if err != nil {
		return "", err
	}
	id, _, err = s.accept(ctx, home, p, Acceptance{SubmittedBy: req.By, Origin: old.Origin, Key: req.Key, RequestHash: request})
	return id, err
}

// GoingBack is the plan that brings the release of a run back to an environment: what made the release, reused, and its rollout there
// without what takes time: steps, soaks, windows and approvals. What was judged of the commit then is not judged again.
func GoingBack(old *run.Run, environment string) plan.Plan {
	p := Again(old)
	p.Back, p.Line, p.Findings = old.ID, "", nil
	tasks := make(map[string]*plan.Task, len(p.Tasks))
	for i := range p.Tasks {
		tasks[p.Tasks[i].ID] = &p.Tasks[i]
	}
	needed := map[string]bool{}
	var need func(id string)
	need = func(id string) {
		t := tasks[id]
		if t == nil || needed[id] {
			return
		}
		needed[id] = true
		t.Needs = without(tasks, t.Needs, environment)
		for _, n := range t.Needs {
			need(n)
		}
	}
	need(plan.VerifiedID(environment))
	p.Tasks = slices.DeleteFunc(p.Tasks, func(t plan.Task) bool { return !needed[t.ID] })
	for i := range p.Tasks {
		t := &p.Tasks[i]
		switch t.Kind {
		case plan.KindRollout:
			t.Wait, t.Windows, t.Hold = 0, nil, false
			t.Reason = "goes back to the release of run " + old.ID
		case plan.KindWave:
			t.Wait, t.Windows = 0, nil
		default:
			if t.Reuse != nil {
				t.Reason = "was made in run " + old.ID + ", to whose release this one goes back"
			}
		}
	}
	p.Rollbacks = slices.DeleteFunc(slices.Clone(p.Rollbacks), func(t plan.Task) bool { return t.Target.Environment != environment })
	return p
}

// without replaces needs that are left out by what they need.
func without(tasks map[string]*plan.Task, needs []string, environment string) []string {
	var out []string
	for _, id := range needs {
		t := tasks[id]
		switch {
		case t == nil:
		case t.Kind == plan.KindFindings, t.Target != nil && t.Target.Environment != environment:
		case t.Kind == plan.KindApprove, t.Kind == plan.KindShift, t.Kind == plan.KindAnalyze, t.Kind == plan.KindStep:
			out = append(out, without(tasks, t.Needs, environment)...)
		default:
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
