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
func (p *Project) Forgotten(digest string) (Forgotten, bool) {
	f, ok := p.forgotten[digest]
	if k, known := p.results[digest]; known && k.At.After(f.At) {
		return Forgotten{}, false
	}
	return f, ok
}

// Outdated says that a result from a time stands in for nothing.
func (p *Project) Outdated(digest string, from time.Time) bool {
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
	if t, ok := r.Find(e.Task); ok && p.Outdated(e.Digest, begun(r, t)) {
		return
	}
	p.results[e.Digest] = Known{Run: r.ID, Result: withoutItems(e.Result), At: at}
}

// begun is when the work of a task began whose result is there, or of the oldest that it was gathered from.
func begun(r *run.Run, t *run.Task) time.Time {
	if n := len(t.Attempts); n > 0 {
		return t.Attempts[n-1].LeasedAt
	}
	first := r.AcceptedAt
	if t.Spec.Kind != plan.KindGather {
		return first
	}
	for i, id := range t.Spec.Needs {
		shard, ok := r.Find(id)
		if !ok || shard.Spec.Reuse != nil {
			return r.AcceptedAt
		}
		if b := begun(r, shard); i == 0 || b.Before(first) {
			first = b
		}
	}
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
			if t.Spec.Kind == plan.KindTest || t.Spec.Kind == plan.KindGather {
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
