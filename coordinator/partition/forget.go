package partition

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
)

// ErrAlways: the task is carried out each time, so that there is nothing to forget.
var ErrAlways = errors.New("it is always carried out")

// forgetAtOnce is how many digests fit into an event.
const forgetAtOnce = 2000

// Forget has what a task of a run made, and what was made of that, stand in for nothing any more. It
// answers the ids of the run's tasks of which that is so.
func (tx *Tx) Forget(r *run.Run, task, by, reason string) ([]string, error) {
	t, ok := r.Find(task)
	switch {
	case !ok:
		return nil, fmt.Errorf("task %q of run %s: %w", task, r.ID, ErrNotFound)
	case t.Spec.Digest == "":
		return nil, fmt.Errorf("task %s of run %s: %w", task, r.ID, ErrAlways)
	}
	tasks, digests := project.Dependents(r, task)
	for some := range slices.Chunk(digests, forgetAtOnce) {
		tx.o.emit(run.ResultsForgotten{Project: r.Project, Digests: some, By: by, Reason: reason})
	}
	return tasks, nil
}

// Forgotten says why nothing is known of a digest; not ok: something is, or never was. With a time, why what was
// made of it before is not to be used, if it was forgotten since.
func (tx *Tx) Forgotten(name, digest string, since time.Time) (why string, ok bool) {
	f, ok := tx.o.st.Project(name).Forgotten(digest, since)
	if !ok {
		return "", false
	}
	why = "what was made of the same inputs was forgotten"
	if f.By != "" {
		why += " by " + f.By
	}
	if f.Reason != "" {
		why += ": " + f.Reason
	}
	return why, true
}
