package partition

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/coordinator/calendar"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
)

// ErrNothing is the answer to who asks that what does not go on be ended, or what is not held be freed.
var ErrNothing = errors.New("nothing to do")

// Environments are copies of what is known of a project's.
func (tx *Tx) Environments(name string) []project.Environment {
	return tx.o.st.Look(name).Environments()
}

// Hold keeps runs from beginning a rollout to an environment. With pause, the run that rolls out there begins nothing
// more; what goes on is brought to its end, and what failed is taken back nevertheless.
func (tx *Tx) Hold(name, environment, by, reason string, pause bool) error {
	if !tx.known(name, environment) {
		return fmt.Errorf("environment %q of project %q: %w: no run that is known rolls out to it", environment, name, ErrNotFound)
	}
	o := tx.o
	o.emit(run.EnvironmentHeld{Project: name, Environment: environment, By: by, Reason: reason, Pause: pause})
	for _, r := range o.st.Runs(name, 1<<20) {
		if r.State.Ended() {
			continue
		}
		for _, t := range r.Tasks {
			if t.State == run.TaskReady && t.Spec.Can != plan.CapabilityCoordinator && o.paused(r, t) {
				o.forget(r, t)
				o.delayed[o.token(r, t)] = &waiting{r, t}
			}
		}
	}
	return nil
}

// Free takes that back, and lets in who waited: the newest run.
func (tx *Tx) Free(name, environment, by, reason string) error {
	o := tx.o
	if o.st.Look(name).HoldOf(environment) == nil {
		return fmt.Errorf("environment %q of project %q is not held: %w", environment, name, ErrNothing)
	}
	o.emit(run.EnvironmentFreed{Project: name, Environment: environment, By: by, Reason: reason})
	o.letIn(name, environment)
	o.undelay()
	return nil
}

// Abort ends the rollout that goes on in an environment: what is not promoted is taken back everywhere.
func (tx *Tx) Abort(name, environment, message string) (*run.Run, error) {
	o := tx.o
	for _, e := range tx.Environments(name) {
		if e.Name != environment || e.Holder == "" {
			continue
		}
		r, ok := o.st.Run(e.Holder)
		if !ok {
			continue
		}
		o.touch(r.ID, "")
		ends := false
		for _, t := range r.Tasks {
			if t.Spec.Kind == plan.KindPromote && t.Spec.Target.Environment == environment && !t.State.Ended() {
				ends = true
				o.emit(r.Complete(t, run.TaskCanceled, message, run.ClassNone, plan.Result{})...)
			}
		}
		if !ends {
			return nil, fmt.Errorf("the rollout of run %s to %q ends already: %w", r.ID, environment, ErrNothing)
		}
		return r.Snapshot(), nil
	}
	return nil, fmt.Errorf("no run of project %q rolls out to %q: %w", name, environment, ErrNothing)
}

// Serving is the newest run whose release is good in an environment. ErrNothing: there is none.
func (tx *Tx) Serving(name, environment string) (*run.Run, error) {
	if !tx.known(name, environment) {
		return nil, fmt.Errorf("environment %q of project %q: %w: no run that is known rolls out to it", environment, name, ErrNotFound)
	}
	var found *run.Run
	for _, r := range tx.o.st.Runs(name, 1<<20) {
		if good(r, environment) && (found == nil || r.Number > found.Number) {
			found = r
		}
	}
	if found == nil {
		return nil, fmt.Errorf("no release is known that was good in all of %q: %w", environment, ErrNothing)
	}
	return found.Snapshot(), nil
}

func good(r *run.Run, environment string) bool {
	t, ok := r.Find(plan.VerifiedID(environment))
	return ok && t.State.Good()
}

