package submit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/source"
)

// ErrNotTriggered: the pipeline of the commit makes no run of the event.
var ErrNotTriggered = errors.New("no run")

// Event is what happened in a repository that begins a run, when no person asked for it.
type Event struct {
	Kind   string // push, pull_request: as triggers call them
	Branch string // where Commit is, or was a moment ago
	Ref    string // full name of the ref that has Commit, where that is not Branch's: of a fork
	Commit string // its id, or for want of a whole one the first digits
	Before string // what Branch was at before a push; empty: it was not there, or the host does not say
	Onto   string // the branch that triggers look at: the pushed one, or where a pull request is to be merged
}

// allowed answers the trigger with the last stage that the pipeline lets an event run to. A pipeline that
// writes no triggers is run by every event, and released from main or master alone; one
// that writes some is run by those.
//
// Whatever a pull request's own slipway.yaml says, it is not released: the file is part
// of what nobody has approved yet.
func (e *Event) allowed(p *pipeline.Pipeline) (t pipeline.Trigger, err error) {
	if e == nil {
		return t, nil
	}
	if t.Until = pipeline.StageRelease; len(p.Triggers) == 0 && !slices.Contains([]string{"main", "master"}, e.Onto) {
		t.Until = pipeline.StageTest
	}
	if len(p.Triggers) > 0 {
		i := slices.IndexFunc(p.Triggers, func(t pipeline.Trigger) bool { return t.Event == e.Kind })
		if i < 0 {
			return t, fmt.Errorf("%w: triggers of %s do not have %s", ErrNotTriggered, pipeline.File, e.Kind)
		}
		if t = p.Triggers[i]; !t.RunsOn(e.Onto) {
			return t, fmt.Errorf("%w: triggers.%s of %s is not for branch %q", ErrNotTriggered, e.Kind, pipeline.File, e.Onto)
		}
	}
	if e.Kind != "push" && t.Until == pipeline.StageRelease {
		t.Until = pipeline.StageTest
	}
	return t, nil
}

// onto is the branch that the commit is to be merged into; empty: it is on its own.
func (r Request) onto() string {
	if r.Event == nil || r.Event.Kind != "pull_request" {
		return ""
	}
	return r.Event.Onto
}

// class of a request's run, as a plan calls it.
func (r Request) class(t *pipeline.Targets) string {
	event, branch := pipeline.EventManual, strings.TrimPrefix(r.Ref, "refs/heads/")
	if r.Event != nil {
		event, branch = r.Event.Kind, r.Event.Onto
	}
	switch t.Class(event, branch, r.Untrusted) {
	case pipeline.ClassUrgent:
		return plan.ClassUrgent
	case pipeline.ClassLow:
		return plan.ClassLow
	default:
		return plan.ClassNormal
	}
}

// resolve answers the event's own commit, wherever its branch is by now.
func (s *Submitter) resolve(ctx context.Context, req Request) (string, error) {
	e, m := req.Event, s.cfg.Mirror
	if e == nil {
		return m.Resolve(ctx, req.Repository, req.Ref)
	}
	whole := len(e.Commit) >= 40
	if whole {
		// Not every host gives out a commit by its id; each gives out its branches.
		commit, err := m.Resolve(ctx, req.Repository, e.Commit)
		if !errors.Is(err, source.ErrRefNotFound) {
			return commit, err
		}
	}
	ref, what := "refs/heads/"+e.Branch, fmt.Sprintf("branch %q", e.Branch)
	if e.Ref != "" {
		ref, what = e.Ref, e.Ref
	}
	head, err := m.Resolve(ctx, req.Repository, ref)
	switch {
	case errors.Is(err, source.ErrRefNotFound):
		return "", fmt.Errorf("%w: %s is not there any more", ErrNotTriggered, what)
	case err != nil:
		return "", err
	case strings.HasPrefix(head, e.Commit):
		return head, nil
	case whole:
		commit, err := m.Resolve(ctx, req.Repository, e.Commit)
		if !errors.Is(err, source.ErrRefNotFound) {
			return commit, err
		}
	}
	return "", fmt.Errorf("%w: %s has moved on to %s, which has an event of its own", ErrNotTriggered, what, head)
}

