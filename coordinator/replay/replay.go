// Package replay says how runs that a farm has carried out would have gone with other
// numbers of slots: the same tasks, with the times that they took, in the order in which
// the very same schedule.Queue gives them out. It is pure.
//
// It knows no queue on the wire, no margin of hints and no lease, so what it foretells is a
// farm whose messages take no time. Failures, back-off, locks of environments and quotas of
// teams are not replayed: a task takes what all its attempts took together, once.
package replay

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-build/slipway/coordinator/dag"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

// Run is a run as it was carried out.
type Run struct {
	ID   string
	Plan *plan.Plan               // its tasks, each behind what it needs
	At   time.Duration            // when it was accepted, since the first one was
	Took map[string]time.Duration // by task; one that is not there was never begun, and is left out
}

// Slots are how many tasks of a capability are carried out at once; 0: any number.
type Slots func(capability string) int

// Placed is when a task was carried out in a replay.
type Placed struct {
	Run, Task, Capability string

	Ready, Start, End time.Duration
}

// Outcome of a replay.
type Outcome struct {
	Makespan    time.Duration // from the first run's acceptance to the end of the last task
	Bound       time.Duration // which no order of the tasks could beat
	WaitP50     time.Duration // between being ready and begun, of the tasks that need a slot
	WaitMax     time.Duration
	Utilization float64  // over the makespan, of the slots of the capability that uses its most; 0: none has a limit
	Tasks       []Placed // in the order in which they began
}

// task is a task that is replayed.
type task struct {
	spec   *plan.Task
	run    *Run
	index  int // in its plan
	bottom time.Duration
	took   time.Duration
	waits  int // for how many others still
	kids   []*task
	ready  time.Duration
}

// pooled tells whether a task needs a slot.
func (t *task) pooled() bool { return t.spec.Can != plan.CapabilityCoordinator && t.spec.Reuse == nil }

// CriticalPath is how long runs take with slots without end.
func CriticalPath(runs []Run) time.Duration {
	var longest time.Duration
	for i := range runs {
		r := &runs[i]
		g := dag.New[string]()
		for _, t := range r.Plan.Tasks {
			if _, ok := r.Took[t.ID]; !ok {
				continue
			}
			g.Add(t.ID)
			for _, need := range t.Needs {
				if _, ok := r.Took[need]; ok {
					g.Edge(need, t.ID)
				}
			}
		}
		for _, d := range g.Bottom(func(id string) int64 { return int64(r.Took[id]) }) {
			longest = max(longest, r.At+time.Duration(d))
		}
	}
	return longest
}

// Work is how long the tasks of runs take that need a slot, by capability.
func Work(runs []Run) map[string]time.Duration {
	out := map[string]time.Duration{}
	for i := range runs {
		for _, t := range runs[i].Plan.Tasks {
			if took, ok := runs[i].Took[t.ID]; ok && t.Can != plan.CapabilityCoordinator && t.Reuse == nil {
				out[t.Can] += took
			}
		}
	}
	return out
}

// Replay carries the runs out with that many slots.
func Replay(runs []Run, slots Slots) (Outcome, error) {
	f := &farm{slots: slots, lanes: map[string]*lane{}}
	for i := range runs {
		tasks, err := load(&runs[i])
		if err != nil {
			return Outcome{}, fmt.Errorf("run %s: %w", runs[i].ID, err)
		}
		f.begin(&runs[i], tasks)
	}
	f.carryOut()
	return f.outcome(runs), nil
}

// load makes the tasks of a run. The farm expects them to take what they took: as it does
// when the last run was like this one.
func load(r *Run) ([]*task, error) {
	state, err := run.New(run.Accepted{Run: r.ID, Project: r.Plan.Project}, r.Plan, time.Time{}, func(task string) time.Duration { return r.Took[task] })
	if err != nil {
		return nil, fmt.Errorf("build its state: %w", err)
	}
	var out []*task
	by := map[string]*task{}
	for _, t := range state.Tasks {
		took, ok := r.Took[t.Spec.ID]
		if !ok {
			continue
		}
		n := &task{spec: t.Spec, run: r, index: t.Index, bottom: state.Bottom(t), took: max(0, took)}
		for _, need := range t.Spec.Needs {
			if before, ok := by[need]; ok {
				before.kids = append(before.kids, n)
				n.waits++
			}
		}
		by[t.Spec.ID] = n
		out = append(out, n)
	}
	return out, nil
}

// outcome sums up what was carried out.
func (f *farm) outcome(runs []Run) Outcome {
	out := Outcome{Makespan: f.now, Bound: CriticalPath(runs), Tasks: f.done}
	work := Work(runs)
	for c, w := range work {
		if n := f.slots(c); n > 0 && f.now > 0 {
			out.Bound = max(out.Bound, (w+time.Duration(n)-1)/time.Duration(n))
			out.Utilization = max(out.Utilization, float64(w)/float64(n)/float64(f.now))
		}
	}
	slices.Sort(f.waited)
	if n := len(f.waited); n > 0 {
		out.WaitP50, out.WaitMax = f.waited[(n-1)/2], f.waited[n-1]
	}
	slices.SortStableFunc(out.Tasks, func(a, b Placed) int { return cmp.Compare(a.Start, b.Start) })
	return out
}