// Good is a run whose release was good in an environment, to go back to: the one that is named, or the newest before the one
// that serves there with another release. ErrNothing: there is none, or a rollout goes on.
func (tx *Tx) Good(name, environment, id string) (*run.Run, error) {
	if !tx.known(name, environment) {
		return nil, fmt.Errorf("environment %q of project %q: %w: no run that is known rolls out to it", environment, name, ErrNotFound)
	}
	for _, e := range tx.Environments(name) {
		if e.Name == environment && e.Holder != "" {
			return nil, fmt.Errorf("run %s rolls out to %q: abort that, and it goes back by itself: %w", e.Holder, environment, ErrNothing)
		}
	}
	runs := tx.o.st.Runs(name, 1<<20)
	if id != "" {
		i := slices.IndexFunc(runs, func(r *run.Run) bool { return r.ID == id })
		switch {
		case i < 0:
			return nil, fmt.Errorf("run %q of project %q: %w", id, name, ErrNotFound)
		case !good(runs[i], environment):
			return nil, fmt.Errorf("the release of run %s never was good in all of %q: %w", id, environment, ErrNothing)
		}
		return runs[i].Snapshot(), nil
	}
	slices.SortFunc(runs, func(a, b *run.Run) int { return cmp.Compare(b.Number, a.Number) })
	var serves *run.Run // or what it went back to
	for _, r := range runs {
		switch {
		case !good(r, environment):
		case serves == nil:
			serves = r
		case serves.Plan.Back != "" && r.ID != serves.Plan.Back: // what it went back from, and to where
		case serves.Plan.Back != "":
			serves = r
		case r.Release != serves.Release:
			return r.Snapshot(), nil
		}
	}
	return nil, fmt.Errorf("no other release is known that was good in all of %q: name a run: %w", environment, ErrNothing)
}

// known: a run that is in the state has the environment in its plan, or one has rolled out to it.
func (tx *Tx) known(name, environment string) bool {
	if slices.ContainsFunc(tx.Environments(name), func(e project.Environment) bool { return e.Name == environment }) {
		return true
	}
	return slices.ContainsFunc(tx.o.st.Runs(name, 1<<20), func(r *run.Run) bool {
		_, ok := r.Find(plan.RolloutID(environment))
		return ok
	})
}

// paused says that a task is not to begin, for somebody paused its environment. What takes back is never paused, nor is
// what only notes that something was done.
func (o *owner) paused(r *run.Run, t *run.Task) bool {
	if r.Plan.Back != "" {
		return false
	}
	switch t.Spec.Kind {
	case plan.KindApply, plan.KindShift, plan.KindStep, plan.KindWave, plan.KindCatchUp:
		h := o.st.Look(r.Project).HoldOf(t.Spec.Target.Environment)
		return h != nil && h.Pause
	default:
		return false
	}
}

// keepOut holds an environment in which a rollout failed, if the platform wants that: a repeat would fail again.
func (o *owner) keepOut(l run.RolloutLeft) {
	r, ok := o.st.Run(l.Run)
	if !ok {
		return
	}
	begin, ok := r.Find(plan.RolloutID(l.Environment))
	if !ok || !begin.Spec.Hold || o.st.Look(r.Project).HoldOf(l.Environment) != nil {
		return
	}
	for _, t := range r.Tasks {
		if t.Spec.Target == nil || t.Spec.Target.Environment != l.Environment || t.State != run.TaskFailed && t.State != run.TaskErrored {
			continue
		}
		first, _, _ := strings.Cut(t.Message, "\n")
		o.emit(run.EnvironmentHeld{Project: r.Project, Environment: l.Environment, Run: r.ID, Reason: t.Spec.ID + " " + string(t.State) + ": " + first})
		return
	}
}

// pass goes by a barrier, once its time is over.
func (o *owner) pass(r *run.Run, t *run.Task) {
	if !o.tooSoon(r, t) {
		o.emit(r.Complete(t, run.TaskSucceeded, "", run.ClassNone, plan.Result{})...)
	}
}

// tooSoon says that a barrier's time is not over, or that somebody paused what is there; it is asked again then.
func (o *owner) tooSoon(r *run.Run, t *run.Task) bool {
	if !o.early(r, t) {
		return false
	}
	o.delayed[o.token(r, t)] = &waiting{r, t}
	return true
}

func (o *owner) early(r *run.Run, t *run.Task) bool {
	if r.Passes(t).After(o.at) || o.paused(r, t) {
		return true
	}
	if len(t.Spec.Windows) == 0 {
		return false
	}
	_, closed := calendar.Next(t.Spec.Windows, o.at)
	return len(closed) > 0
}

