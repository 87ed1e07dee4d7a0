// Package trust decides whose fault it is that a test failed: the test's own, or that of the machine
// on which everything fails.
//
// A failure on a worker on which no test passes is not believed at once: the test is carried out once more,
// on another worker, and the first one is given nothing until that has ended. Where it fails too, the test is to blame.
// A worker is cordoned when three tests that failed there passed on others, and none passed there in between.
package trust

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/run"
)

const (
	// guilty is how many tests must have failed on a worker, and passed on others, until it is cordoned.
	guilty = 3
	// patience is how many tests in a row must fail on a worker on which one has passed before, until one of
	// them is doubted; of one on which none has, the first is.
	patience = 2
	// doublings is how often a doubt that was unfounded has the next come later.
	doublings = 3
	// suspicion ends when nobody has carried a doubted test out for so long.
	suspicion = 10 * time.Minute
	// memory of a worker on which no test ended for so long is let go.
	memory = 24 * time.Hour
)

// Test is one that is doubted.
type Test struct {
	Token string // of its task, unique over runs
	Name  string // for people
}

// ledger is what is known of workers, by name.
type ledger map[string]*record

type record struct {
	proven    bool      // a test has passed there
	streak    int       // tests in a row that failed there, since one of them failed elsewhere too
	confirmed int       // doubts since a test passed there that were unfounded: each has the next come later
	doubts    []Test    // that failed there, and whose second opinion is awaited
	since     time.Time // of the first of them
	blamed    []string  // tests that failed there and passed elsewhere since one passed there
	touched   time.Time
}

func (l ledger) of(worker string, at time.Time) *record {
	r, ok := l[worker]
	if !ok {
		r = &record{}
		l[worker] = r
	}
	r.touched = at
	return r
}

// passed notes that a test passed on a worker.
func (l ledger) passed(worker string, at time.Time) {
	r := l.of(worker, at)
	r.proven, r.streak, r.confirmed, r.blamed = true, 0, 0, nil
}

// failed notes that a test failed on a worker, and says whether that is doubted. others: there
// are workers that can be asked. Of one worker at a time tests are doubted, so that a commit
// which breaks everything does not stop all.
func (l ledger) failed(worker string, t Test, others bool, at time.Time) (doubted bool) {
	r := l.of(worker, at)
	r.streak++
	limit := 1
	if r.proven {
		limit = patience
	}
	switch {
	case !others:
		return false
	case len(r.doubts) > 0: // it was under way before that
	case l.suspects() > 0 || r.streak < limit<<min(r.confirmed, doublings):
		return false
	default:
		r.since = at
	}
	r.doubts = append(r.doubts, t)
	return true
}

func (l ledger) suspects() int {
	n := 0
	for _, r := range l {
		if len(r.doubts) > 0 {
			n++
		}
	}
	return n
}

// judged notes what became of a doubted test, and answers the worker that must be cordoned for it, with
// the reason; else empty.
func (l ledger) judged(token string, became run.TaskState) (worker, reason string) {
	for name, r := range l {
		i := slices.IndexFunc(r.doubts, func(t Test) bool { return t.Token == token })
		if i < 0 {
			continue
		}
		t := r.doubts[i]
		r.doubts = slices.Delete(r.doubts, i, i+1)
		switch became {
		case run.TaskFailed:
			r.confirmed++
			r.streak = 0
		case run.TaskSucceeded:
			if r.blamed = append(r.blamed, t.Name); len(r.blamed) >= guilty {
				reason = fmt.Sprintf("%d tests failed here and passed on other workers, and none passed here: %s", len(r.blamed), strings.Join(r.blamed, ", "))
				delete(l, name) // whoever gives it tasks again begins anew
				return name, reason
			}
		default: // nobody carries it out any more
		}
		return "", ""
	}
	return "", ""
}

// suspected says why a worker is given nothing for now; not ok: it is not suspected.
func (l ledger) suspected(worker string) (reason string, since time.Time, ok bool) {
	r := l[worker]
	if r == nil || len(r.doubts) == 0 {
		return "", time.Time{}, false
	}
	names := make([]string, len(r.doubts))
	for i, t := range r.doubts {
		names[i] = t.Name
	}
	return fmt.Sprintf("no test passes here; whether other workers fail too is being looked at: %s", strings.Join(names, ", ")), r.since, true
}

// expire ends suspicions that nobody can found any more: for too long, or where nobody else is
// left. It answers whether there were any.
func (l ledger) expire(at time.Time, others func(worker string) bool) (changed bool) {
	for name, r := range l {
		if len(r.doubts) > 0 && (at.Sub(r.since) >= suspicion || !others(name)) {
			r.doubts, changed = nil, true
		}
		if at.Sub(r.touched) >= memory {
			delete(l, name)
		}
	}
	return changed
}
