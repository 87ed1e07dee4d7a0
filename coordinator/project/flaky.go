package project

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

// Limits of what is known of a test.
const (
	maxRecent = 10
	maxCases  = 500 // that failed lately; of more, those that came first are known
)

// Test is what runs have taught about a test: a task, or all its shards together. Only what was
// carried out counts, and not of strangers' commits.
type Test struct {
	ID     string
	Recent []Execution // oldest first, at most maxRecent
	Cases  []Case      // that failed lately, by name
}

// Execution is one time that a test was carried out to its end.
type Execution struct {
	Run    string
	At     time.Time
	Passed bool
	Flaky  bool // it passed in another attempt than the first, or because of a quarantine
}

// Case is a test case that failed not long ago.
type Case struct {
	Name     plan.TestName
	Failures int       // attempts in which it failed
	Failed   Sighting  // the last of them
	Open     string    // digest of what it failed in last, while that has not passed
	Flakes   int       // how often it failed, and what it failed in passed with the same inputs
	Flaked   time.Time // the last of them
	Passes   int       // executions of the test since, in which it did not fail
	Held     *Quarantine
}

// Sighting is where a case was seen to fail.
type Sighting struct {
	Run     string
	Task    string
	Attempt int
	Worker  string
	At      time.Time
}

// Quarantine of a case.
type Quarantine struct {
	By      string // the token that asked for it; empty: what runs taught
	Reason  string
	Since   time.Time
	Until   time.Time
	Release int // how often in a row it must pass to be let out before
}

// testOf is the id of the test that a task belongs to; empty: to none.
func testOf(t *run.Task) string {
	switch {
	case t.Spec.Kind == plan.KindGather:
		return t.Spec.ID
	case t.Spec.Kind != plan.KindTest:
		return ""
	case t.Spec.Test != nil && t.Spec.Test.Shard != nil:
		return t.Spec.Test.Shard.Test
	default:
		return t.Spec.ID
	}
}

func (p *Project) test(id string) *Test {
	t, ok := p.tests[id]
	if !ok {
		t = &Test{ID: id}
		p.tests[id] = t
	}
	return t
}

// find a case; nil: it did not fail lately.
func (t *Test) find(n plan.TestName) *Case {
	i, ok := slices.BinarySearchFunc(t.Cases, n, func(c Case, n plan.TestName) int { return c.Name.Compare(n) })
	if !ok {
		return nil
	}
	return &t.Cases[i]
}

// note finds a case or begins to know it; nil: too many are known, and it need not be.
func (t *Test) note(n plan.TestName, must bool) *Case {
	i, ok := slices.BinarySearchFunc(t.Cases, n, func(c Case, n plan.TestName) int { return c.Name.Compare(n) })
	switch {
	case ok:
	case len(t.Cases) >= maxCases && !must:
		return nil
	default:
		t.Cases = slices.Insert(t.Cases, i, Case{Name: n})
	}
	return &t.Cases[i]
}

// attempted notes the cases that failed in an attempt.
func (p *Project) attempted(r *run.Run, e run.AttemptFinished, at time.Time) {
	t, ok := r.Find(e.Task)
	if !ok || len(e.Attempt.Failed) == 0 || e.Attempt.Doubted || r.Plan.Untrusted || testOf(t) == "" {
		return
	}
	test := p.test(testOf(t))
	for _, n := range e.Attempt.Failed {
		c := test.note(n, false)
		if c == nil {
			continue
		}
		c.Failures++
		c.Failed = Sighting{Run: r.ID, Task: e.Task, Attempt: e.Attempt.Number, Worker: e.Attempt.Worker, At: at}
		c.Open, c.Passes = t.Spec.Digest, 0
	}
}

// tested notes the end of a test, or of one of its shards.
func (p *Project) tested(r *run.Run, e run.TaskFinished, at time.Time) {
	t, ok := r.Find(e.Task)
	if !ok || r.Plan.Untrusted || e.State != run.TaskSucceeded && e.State != run.TaskFailed {
		return
	}
	id := testOf(t)
	if id == "" {
		return
	}
	shard := t.Spec.Kind == plan.KindTest && id != t.Spec.ID
	passed := e.State == run.TaskSucceeded
	if known, ok := p.tests[id]; ok && passed {
		for i := range known.Cases {
			known.Cases[i].passed(r, t, at, !shard)
		}
		known.Cases = slices.DeleteFunc(known.Cases, func(c Case) bool { return c.Held == nil && c.Passes >= t.Spec.Quarantine.Leaves() })
	}
	if shard && passed { // the test has not passed yet
		return
	}
	p.test(id).executed(Execution{Run: r.ID, At: at, Passed: passed, Flaky: passed && (e.Class == run.ClassFlaky || flakyShard(r, t))})
}

