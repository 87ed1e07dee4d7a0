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
	What                 string // is asked for; a key is of one of them
	Run                  string // whose release; empty: the one before, or that serves
	Key                  string // idempotency key
	By                   string // who asks
}

// Of is a plan that is made of that of a run whose release was good in an environment: GoingBack, Comparing or Restoring.
type Of func(old *run.Run, environment string) plan.Plan

// Back accepts a run of a plan of an earlier one. find is asked for that, unless the key began it before.
func (s *Submitter) Back(ctx context.Context, req BackRequest, what Of, find func() (*run.Run, error)) (id string, err error) {
	home, err := s.cfg.Home(ctx, req.Project)
	if err != nil {
		return "", err
	}
	request := fmt.Sprintf("%s %q in %q by %q", req.What, req.Run, req.Environment, req.By)
	if id, err = home.Replayed(ctx, req.Project, req.Key, request); !errors.Is(err, partition.ErrNotFound) {
		return id, err
	}
	old, err := find()
	if err != nil {
		return "", err
	}
	p, err := s.revive(ctx, home, what(old, req.Environment), old)
	if err != nil {
		return "", err
	}
	origin := old.Origin
	if p.Drift != nil { // which says nothing of the commit
		origin = run.Origin{}
	}
	id, _, err = s.accept(ctx, home, p, Acceptance{SubmittedBy: req.By, Origin: origin, Key: req.Key, RequestHash: request})
	return id, err
}

// GoingBack is the plan that brings the release of a run back to an environment: what made the release, reused, and its rollout there
// without what takes time: steps, soaks, windows and approvals. What was judged of the commit then is not judged again.
func GoingBack(old *run.Run, environment string) plan.Plan {
	p := reaching(old, environment, func(t *plan.Task) bool { return t.Kind == plan.KindVerified && t.Target.Environment == environment })
	p.Back = old.ID
	for i := range p.Tasks {
		t := &p.Tasks[i]
		switch t.Kind {
		case plan.KindRollout:
			t.Wait, t.Windows, t.Hold = 0, nil, false
			t.Reason = "goes back to the release of run " + old.ID
		case plan.KindWave:
			t.Wait, t.Windows = 0, nil
		default:
		}
	}
	return p
}

// Restoring is GoingBack to what serves: what somebody changed in the clusters is taken back.
func Restoring(old *run.Run, environment string) plan.Plan {
	p := GoingBack(old, environment)
	for i := range p.Tasks {
		switch t := &p.Tasks[i]; t.Kind {
		case plan.KindApply:
			a := *t.Apply
			a.Adopt = true
			t.Apply, t.Reason = &a, "restores what run "+old.ID+" released; what others hold there is taken over"
		case plan.KindRollout:
			t.Reason = "restores what run " + old.ID + " released"
		default:
		}
	}
	return p
}

// Comparing is the plan that compares what a run released to an environment with what is there now, and changes nothing.
func Comparing(old *run.Run, environment string) plan.Plan {
	p := reaching(old, environment, func(t *plan.Task) bool { return t.Kind == plan.KindRender && t.Target.Environment == environment })
	for _, t := range old.Plan.Tasks {
		if t.Kind != plan.KindApply || t.Target.Environment != environment {
			continue
		}
		p.Tasks = append(p.Tasks, plan.Task{
			ID: plan.DiffID(t.Service, *t.Target), Kind: plan.KindDiff, Service: t.Service, Target: t.Target, Needs: []string{t.Apply.Manifests}, Can: t.Can,
			Timeout: compareTimeout, Infra: t.Infra, Reason: "compares what run " + old.ID + " released with what is there, and changes nothing",
			Apply: &plan.Apply{Manifests: t.Apply.Manifests, Adopt: true},
		})
	}
	p.Rollbacks, p.Drift = []plan.Task{}, &plan.Drift{Environment: environment}
	return p
}

// TakingBack is Restoring by the farm itself, which counts how often it does that to an object.
func TakingBack(objects []string) Of {
	return func(old *run.Run, environment string) plan.Plan {
		p := Restoring(old, environment)
		p.Drift = &plan.Drift{Environment: environment, Restores: objects}
		return p
	}
}

// compareTimeout is for one service in one cluster, in seconds.
const compareTimeout = 300

// reaching is the plan of a run as far as some of its tasks need it, with everything reused that was made, and without what takes time.
func reaching(old *run.Run, environment string, wanted func(*plan.Task) bool) plan.Plan {
	p := Again(old)
	p.Line, p.Findings, p.Back, p.Drift = "", nil, "", nil
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
	for id, t := range tasks {
		if wanted(t) {
			need(id)
		}
	}
	p.Tasks = slices.DeleteFunc(p.Tasks, func(t plan.Task) bool { return !needed[t.ID] })
	for i := range p.Tasks {
		if t := &p.Tasks[i]; t.Reuse != nil {
			t.Reason = "was made in run " + old.ID
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
