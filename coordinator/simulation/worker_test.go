package simulation_test

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

const slots = 3 // of each capability

// worker holds leases until a time of its own: that of its last acknowledged heartbeat + TTL.
type worker struct {
	w        *world
	name     string
	instance int
	can      []string
	jobs     []*job
	stopped  bool // SIGSTOP
	told     sync.Mutex
	revoked  []partition.Ref
}

// job is a lease, as its holder sees it.
type job struct {
	by     partition.Worker
	ref    partition.Ref
	run    string
	task   *plan.Task
	object string // that the work changes
	until  time.Time
	over   bool        // the work has ended
	left   bool        // nobody asks for it any more
	report *run.Report // what is said of it, until that is acknowledged
}

func newWorker(w *world, name string) *worker {
	k := &worker{w: w, name: name, can: []string{plan.CapabilityBuild, plan.CapabilityRender, plan.CapabilityDeployPrefix + "a", plan.CapabilityDeployPrefix + "b"}}
	w.later(w.between(0, time.Second), k.fetch)
	w.later(w.between(0, time.Second), k.beat)
	return k
}

func (k *worker) id() partition.Worker {
	return partition.Worker{Name: k.name, Instance: k.name + " " + string(rune('a'+k.instance))}
}

// fetch takes a hint and asks for its lease.
func (k *worker) fetch() {
	w := k.w
	defer func() { w.later(w.between(10*time.Millisecond, 300*time.Millisecond), k.fetch) }()
	if k.stopped {
		return
	}
	k.obey()
	if len(k.jobs) >= 2*slots {
		return
	}
	capability := k.can[w.rng.IntN(len(k.can))]
	tokens := slices.Sorted(maps.Keys(w.queue[capability]))
	if len(tokens) == 0 {
		return
	}
	token := tokens[w.rng.IntN(len(tokens))]
	delete(w.queue[capability], token)
	if w.faults && w.chance(6) {
		return // the hint is lost
	}
	asked, by := time.Now(), k.id()
	j := &job{}
	granted := false
	grant := func() {
		w.send(func() {
			if !granted && k.id() == by { // a grant that comes twice, or to a process that has gone
				granted = true
				k.work(j, asked)
			}
		})
	}
	w.ask(func(tx *partition.Tx) error {
		work, early, err := tx.Lease(token, by, sink{w, k})
		if err != nil {
			return err
		}
		if !w.newest.Less(work.Ref.Fence) {
			w.bad("I5: %s of %s is given with fence %v after %v", work.Task.ID, work.Run, work.Ref.Fence, w.newest)
		}
		w.newest = work.Ref.Fence
		j = &job{by: by, ref: work.Ref, run: work.Run, task: work.Task, until: asked.Add(ttl)} // another, if the request comes twice and late
		if work.Task.Kind.Changes() && work.Release == "the one before" {
			w.bad("I6: %s of %s is to change a target to a release that is not its run's", work.Task.ID, work.Run)
		}
		if work.Task.Target != nil {
			j.object = work.Project + " " + work.Task.Service + "@" + work.Task.Target.Environment + "/" + work.Task.Target.Cluster
		}
		if early {
			w.gave(j, true)
			grant()
			j = &job{by: j.by, ref: j.ref, run: j.run, task: j.task, object: j.object, until: j.until, left: true} // answered already
		}
		return nil
	}, func(err error) {
		if err == nil && j.task != nil && !j.left {
			w.gave(j, false)
			grant()
		}
	})
}

// gave: I4 and I5, when a lease is answered.
func (w *world) gave(j *job, early bool) {
	w.grants++
	w.say("%s has %s of %s with %v, early: %t", j.by.Name, j.task.ID, j.run, j.ref.Fence, early)
	for _, need := range j.task.Needs {
		s := w.tasks[j.run+" "+need]
		if early && !s.Good() {
			w.bad("I4: %s of %s is given while %s is %q", j.task.ID, j.run, need, s)
		}
	}
	for _, other := range w.given[j.ref.Token] {
		if other.alive() {
			w.bad("I5: %s of %s is given to %s while %s holds it for %s", j.task.ID, j.run, j.by.Name, other.by.Name, time.Until(other.until))
		}
	}
	w.given[j.ref.Token] = append(w.given[j.ref.Token], j)
}