// flakyShard says that a shard of what a task gathers was flaky.
func flakyShard(r *run.Run, gather *run.Task) bool {
	return gather.Spec.Kind == plan.KindGather && slices.ContainsFunc(gather.Spec.Needs, func(id string) bool {
		t, ok := r.Find(id)
		return ok && t.Class == run.ClassFlaky
	})
}

// executed adds an execution; of several shards that failed in one run the first counts.
func (t *Test) executed(x Execution) {
	if n := len(t.Recent); n > 0 && t.Recent[n-1].Run == x.Run {
		return
	}
	t.Recent = append(t.Recent, x)
	if n := len(t.Recent); n > maxRecent {
		t.Recent = slices.Clone(t.Recent[n-maxRecent:])
	}
}

// passed notes that a task of the case's test has passed; whole: that is all of the test.
func (c *Case) passed(r *run.Run, t *run.Task, at time.Time, whole bool) {
	if c.Failed.Run == r.ID && c.Failed.Task == t.Spec.ID && c.Failed.Attempt == len(t.Attempts) {
		return // it failed in the very attempt, and is in quarantine
	}
	if c.Open != "" && c.Open == t.Spec.Digest {
		c.Open = ""
		c.Flakes++
		c.Flaked = at
	}
	if whole && c.Failed.Run != r.ID {
		c.Passes++
	}
}

// Judge decides what the end of a test means for its cases: who has failed and passed with the
// same inputs too often goes into quarantine, and who has passed often enough leaves it.
func (p *Project) Judge(r *run.Run, t *run.Task, at time.Time) []run.Event {
	id, q := testOf(t), t.Spec.Quarantine
	known, ok := p.tests[id]
	if !ok || r.Plan.Untrusted {
		return nil
	}
	var out []run.Event
	for _, c := range known.Cases {
		switch {
		case c.Held != nil && c.Passes >= c.Held.Release:
			out = append(out, run.Released{Project: p.Name, Test: id, Case: c.Name, Reason: "it passed " + times(c.Passes) + " in a row"})
		case c.Held == nil && q != nil && q.After > 0 && c.Flakes >= q.After:
			out = append(out, run.Quarantined{
				Project: p.Name, Test: id, Case: c.Name, Until: at.AddDate(0, 0, q.Days), Release: q.Release,
				Reason: fmt.Sprintf("it failed and passed with the same inputs %s, last in run %s", times(c.Flakes), c.Failed.Run),
			})
		}
	}
	return out
}

func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	default:
		return fmt.Sprint(n, " times")
	}
}

// Expired decides which cases have been in quarantine for as long as they may.
func (s *State) Expired(at time.Time) []run.Event {
	var out []run.Event
	for _, name := range slices.Sorted(maps.Keys(s.projects)) {
		p := s.projects[name]
		for _, id := range slices.Sorted(maps.Keys(p.tests)) {
			for _, c := range p.tests[id].Cases {
				if c.Held != nil && !at.Before(c.Held.Until) {
					out = append(out, run.Released{Project: name, Test: id, Case: c.Name, Reason: "its time in quarantine is over"})
				}
			}
		}
	}
	return out
}

func (s *State) quarantine(e run.Quarantined, at time.Time) {
	c := s.Project(e.Project).test(e.Test).note(e.Case, true)
	c.Held = &Quarantine{By: e.By, Reason: e.Reason, Since: at, Until: e.Until, Release: e.Release}
	c.Passes = 0
}

func (s *State) release(e run.Released) {
	t := s.Project(e.Project).test(e.Test)
	t.Cases = slices.DeleteFunc(t.Cases, func(c Case) bool { return c.Name == e.Case })
}

// Tests are all tests of which there is something to say, by id; copies.
func (p *Project) Tests() []Test {
	out := make([]Test, 0, len(p.tests))
	for _, t := range p.tests {
		c := *t
		c.Recent, c.Cases = slices.Clone(t.Recent), slices.Clone(t.Cases)
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Test) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Case of a test, that failed lately or is in quarantine.
func (p *Project) Case(test string, n plan.TestName) (Case, bool) {
	if t, ok := p.tests[test]; ok {
		if c := t.find(n); c != nil {
			return *c, true
		}
	}
	return Case{}, false
}

// Held are the cases of a test that are in quarantine, sorted.
func (p *Project) Held(test string, at time.Time) []plan.TestName {
	t, ok := p.tests[test]
	if !ok {
		return nil
	}
	var out []plan.TestName
	for _, c := range t.Cases {
		if c.Held != nil && at.Before(c.Held.Until) {
			out = append(out, c.Name)
		}
	}
	return out
}

// stale says that a test was not carried out since, and none of its cases failed or is in quarantine.
func (t *Test) stale(before time.Time) bool {
	if n := len(t.Recent); n > 0 && !t.Recent[n-1].At.Before(before) {
		return false
	}
	return !slices.ContainsFunc(t.Cases, func(c Case) bool { return c.Held != nil || !c.Failed.At.Before(before) })
}
