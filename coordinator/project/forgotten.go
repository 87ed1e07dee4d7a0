package project

import (
	"slices"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

// Forgotten is why what was made of some inputs stands in for nothing.
type Forgotten struct {
	At     time.Time
	By     string
	Reason string
}

// Forgotten answers why nothing is known of a digest; not ok: nobody asked for that, or something
// was made of it since.
// With a time: why what was made before that is not to be used, whatever was made since.
func (p *Project) Forgotten(digest string, since time.Time) (Forgotten, bool) {
	f, ok := p.forgotten[digest]
	if !since.IsZero() {
		return f, ok && !f.At.Before(since)
	}
	if k, known := p.results[digest]; known && k.At.After(f.At) {
		return Forgotten{}, false
	}
	return f, ok
}

// outdated says that a result from a time stands in for nothing.
func (p *Project) outdated(digest string, from time.Time) bool {
	f, ok := p.forgotten[digest]
	return ok && !from.After(f.At)
}

func (s *State) forgetResults(e run.ResultsForgotten, at time.Time) {
	p := s.Project(e.Project)
	for _, d := range e.Digests {
		delete(p.results, d)
		p.forgotten[d] = Forgotten{At: at, By: e.By, Reason: e.Reason}
	}
}

// remember notes the result of a task, unless it was begun before what it is made of was forgotten.
func (p *Project) remember(r *run.Run, e run.TaskFinished, at time.Time) {
	if e.Digest == "" || e.State != run.TaskSucceeded {
		return
	}
	if _, ok := p.forgotten[e.Digest]; !ok {
		p.results[e.Digest] = Known{Run: r.ID, Result: withoutItems(e.Result), At: at}
		return
	}
	if t, ok := r.Find(e.Task); ok && p.outdated(e.Digest, begun(r, t, map[string]time.Time{})) {
		return
	}
	p.results[e.Digest] = Known{Run: r.ID, Result: withoutItems(e.Result), At: at}
}

// begun is when the work of a task began whose result is there, or that of the oldest that it was made of.
func begun(r *run.Run, t *run.Task, seen map[string]time.Time) time.Time {
	if at, ok := seen[t.Spec.ID]; ok {
		return at
	}
	var first time.Time
	if n := len(t.Attempts); n > 0 {
		first = t.Attempts[n-1].LeasedAt
	}
	for _, id := range t.Spec.Needs {
		need, ok := r.Find(id)
		if !ok || need.Spec.Digest == "" || t.Spec.Reuse != nil {
			continue
		}
		if at := begun(r, need, seen); first.IsZero() || at.Before(first) {
			first = at
		}
	}
	if first.IsZero() { // it was reused
		first = r.AcceptedAt
	}
	seen[t.Spec.ID] = first
	return first
}

// Dependents are the tasks of a run that made something of what a task made, that one too, and the digests
// that they made it of, sorted. A test is its shards, and those of a service belong to its build, whichever stage of
// its Dockerfile they run in.
func Dependents(r *run.Run, task string) (tasks, digests []string) {
	made := map[string]bool{task: true}
	if t, ok := r.Find(task); ok && t.Spec.Kind == plan.KindGather {
		for _, need := range t.Spec.Needs {
			if shard, ok := r.Find(need); ok && shard.Spec.Kind == plan.KindTest {
				made[need] = true
			}
		}
	}
	for more := true; more; { // a test in a stage of its own comes before the build that it belongs to
		more = false
		for _, t := range r.Tasks {
			of := slices.ContainsFunc(t.Spec.Needs, func(need string) bool { return made[need] })
			if t.Spec.Kind == plan.KindTest || t.Spec.Kind == plan.KindGather || t.Spec.Kind == plan.KindScan && t.Spec.Command() != nil {
				of = of || made[plan.BuildID(t.Spec.Service)]
			}
			if of && t.Spec.Digest != "" && !made[t.Spec.ID] { // the release and what comes behind it are always carried out
				made[t.Spec.ID], more = true, true
			}
		}
	}
	for _, t := range r.Tasks {
		if made[t.Spec.ID] {
			tasks, digests = append(tasks, t.Spec.ID), append(digests, t.Spec.Digest)
		}
	}
	slices.Sort(digests)
	return tasks, slices.Compact(digests)
}