// prolonged: I5, when a lease is confirmed.
func (w *world) prolonged(j *job) {
	for _, other := range w.given[j.ref.Token] {
		if other.ref.Fence != j.ref.Fence && j.alive() && other.alive() {
			w.bad("I5: %s of %s is confirmed to %s (%v) while %s holds it with %v", j.task.ID, j.run, j.by.Name, j.ref.Fence, other.by.Name, other.ref.Fence)
		}
	}
}

// alive: its holder may do the work now.
func (j *job) alive() bool { return !j.over && !j.left && j.until.After(time.Now()) }

// work begins a lease that was granted.
func (k *worker) work(j *job, asked time.Time) {
	for _, other := range k.w.given[j.ref.Token] {
		if other.ref == j.ref && other.task == j.task {
			j = other
		}
	}
	j.until = asked.Add(ttl)
	if !j.alive() {
		return
	}
	k.jobs = append(k.jobs, j)
	k.w.later(k.w.between(20*time.Millisecond, 500*time.Millisecond), func() {
		k.w.ask(func(tx *partition.Tx) error { tx.Begin(j.ref); return nil }, func(error) {})
	})
	d := k.w.between(30*time.Millisecond, 3*time.Second)
	if k.w.faults && k.w.chance(10) {
		d = k.w.between(ttl, 3*ttl)
	}
	k.w.later(d, func() { k.finish(j) })
}

// finish ends the work, writes what it changes, and says so until it is heard.
func (k *worker) finish(j *job) {
	w := k.w
	switch {
	case !slices.Contains(k.jobs, j) || j.over:
		return
	case k.stopped: // it goes on where it was, later
		w.later(w.between(10*time.Millisecond, 500*time.Millisecond), func() { k.finish(j) })
		return
	case !j.until.After(time.Now()) && !w.chance(30): // it sees that its time is over; else it did not look since it was stopped
		k.drop(j)
		return
	}
	outcome := run.OutcomeSucceeded
	if w.faults {
		outcome = []run.Outcome{run.OutcomeFailed, run.OutcomeErrored, run.OutcomeCanceled, run.OutcomeSucceeded, run.OutcomeSucceeded, run.OutcomeSucceeded, run.OutcomeSucceeded, run.OutcomeSucceeded, run.OutcomeSucceeded, run.OutcomeSucceeded, run.OutcomeSucceeded}[w.rng.IntN(11)]
	}
	away := w.cut != "" && j.task.Can == plan.CapabilityDeployPrefix+w.cut
	if away {
		outcome = run.OutcomeErrored
	} else {
		w.write(j)
	}
	j.over = true
	j.report = &run.Report{Attempt: run.Attempt{Outcome: outcome, Message: "so it ended", LogSize: logSize, Unreachable: away}}
	if outcome == run.OutcomeSucceeded {
		j.report.Result = plan.Result{Image: "image of " + j.task.ID, Manifests: "manifests of " + j.ref.Token}
		if j.task.Kind == plan.KindRollback {
			j.report.Result.Release = "the one before"
		}
	}
	k.complete(j)
}

// write changes a cluster. I6: it refuses an older fence, and never the holder's.
func (w *world) write(j *job) {
	if !j.task.Kind.Changes() {
		return
	}
	switch last := w.sink[j.object]; {
	case !j.ref.Fence.Less(last):
		w.sink[j.object] = j.ref.Fence
		if s := w.tasks[j.run+" "+j.task.ID]; s.Ended() && j.alive() {
			w.bad("I6: %s changes %s for %s, which is %s", j.by.Name, j.object, j.task.ID, s)
		}
	case j.alive():
		w.bad("I6: the holder of %s of %s (%v) is refused: %s was changed with %v", j.task.ID, j.run, j.ref.Fence, j.object, last)
	}
}