// asks waits for the approvals of people, until it has been long enough.
func (o *owner) asks(r *run.Run, t *run.Task) {
	if e, by := o.st.Look(r.Project).MayEnter(r, t.Spec.Target.Environment); e == project.EnterSuperseded {
		o.emit(r.Complete(t, run.TaskCanceled, superseded(by, t.Spec.Target.Environment), run.ClassNone, plan.Result{})...)
		return
	}
	if events := r.Expired(t, o.at); len(events) > 0 {
		o.emit(events...)
		return
	}
	o.delayed[o.token(r, t)] = &waiting{r, t}
}

// Answer counts an approval, or a no. *run.RefusalError: it does not count.
func (tx *Tx) Answer(name, environment string, a run.Answer, reject bool) (*run.Run, error) {
	c, err := tx.Run(name)
	if err != nil {
		return nil, err
	}
	r, _ := tx.o.st.Run(c.ID)
	t, ok := r.Find(plan.ApproveID(environment))
	if !ok {
		return nil, fmt.Errorf("run %s asks for no approval for %q: %w", r.ID, environment, ErrNotFound)
	}
	decide := r.Approve
	if reject {
		decide = r.Reject
	}
	events, err := decide(t, a)
	if err != nil {
		return nil, err //nolint:wrapcheck // says it all
	}
	tx.o.touch(r.ID, t.Spec.ID)
	tx.o.emit(events...)
	return r.Snapshot(), nil
}

// stands says of a step of a canary that the candidate is what is stable on its target: there is nothing to try.
func (o *owner) stands(r *run.Run, t *run.Task) bool {
	if t.Spec.Kind != plan.KindShift && t.Spec.Kind != plan.KindAnalyze || r.State == run.Stopping {
		return false
	}
	stable, ok := o.st.Look(r.Project).Stable(t.Spec.Target.Environment, t.Spec.Target.Cluster, t.Spec.Service)
	return ok && stable.Manifests != "" && stable.Manifests == o.work(r, t).Manifests
}

// oneWay says why a service is not taken back on a target: a migration was begun there that cannot be undone. Empty: none was.
func (o *owner) oneWay(r *run.Run, t *run.Task) string {
	at := t.Spec.Target
	c, ok := o.st.Look(r.Project).Crossed(at.Environment, at.Cluster, t.Spec.Service)
	if !ok {
		return ""
	}
	return fmt.Sprintf("not taken back: the migration of %s cannot be undone (migrate.reversible: false) and was begun there by run %s, so what served before may not work any more; "+
		"mend it with a new release, or go back all the same with slipway rollout rollback %s", t.Spec.Service, c.Run, at.Environment)
}

func superseded(by, environment string) string {
	return fmt.Sprintf("superseded: the newer run %s has rolled out to %s already", by, environment)
}

// unblock asks again for the rollouts that waited for a lock, the newest run first: what it replaces need not
// be there before.
func (o *owner) unblock(l run.RolloutLeft) {
	if r, ok := o.st.Run(l.Run); ok {
		o.letIn(r.Project, l.Environment)
	}
}

func (o *owner) letIn(name, environment string) {
	runs := o.st.Runs(name, len(o.leases)+1<<20)
	slices.SortFunc(runs, func(a, b *run.Run) int { return cmp.Compare(b.Number, a.Number) })
	for _, w := range runs {
		if w.State.Ended() {
			continue
		}
		if t, ok := w.Find(plan.RolloutID(environment)); ok && t.State == run.TaskReady {
			o.touch(w.ID, t.Spec.ID)
			o.enter(w, t)
		}
	}
}

// caughtUp makes stable what was brought to a cluster that was away. Its run may end with it, so that it is said at once.
func (o *owner) caughtUp(r *run.Run, t *run.Task) {
	env := t.Spec.Target.Environment
	if e, _ := o.st.Look(r.Project).MayEnter(r, env); t.State == run.TaskSucceeded && e != project.EnterSuperseded {
		o.promoted(r, t)
	}
}

// overtake has a run that is to begin a rollout take the place of what catches up there for older ones. What goes on is told to stop, and
// waited for: one task at a time changes a target.
func (o *owner) overtake(by *run.Run, environment string) (wait bool) {
	for _, r := range o.st.Runs(by.Project, 1<<20) {
		if r.ID == by.ID || r.State.Ended() {
			continue
		}
		events, goesOn := r.Overtake(environment, by.ID)
		o.emit(events...)
		o.dirty[r.ID] = o.dirty[r.ID] || goesOn
		wait = wait || goesOn
	}
	return wait
}
