// Package scan looks for what is wrong in the sources of a commit: secrets, Kubernetes manifests and
// Dockerfiles that ask for too much, packages with known vulnerabilities, licenses that are not
// wanted; or it runs a tool of the user's, and reads the SARIF that it writes.
//
// It says what there is, in numbers and as SARIF. Whether that keeps anything from being deployed,
// and what was accepted, is decided elsewhere. It talks to nothing but the store: what is known of
// packages is given to it.
package scan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/sarif"
	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/sources"
)

// Store keeps reports, and has the advisories.
type Store interface {
	// PutBlob stores data and answers its digest, "sha256:…".
	PutBlob(ctx context.Context, data []byte) (string, error)
	// GetBlob answers what was stored.
	GetBlob(ctx context.Context, digest string) ([]byte, error)
}

// Commands runs the command of a task whose Work is a Test, as tests are run. A failing command is
// no failure, and its exit code is in the answer; the outcome is of what could not be run, else nil.
type Commands interface {
	Command(ctx context.Context, t runner.Task, r runner.Report) (runner.Ran, *runner.Outcome)
}

// Runner is the runner of scan tasks.
type Runner struct {
	store    Store
	commands Commands // nil: none

	mu        sync.Mutex
	databases []database // those that were used last, the newest first
}

// New makes the runner of scan tasks. Without commands, a scan with a tool of the user's cannot be
// told.
func New(store Store, commands Commands) *Runner { return &Runner{store: store, commands: commands} }

// found is what a scanner found.
type found struct {
	tool, version string
	findings      []sarif.Finding
	notes         []string // what was not looked at, and what else the log says
	steps         []runner.Step
}

func (f *found) note(format string, a ...any) { f.notes = append(f.notes, fmt.Sprintf(format, a...)) }

// Run scans, and stores the report.
func (r *Runner) Run(ctx context.Context, t runner.Task, report runner.Report) runner.Outcome {
	work, ok := t.Work.(runner.Scan)
	if !ok {
		return runner.Err("task %s is no scan but %T", t.ID, t.Work)
	}
	if work.Test != nil && r.commands == nil {
		return runner.Err("this worker runs no commands: give it BuildKit, or scan with another worker")
	}
	report.Started()
	began := time.Now()
	what := cmp.Or(work.Using, "command")
	step := func(err error) runner.Step {
		s := runner.Step{Name: "scan " + cmp.Or(work.Name, what), Kind: "scan", Started: began, Finished: time.Now()}
		if err != nil {
			s.Error = err.Error()
		}
		return s
	}
	got, bad, err := r.look(ctx, t, work, report)
	if bad != nil {
		return *bad
	}
	for _, n := range got.notes {
		_, _ = fmt.Fprintf(report, "note: %s\n", sarif.OneLine(n))
	}
	if err != nil {
		return r.failed(ctx, t, report, append(got.steps, step(err)), err)
	}
	summary := tell(report, &got)
	data, err := sarif.Write(sarif.Report{Tool: got.tool, Version: got.version, Findings: got.findings})
	if err != nil {
		return r.failed(ctx, t, report, append(got.steps, step(err)), sources.Mistakef("%v", err))
	}
	got.steps = append(got.steps, step(nil))
	stored := time.Now()
	if summary.Report, err = r.store.PutBlob(ctx, data); err != nil {
		if o, ok := runner.Interrupted(ctx); ok {
			return o
		}
		return runner.Err("store the report of the scan: %v", err)
	}
	return runner.Outcome{
		Kind: runner.Succeeded, Message: message(summary), Result: runner.Result{Scan: &summary},
		Steps: append(got.steps, runner.Step{Name: "store report", Kind: "blob", Started: stored, Finished: time.Now()}),
	}
}

func (r *Runner) failed(ctx context.Context, t runner.Task, report runner.Report, steps []runner.Step, err error) runner.Outcome {
	if o, ok := runner.Interrupted(ctx); ok {
		return o
	}
	_, _ = fmt.Fprintf(report, "%v\n", err)
	o := runner.Err("%s: %v", t.ID, err)
	if bad := (*sources.Mistake)(nil); errors.As(err, &bad) {
		o = runner.Fail("%s: %v", t.ID, err)
	}
	o.Steps = steps
	return o
}

// look runs the scanner that the work names.
func (r *Runner) look(ctx context.Context, t runner.Task, work runner.Scan, report runner.Report) (got found, bad *runner.Outcome, err error) {
	paths := work.Paths
	for _, p := range []string{work.Manifests, work.Dockerfile} {
		if p != "" && work.Using == runner.UsingConfig {
			paths = append(paths[:len(paths):len(paths)], p)
		}
	}
	if work.Test != nil {
		paths = append(paths[:len(paths):len(paths)], work.Test.SourcePaths()...)
	}
	s, missing, err := sources.Open(ctx, t.Workspace, paths)
	if s != nil {
		defer s.Close()
	}
	if err != nil {
		return got, nil, err
	}
	switch {
	case work.Test != nil:
		got, bad, err = r.command(ctx, t, work, s, report)
	case work.Using == runner.UsingSecrets:
		got, err = secrets(ctx, s)
	case work.Using == runner.UsingConfig:
		got, err = config(ctx, s, work)
	case work.Using == runner.UsingPackages:
		got, err = r.packages(ctx, s, work)
	case work.Using == runner.UsingLicenses:
		got, err = licenses(ctx, s, work)
	default:
		err = sources.Mistakef("using: %q is not supported: use secrets, config, packages or licenses, or run a tool of your own", work.Using)
	}
	for _, p := range missing {
		got.note("%s does not exist in this commit", p)
	}
	if s.Links() > 0 {
		got.note("%d symbolic links were not followed", s.Links())
	}
	return got, bad, err
}

// tell makes the findings fit for a report, writes a line for each, and counts them.
func tell(report runner.Report, got *found) runner.ScanSummary {
	for i := range got.findings {
		f := &got.findings[i]
		f.Rule, f.Path, f.Message = sarif.OneLine(f.Rule), strings.ToValidUTF8(f.Path, "\uFFFD"), sarif.OneLine(f.Message)
	}
	sarif.Sort(got.findings)
	sarif.Number(got.findings)
	s := runner.ScanSummary{Tool: got.tool}
	for _, f := range got.findings {
		switch f.Severity {
		case sarif.Critical:
			s.Critical++
		case sarif.High:
			s.High++
		case sarif.Medium:
			s.Medium++
		default:
			s.Low++
		}
		at := ""
		if f.Path != "" {
			at = sarif.OneLine(f.Path) + ":"
			if f.Line > 0 {
				at += fmt.Sprint(f.Line)
			}
			at = strings.TrimSuffix(at, ":") + " "
		}
		_, _ = fmt.Fprintf(report, "%s %s%s: %s\n", f.Severity, at, f.Rule, f.Message)
	}
	return s
}

func message(s runner.ScanSummary) string {
	var parts []string
	all := 0
	for _, c := range []struct {
		n  int
		of sarif.Severity
	}{{s.Critical, sarif.Critical}, {s.High, sarif.High}, {s.Medium, sarif.Medium}, {s.Low, sarif.Low}} {
		if all += c.n; c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.of))
		}
	}
	if all == 0 {
		return "nothing found"
	}
	return fmt.Sprintf("%s: %s", count(all, "finding"), strings.Join(parts, ", "))
}

func count(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}