func (k *worker) complete(j *job) {
	w := k.w
	if j.report == nil || !slices.Contains(k.jobs, j) {
		return
	}
	w.later(w.between(500*time.Millisecond, 1500*time.Millisecond), func() { k.complete(j) })
	if k.stopped {
		return
	}
	rep := *j.report
	by := k.id()
	w.ask(func(tx *partition.Tx) error { return tx.End(j.ref, by, sink{w, k}, rep) }, func(err error) {
		fence := j.ref.Fence
		switch _, ended := w.done[fence]; {
		case errors.Is(err, partition.ErrAborted):
			if ended {
				w.bad("I3: the end of %s of %s (%v) is refused and was acknowledged as %s", j.task.ID, j.run, fence, w.done[fence])
			}
			w.refused[fence] = true
		case err != nil:
			return // not said: again
		case w.refused[fence]:
			w.bad("I3: the end of %s of %s (%v) is taken and was refused", j.task.ID, j.run, fence)
		default:
			w.done[fence] = rep.Attempt.Outcome
		}
		w.send(func() { k.drop(j) })
	})
}

func (k *worker) drop(j *job) {
	j.left = true
	if i := slices.Index(k.jobs, j); i >= 0 {
		k.jobs = slices.Delete(k.jobs, i, i+1)
	}
}

// beat is a heartbeat, as a session carries it out.
func (k *worker) beat() {
	w := k.w
	defer func() { w.later(w.between(ttl/5, ttl/3), k.beat) }()
	if k.stopped {
		return
	}
	sent, by := time.Now(), k.id()
	var held []*job
	for _, j := range k.jobs {
		// One that was stopped may say so before it has seen that its time is over.
		if j.over || j.until.After(sent) || w.chance(60) {
			held = append(held, j)
		}
	}
	for _, j := range slices.Clone(k.jobs) {
		if !slices.Contains(held, j) {
			k.drop(j) // its time is over
		}
	}
	if len(held) == 0 {
		return
	}
	kept := map[*job]bool{}
	w.ask(func(tx *partition.Tx) error {
		for _, j := range held {
			kept[j] = tx.Renew(j.ref, by) || tx.Reclaim(j.ref, by, sink{w, k})
		}
		return nil
	}, func(err error) {
		if err != nil {
			return
		}
		w.send(func() {
			for _, j := range held {
				if kept[j] {
					j.until = later(j.until, sent.Add(ttl))
					w.prolonged(j)
				} else if !j.over {
					k.drop(j)
				}
			}
		})
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// stop is SIGSTOP, for a time.
func (k *worker) stop(d time.Duration) {
	k.w.say("%s is stopped for %s", k.name, d)
	k.stopped = true
	k.w.later(d, func() { k.stopped = false })
}

// die is kill -9; another process of the same name takes its place.
func (k *worker) die() {
	k.w.say("%s is killed", k.name)
	for _, j := range k.jobs {
		j.left = true
	}
	k.jobs, k.stopped = nil, false
	k.instance++
}

// sink is the way back to a worker.
type sink struct {
	w *world
	k *worker
}

// Revoke implements partition.Sink. Whoever calls it may hold the world, so the worker
// looks at it later.
func (s sink) Revoke(ref partition.Ref, _ string) {
	s.k.told.Lock()
	defer s.k.told.Unlock()
	s.k.revoked = append(s.k.revoked, ref)
}

// obey ends what the worker was told to end.
func (k *worker) obey() {
	k.told.Lock()
	refs := k.revoked
	k.revoked = nil
	k.told.Unlock()
	for _, ref := range refs {
		for _, j := range k.jobs {
			if j.ref == ref && !j.over {
				j.over = true
				j.report = &run.Report{Attempt: run.Attempt{Outcome: run.OutcomeCanceled, Message: "told to stop", LogSize: logSize}}
				k.complete(j)
			}
		}
	}
}
