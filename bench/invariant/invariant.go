// Package invariant says what is wrong with runs that have ended: a benchmark whose runs
// break one does not count. It is pure.
package invariant

import (
	"fmt"

	"github.com/slipway-build/slipway/coordinator/run"
)

// most is how many sentences are worth reading.
const most = 20

// Check compares runs that must all have succeeded with the invariants: I2 every run
// ended, I3 with one end, I4 no task began before what it needs had succeeded, I5 one
// lease at a time and fences that rise.
func Check(runs []*run.Run) []string {
	var broken []string
	say := func(format string, args ...any) {
		if len(broken) < most {
			broken = append(broken, fmt.Sprintf(format, args...))
		}
	}
	fences := map[held]string{}
	for _, r := range runs {
		if r.State != run.Succeeded {
			say("I2: run %s is %s: %s", r.ID, r.State, r.Message)
		}
		for _, t := range r.Tasks {
			if t.State != run.TaskSucceeded {
				say("I2: task %s of run %s is %s", t.Spec.ID, r.ID, t.State)
				continue
			}
			check(r, t, fences, say)
		}
	}
	return broken
}

// held is a fence, which is unique within a project.
type held struct {
	project string
	fence   run.Fence
}

func check(r *run.Run, t *run.Task, fences map[held]string, say func(string, ...any)) {
	good := 0
	last := run.Fence{}
	for _, a := range t.Attempts {
		if a.Outcome == run.OutcomeSucceeded {
			good++
		}
		if !last.Less(a.Fence) {
			say("I5: attempt %d of %s of run %s has the fence %v after %v", a.Number, t.Spec.ID, r.ID, a.Fence, last)
		}
		last = a.Fence
		at := held{r.Project, a.Fence}
		if other, ok := fences[at]; ok {
			say("I5: the fence %v was given to %s and to %s of run %s", a.Fence, other, t.Spec.ID, r.ID)
		}
		fences[at] = t.Spec.ID + " of run " + r.ID
	}
	if good != 1 {
		say("I3: %d attempts of %s of run %s succeeded", good, t.Spec.ID, r.ID)
	}
	for _, need := range t.Spec.Needs {
		p, ok := r.Find(need)
		if !ok || p.FinishedAt.IsZero() || len(t.Attempts) > 0 && t.Attempts[0].LeasedAt.Before(p.FinishedAt) {
			say("I4: %s of run %s was leased before %s had succeeded", t.Spec.ID, r.ID, need)
		}
	}
}
