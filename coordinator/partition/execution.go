package partition

import (
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

// execution is work that tasks of several runs of a project need at the same time: their digests
// are equal, so one of them is carried out, and its result is everybody's (DESIGN D5). It is
// memory of the owner; the next one finds the same in the state.
type execution struct {
	key     string
	by      *waiting   // the task that is carried out
	waiting []*waiting // some may wait no more: owner.joined says which do
}

// led reports that the task is the one that is carried out. Both may be copies.
func (x *execution) led(r *run.Run, t *run.Task) bool {
	return x != nil && x.by.r.ID == r.ID && x.by.t.Index == t.Index
}

// work is what a task does, in words that are equal where one result may stand for another;
// empty: none may. Manifests carry an image: they stand for others with the same one alone.
func work(r *run.Run, t *run.Task) string {
	if t.Spec.Digest == "" || r.Plan.Rebuild || t.Spec.Can == plan.CapabilityCoordinator {
		return ""
	}
	key := r.Project + "/" + t.Spec.Digest
	if t.Spec.Build != nil && t.Spec.Build.Fresh || t.Spec.Command() != nil && t.Spec.Command().Build.Fresh { // what went on when it was forgotten is another's
		key += " afresh"
	}
	if t.Spec.Test != nil && len(t.Spec.Test.Required) > 0 { // who needs it not may pass without
		key += " leaving " + strings.Join(t.Spec.Test.Required, " ")
	}
	if t.Spec.Render != nil {
		if len(t.Spec.Render.Images) > 0 { // a result names but one
			return ""
		}
		key += "@" + rendered(r, t)
	}
	return key
}

// lacks says that a result has not all that other tasks of the run are given of it.
func lacks(t *plan.Task, res plan.Result) bool {
	return t.Test != nil && slices.ContainsFunc(t.Test.Required, func(name string) bool {
		_, ok := res.Artifact(name)
		return !ok
	})
}

// rendered is the image that the manifests of a render carry; empty: none is built for them.
func rendered(r *run.Run, t *run.Task) string {
	if build, ok := r.Find(t.Spec.Render.Image); ok {
		return build.Result.Image
	}
	return ""
}

// joins has a ready task wait for another run that carries out the same work, or end with what one has
// done since the task was planned. Not so: the task is carried out itself, and others may
// wait for it.
func (o *owner) joins(r *run.Run, t *run.Task) bool {
	key := work(r, t)
	if key == "" || o.alone[o.token(r, t)] {
		return false
	}
	x := o.executions[key]
	switch {
	case x.led(r, t):
		return false
	case o.done(r, t):
		return true
	case x == nil:
		o.executions[key] = &execution{key: key, by: &waiting{r, t}}
		return false
	}
	w := &waiting{r, t}
	if x.by.t.Current() == nil && x.by.t.Spec.Group == "" && rank(w) < rank(x.by) { // it would wait for what is less urgent
		o.forget(x.by.r, x.by.t)
		x.by, w = w, x.by
	}
	if at := o.token(w.r, w.t); o.joined[at] != x {
		o.joined[at] = x
		x.waiting = append(x.waiting, w)
	}
	delete(o.joined, o.token(x.by.r, x.by.t))
	return !x.led(r, t)
}

// done ends a task with the result that another run has had for the same work since this one was planned.
func (o *owner) done(r *run.Run, t *run.Task) bool {
	known, ok := o.st.Project(r.Project).Known(t.Spec.Digest)
	if !ok || !known.At.After(r.AcceptedAt) || known.Run == r.ID || t.Spec.Render != nil && known.Result.Image != rendered(r, t) || lacks(t.Spec, known.Result) {
		return false
	}
	o.reuse(&waiting{r, t}, known.Run, known.Result)
	return true
}

func (o *owner) reuse(w *waiting, from string, res plan.Result) {
	res.Coverage = o.compared(w.r, w.t, res.Coverage)
	o.emit(w.r.Complete(w.t, run.TaskReused, "run "+from+" did the same work meanwhile", run.ClassNone, res)...)
}

// elsewhere is the error of a lease of a task that waits for another run.
func (o *owner) elsewhere(token string, t *run.Task) error {
	x := o.joined[token]
	if x == nil {
		return nil
	}
	return fmt.Errorf("task %s waits for run %s, which does the same: %w", t.Spec.ID, x.by.r.ID, ErrAborted)
}

// leads notes that an attempt of an earlier owner goes on, which others may wait for.
func (o *owner) leads(r *run.Run, t *run.Task) {
	if key := work(r, t); key != "" && o.executions[key] == nil {
		o.executions[key] = &execution{key: key, by: &waiting{r, t}}
	}
}

// parted notes that a task has ended.
func (o *owner) parted(r *run.Run, t *run.Task) {
	key := work(r, t)
	if key == "" {
		return
	}
	token := o.token(r, t)
	delete(o.joined, token)
	delete(o.alone, token)
	if x := o.executions[key]; x.led(r, t) {
		delete(o.executions, x.key)
		if len(x.waiting) > 0 {
			o.over = append(o.over, x)
		}
	}
}

// conclude says what the end of a task means for those that waited for it: its result is theirs.
// Where it has none, another one carries the work out; where the work said no, each does,
// for who knows what another time brings.
func (o *owner) conclude(x *execution) {
	slices.SortStableFunc(x.waiting, before)
	for _, w := range x.waiting {
		token := o.token(w.r, w.t)
		if o.joined[token] != x {
			continue
		}
		delete(o.joined, token)
		if w.t.State != run.TaskReady {
			continue
		}
		o.touch(w.r.ID, w.t.Spec.ID)
		switch x.by.t.State {
		case run.TaskSucceeded, run.TaskReused:
			if tests := x.by.t.Result.Tests; tests == nil || tests.Failed == 0 {
				o.reuse(w, x.by.r.ID, x.by.t.Result)
				continue
			}
			o.alone[token] = true // it passed because of its own run's quarantine
		case run.TaskFailed:
			o.alone[token] = true
		default:
		}
		o.release(w.r, w.t)
	}
}

// kept are the tasks of a run that go on when it is canceled, for other runs wait for them.
func (o *owner) kept(r *run.Run) []string {
	var out []string
	for _, t := range r.Tasks {
		if t.Current() != nil && len(o.waitFor(r, t)) > 0 {
			out = append(out, t.Spec.ID)
		}
	}
	return out
}

// waitFor are the runs that wait for what a task of another one makes.
func (o *owner) waitFor(r *run.Run, t *run.Task) []string {
	x := o.executions[work(r, t)]
	if !x.led(r, t) {
		return nil
	}
	var out []string
	for _, w := range x.waiting {
		if o.joined[o.token(w.r, w.t)] == x && w.r.ID != r.ID && w.r.State == run.Running {
			out = append(out, w.r.ID)
		}
	}
	return slices.Compact(out)
}

// halt asks a run to stop, but for what others wait for.
func (o *owner) halt(r *run.Run, events []run.Event) {
	for i, e := range events {
		if stop, ok := e.(run.StopRequested); ok {
			stop.Keep = o.kept(r)
			events[i] = stop
			if len(stop.Keep) > 0 {
				o.keeping[r.ID] = true
			}
		}
	}
	o.emit(events...)
}

// unkeep stops what was kept for others in runs that were canceled, once nobody waits for it.
func (o *owner) unkeep() {
	if len(o.keeping) == 0 {
		return
	}
	for _, r := range o.oldestFirst(o.keeping) {
		kept := o.kept(r)
		if r.State == run.Stopping && slices.ContainsFunc(r.Tasks, func(t *run.Task) bool {
			return t.Current() != nil && !t.Revoked && t.Spec.Kind != plan.KindRollback && !slices.Contains(kept, t.Spec.ID)
		}) {
			o.touch(r.ID, "")
			o.emit(run.StopRequested{Run: r.ID, Message: r.Message, Keep: kept})
		}
		if r.State != run.Stopping || len(kept) == 0 {
			delete(o.keeping, r.ID)
		}
	}
}
