// Package check says what git hosts are told of commits: one aggregate check per commit,
// from the moment its first run is accepted, and tells it until the host has heard.
//
// Nothing is queued. What is to be told is computed from the journalled runs, at every
// change of one and again for the runs of the last week when the coordinator starts;
// what a host was told last is kept in a bucket. So a check stays pending only as long
// as its run goes on or its host does not answer, whoever was killed in between. The
// bucket may be lost: then hosts are told once more what they know, which changes nothing.
//
// How each host wants to be told is githost's business, and what a run is, run's.
package check

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

// Name of the check, as hosts show it and as rules for branches require it.
const Name = "slipway"

// State of a check. Not every host has each of them.
type State string

// The states.
const (
	Pending  State = "pending" // accepted, nothing is carried out yet
	Running  State = "running"
	Success  State = "success"
	Failure  State = "failure" // the work said no
	Error    State = "error"   // the farm could not tell
	Canceled State = "canceled"
)

// Status is what a host is told.
type Status struct {
	State   State
	Summary string // one line, for people
	Run     string // id of the run that it speaks of
	URL     string // where to look
}

// Of says what a run means for its commit.
func Of(r *run.Run) Status {
	s := Status{State: Running, Run: r.ID}
	var detail string
	switch {
	case r.State == run.Succeeded:
		s.State = Success
	case r.State == run.Canceled:
		s.State, detail = Canceled, or(r.Message, "canceled")
	case r.State == run.Failed:
		s.State, detail = failure(r)
	case r.State == run.Stopping:
		detail = "stopping: " + or(r.Message, "canceled")
	case !begun(r.Tasks):
		s.State, detail = Pending, "accepted"
	}
	s.Summary = line(counts(r.Tasks), detail)
	return s
}

// begun tells whether somebody works, or has worked, on one of the tasks.
func begun(tasks []*run.Task) bool {
	for _, t := range tasks {
		if len(t.Attempts) > 0 {
			return true
		}
	}
	return false
}

// failure tells the work's own no from what the farm could not find out, and names the
// first of them.
func failure(r *run.Run) (s State, detail string) {
	s = Error
	var first *run.Task
	more := 0
	for _, t := range r.Tasks {
		switch t.State {
		case run.TaskFailed:
			if s == Error {
				s, first, more = Failure, nil, 0
			}
		case run.TaskErrored:
			if s == Failure {
				continue
			}
		default:
			continue
		}
		if first == nil {
			first = t
			continue
		}
		more++
		if t.FinishedAt.Before(first.FinishedAt) {
			first = t
		}
	}
	if first == nil {
		return s, or(r.Message, "failed")
	}
	detail = first.Spec.ID + ": " + or(first.Message, string(first.State))
	if n := first.Result.Tests; n != nil && n.Failed > 0 {
		detail = fmt.Sprintf("%s: %d of %d tests failed", first.Spec.Service, n.Failed, n.Total)
	}
	if more > 0 {
		detail = fmt.Sprintf("%s, and %d more", detail, more)
	}
	return s, detail
}

// counts is what went well: "3 built, 2 reused, 4 tests, rolled out to staging and prod".
func counts(tasks []*run.Task) string {
	var built, reused, tests, flaky int
	var environments, compared []string
	changes := map[string]int{}
	for _, t := range tasks {
		if !t.State.Good() {
			continue
		}
		switch {
		case t.Spec.Kind == plan.KindBuild && t.State == run.TaskReused:
			reused++
		case t.Spec.Kind == plan.KindBuild:
			built++
		case t.Spec.Kind == plan.KindGather:
			tests++
		case t.Spec.Kind == plan.KindTest:
			if t.Spec.Test == nil || t.Spec.Test.Shard == nil {
				tests++
			}
			if t.Class == run.ClassFlaky {
				flaky++
			}
		case t.Spec.Kind == plan.KindVerified:
			environments = append(environments, t.Spec.Target.Environment)
		case t.Spec.Kind == plan.KindDiff && t.Result.Diff != nil:
			env, d := t.Spec.Target.Environment, t.Result.Diff
			if !slices.Contains(compared, env) {
				compared = append(compared, env)
			}
			changes[env] += d.Created + d.Changed + d.Deleted
		}
	}
	var out []string
	for _, c := range []struct {
		n    int
		what string
	}{{built, "built"}, {reused, "reused"}} {
		if c.n > 0 {
			out = append(out, fmt.Sprint(c.n, " ", c.what))
		}
	}
	switch {
	case tests == 1:
		out = append(out, "1 test")
	case tests > 1:
		out = append(out, fmt.Sprint(tests, " tests"))
	}
	if c := covered(tasks); c != "" {
		out = append(out, c)
	}
	if flaky > 0 {
		out = append(out, fmt.Sprint(flaky, " flaky"))
	}
	if n := len(environments); n > 1 {
		environments = []string{strings.Join(environments[:n-1], ", ") + " and " + environments[n-1]}
	}
	if len(environments) > 0 {
		out = append(out, "rolled out to "+environments[0])
	}
	for _, env := range compared {
		out = append(out, map[bool]string{true: "would change nothing in " + env, false: fmt.Sprintf("would change %d objects in %s", changes[env], env)}[changes[env] == 0])
	}
	return strings.Join(out, ", ")
}

// covered is what the tests of a run cover together, and how that compares with the base commit, as far as it is known of
// all of them; empty: nothing is known.
func covered(tasks []*run.Task) string {
	var now, before plan.Coverage
	compared := true
	for _, t := range tasks {
		c := t.Result.Coverage
		if c == nil {
			continue
		}
		now.Covered, now.Total = now.Covered+c.Covered, now.Total+c.Total
		switch b := c.Before; {
		case b != nil:
			before.Covered, before.Total = before.Covered+b.Covered, before.Total+b.Total
		case t.State == run.TaskReused: // with the inputs that it had
			before.Covered, before.Total = before.Covered+c.Covered, before.Total+c.Total
		default:
			compared = false
		}
	}
	if now.Total == 0 {
		return ""
	}
	out := fmt.Sprintf("%.1f %% covered", now.Percent())
	if compared && before.Total > 0 {
		out += fmt.Sprintf(" (%+.1f)", now.Percent()-before.Percent())
	}
	return out
}

// line joins what is not empty, and makes one line of it that a terminal can show.
func line(counts, detail string) string {
	s := counts
	switch {
	case counts == "" && detail == "":
		s = "nothing to do"
	case counts == "":
		s = detail
	case detail != "":
		s += "; " + detail
	}
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
}

// Short is a line cut to at most n characters, with a sign that it was.
func Short(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// together is the one status of a commit with several runs, as of a branch and of a pull
// request: it goes on while one of them does, and is as bad as the worst of them. A
// stranger's run can therefore never make a commit green that was not.
func together(list []Status) Status {
	rank := map[State]int{Running: 6, Pending: 5, Failure: 4, Error: 3, Canceled: 2, Success: 1}
	worst := list[0]
	for _, s := range list[1:] {
		if rank[s.State] > rank[worst.State] {
			worst = s
		}
	}
	return worst
}