// ErrStranger: a commit that nobody here approved wants to decide what is not its to decide.
var ErrStranger = errors.New("not for a commit of a fork")

// extent answers how far a request may go, by the pipeline whose triggers count.
func (s *Submitter) extent(ctx context.Context, req Request, commit string, says *pipeline.Pipeline) (pipeline.Trigger, error) {
	t, err := req.Event.allowed(says)
	if err != nil {
		return t, err
	}
	if t.Filtered() && !s.concerned(ctx, req, commit, t) {
		return t, fmt.Errorf("%w: nothing has changed that triggers.%s of %s is for", ErrNotTriggered, t.Event, pipeline.File)
	}
	if req.Diff {
		t.Until, t.Diff = pipeline.StageBuild, true
	}
	t.Diff = t.Diff && !req.Untrusted // what is live is not for strangers
	return t, nil
}

// concerned tells whether an event changes a path that a trigger is for: a push since
// what the branch was before, a pull request since it left the branch that it is to be
// merged into. When that cannot be told, it is as if it did.
func (s *Submitter) concerned(ctx context.Context, req Request, commit string, t pipeline.Trigger) bool {
	m, from := s.cfg.Mirror, req.Event.Before
	if req.Event.Kind != "push" {
		onto, err := m.Resolve(ctx, req.Repository, "refs/heads/"+req.Event.Onto)
		if err != nil {
			return true
		}
		if from, err = m.MergeBase(ctx, req.Repository, onto, commit); err != nil {
			return true
		}
	}
	if len(from) < 40 {
		return true
	}
	if _, err := m.Resolve(ctx, req.Repository, from); err != nil {
		return true
	}
	changed, err := m.Changed(ctx, req.Repository, from, commit)
	return err != nil || slices.ContainsFunc(changed, t.Concerns)
}

// decides answers the pipeline whose triggers count. Of a fork's commit it is that of the
// branch that it is to be merged into: it says what triggers there are, which project it
// is, and whose the services are.
func (s *Submitter) decides(ctx context.Context, req Request, pipe *pipeline.Pipeline) (*pipeline.Pipeline, error) {
	if req.Event == nil || !req.Untrusted {
		return pipe, nil
	}
	onto, err := s.cfg.Mirror.Resolve(ctx, req.Repository, "refs/heads/"+req.Event.Onto)
	if err != nil {
		return nil, err
	}
	base, err := s.pipeline(ctx, req.Repository, onto)
	if err != nil {
		return nil, fmt.Errorf("%w: branch %q, which a fork's commit is to be merged into, cannot be run: %w", ErrNotTriggered, req.Event.Onto, err)
	}
	if base.Project != pipe.Project {
		return nil, fmt.Errorf("%w: %s calls the project %q, and on branch %q it is %q", ErrStranger, pipeline.File, pipe.Project, req.Event.Onto, base.Project)
	}
	return base, nil
}

// line answers the line of commits that an event belongs to, and which older runs of it
// the new one ends. What a person asked for belongs to none.
func (r Request) line(t pipeline.Trigger) (line, supersede string) {
	e := r.Event
	if e == nil {
		return "", ""
	}
	switch t.Supersede {
	case pipeline.SupersedeRunning:
		supersede = plan.SupersedeRunning
	case pipeline.SupersedeNever:
	default:
		supersede = plan.SupersedeQueued
	}
	if e.Kind == "push" {
		return fmt.Sprintf("branch %s of %s", e.Branch, r.Repository), supersede
	}
	return fmt.Sprintf("%s of %s", r.Ref, r.Repository), supersede // pull/7
}
