package testrun

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
	"github.com/slipway-build/slipway/worker/runner/testreport"
)

const (
	// shownFailures are spelled out in a message; the result has more.
	shownFailures = 10
	shownLines    = 12
	exitKilled    = 137
)

// broken is the outcome when the stage did not build or the farm failed.
func (a *attempt) broken(ctx context.Context, err error, where buildkit.Where) runner.Outcome {
	if ctx.Err() == nil && errors.Is(err, errDaemonLost) {
		o := runner.Err("%v (BuildKit at %s)", err, where.Daemon)
		o.Steps = a.watch.Steps()
		return o
	}
	if bad := (*sidecarError)(nil); ctx.Err() == nil && errors.As(err, &bad) {
		return runner.Outcome{Kind: runner.Failed, Class: runner.ClassUser, Message: a.task.ID + ": " + bad.message, Steps: a.watch.Steps()}
	}
	if bad := (*listError)(nil); ctx.Err() == nil && errors.As(err, &bad) {
		return runner.Outcome{Kind: runner.Failed, Class: runner.ClassUser, Message: a.task.ID + ": " + bad.message, Steps: a.watch.Steps()}
	}
	o := buildkit.Classify(ctx, err, a.watch, where)
	if o.Kind != runner.Failed || o.Class != runner.ClassUser || a.work.Run != "" {
		return o
	}
	// A stage that is a test said no: name the tests, if it did.
	_, output, _ := a.watch.Failed("")
	if s, ok := testreport.FromOutput(output); ok && s.Failed > 0 {
		o.Result.Tests = &s
		o.Message = failures(a.task.ID, s) + "\n" + o.Message
	}
	return o
}

// judge decides about a test that ran to its end. The exit code says whether it
// passed; a report may say no as well, for commands that hide the exit code of others.
func (a *attempt) judge() runner.Outcome {
	if a.work.Shard != nil && len(a.items) == 0 {
		return runner.Outcome{Kind: runner.Succeeded, Message: "there are fewer tests than shards: nothing was left for this one", Result: runner.Result{Tests: &testreport.Summary{}, Listed: a.listed}}
	}
	sum, problems := a.summary()
	o := runner.Outcome{Kind: runner.Succeeded, Result: runner.Result{Tests: &sum}}
	// Tools end with 1, or with how many cases failed; any other code has a reason that no report tells.
	sum.Partial = sum.Partial || a.exit > 1 && int(a.exit) != sum.Failed
	switch {
	case a.exit == exitKilled:
		o.Kind, o.Class = runner.Failed, runner.ClassOOM
		o.Message = fmt.Sprintf("%s was killed (exit code 137), most likely because it ran out of memory%s", a.task.ID, after(buildkit.Tail(a.output)))
	case sum.Failed > 0:
		o.Kind, o.Class = runner.Failed, runner.ClassUser
		o.Message = failures(a.task.ID, sum) + a.exitNote()
	case a.exit != 0:
		o.Kind, o.Class = runner.Failed, runner.ClassUser
		o.Message = fmt.Sprintf("%s: `%s` ended with exit code %d%s", a.task.ID, a.work.Run, a.exit, after(buildkit.Tail(a.output)))
	case a.unreadable():
		o.Kind, o.Class = runner.Failed, runner.ClassUser
		o.Message = a.task.ID + " passed, but what it reports cannot be read"
	case sum.Total > 0:
		o.Message = fmt.Sprintf("%d of %d tests passed", sum.Passed, sum.Total)
		if sum.Skipped > 0 {
			o.Message += fmt.Sprintf(", %d skipped", sum.Skipped)
		}
	default:
		o.Message = "passed"
	}
	o.Message += problems
	if a.work.Shard != nil && o.Kind == runner.Succeeded {
		o.Result.Items, o.Result.Listed = a.times(sum.Took), a.listed
	}
	return o
}

// summary adds up the reports; without any, what the output says. problems begins
// with a line break, or is empty.
func (a *attempt) summary() (s testreport.Summary, problems string) {
	var b strings.Builder
	for _, r := range a.reports {
		if r.err != nil {
			fmt.Fprintf(&b, "\nreport %s: %v", r.name, r.err)
			s.Partial = true
			continue
		}
		s = testreport.Merge(s, r.summary)
	}
	if a.work.Report != "" && len(a.reports) == 0 {
		s.Partial = true
		fmt.Fprintf(&b, "\nno file matches report: %s (relative to the stage's working directory)", a.work.Report)
	}
	if s.Total == 0 {
		if found, ok := testreport.FromOutput(a.output); ok {
			found.Partial = found.Partial || s.Partial
			s = found
		}
		if a.exit == 0 {
			// Output is no report: lines that look like a failure of a test may be about something else.
			s.Total -= s.Failed
			s.Failed, s.Failures = 0, nil
		}
	}
	return s, b.String()
}

func (a *attempt) unreadable() bool {
	for _, r := range a.reports {
		if r.err != nil {
			return true
		}
	}
	return false
}

func (a *attempt) exitNote() string {
	if a.exit == 0 {
		return "\nThe command ended with exit code 0, but its report says otherwise."
	}
	return fmt.Sprintf("\nexit code %d", a.exit)
}

func after(tail string) string {
	if tail == "" {
		return ""
	}
	return "\n" + tail
}

// failures names the failed tests and shows the end of their output.
func failures(task string, s testreport.Summary) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d of %d tests failed", task, s.Failed, s.Total)
	for i, c := range s.Failures {
		if i == shownFailures {
			fmt.Fprintf(&b, "\n  … and %d more", s.Failed-shownFailures)
			break
		}
		name := c.Name
		if c.Suite != "" && c.Suite != c.Name {
			name = c.Suite + " " + c.Name
		}
		fmt.Fprintf(&b, "\n  ✗ %s", name)
		lines := strings.Split(strings.TrimRight(c.Output, "\n"), "\n")
		if len(lines) > shownLines {
			lines = lines[len(lines)-shownLines:]
		}
		for _, l := range lines {
			if strings.TrimSpace(l) != "" {
				fmt.Fprintf(&b, "\n      %s", clip(l))
			}
		}
	}
	return b.String()
}

func clip(l string) string {
	if len(l) > 200 {
		return strings.ToValidUTF8(l[:200], "") + "…"
	}
	return l
}
