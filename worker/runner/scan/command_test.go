package scan_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit/buildkittest"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
	"github.com/slipway-build/slipway/worker/runner/scan"
	"github.com/slipway-build/slipway/worker/runner/testrun"
)

// commands answers what it is told.
type commands struct {
	ran runner.Ran
	bad *runner.Outcome
}

func (c commands) Command(context.Context, runner.Task, runner.Report) (runner.Ran, *runner.Outcome) {
	return c.ran, c.bad
}

func sarifOf(tool string, results ...string) []byte {
	return []byte(`{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"` + tool + `","version":"1"}},"results":[` + strings.Join(results, ",") + `]}]}`)
}

func resultAt(rule, uri, line string) string {
	return `{"ruleId":"` + rule + `","level":"error","message":{"text":"bad"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"` + uri + `"},"region":{"startLine":` + line + `}}}]}`
}

// TestCommandReports: what is read of a command's files, and what a failure says.
func TestCommandReports(t *testing.T) {
	work := runner.Scan{Name: "lint", Paths: []string{"services/api", "libs"}, Test: &runner.Test{
		Run: "lint", Report: "*.sarif", Build: runner.Build{Dockerfile: "services/api/Dockerfile", Paths: []string{"services/api", "libs"}},
	}}
	files := map[string]string{"services/api/main.go": "package main\n\n\tbad()\n", "libs/x.go": "package libs\n"}
	at := func(ran runner.Ran) (result, *store) {
		s := &store{}
		ran.Dir = "/src/services/api"
		return runWith(t, scan.New(s, commands{ran: ran}), s, plant(t, files), work), s
	}
	ran := runner.Ran{Exit: 1, Files: []runner.File{
		{Name: "/src/a.sarif", Data: sarifOf("lint", resultAt("r1", "main.go", "3"), resultAt("r2", "/src/libs/x.go", "1"), resultAt("r3", "gen/y.go", "1"))},
		{Name: "/src/b.sarif", Data: sarifOf("other", resultAt("r1", "file:///src/services/api/main.go", "3"))},
	}}
	got, _ := at(ran)
	same(t, got.places(), "high gen/y.go:1 r3", "high libs/x.go:1 r2", "high services/api/main.go:3 r1")
	contains(t, got.log, "`lint` ended with exit code 1; what counts is its report")
	if got.outcome.Result.Scan.Tool != "lint, other" || got.outcome.Message != "3 findings: 3 high" {
		t.Errorf("tool %q, message %q", got.outcome.Result.Scan.Tool, got.outcome.Message)
	}
	files["services/api/main.go"] = "package main\n\n// moved\n\nbad()\n"
	ran.Files = []runner.File{{Name: "/src/a.sarif", Data: sarifOf("lint", resultAt("r1", "main.go", "5"))}}
	if moved, _ := at(ran); moved.fingerprint(t, "r1") != got.fingerprint(t, "r1") {
		t.Error("a finding has another fingerprint when its line moved")
	}
	ran.Files = []runner.File{{Name: "/src/a.sarif", Data: sarifOf("lint")}}
	if clean, _ := at(ran); clean.outcome.Message != "nothing found" {
		t.Errorf("message %q", clean.outcome.Message)
	}

	broken := runner.Err("no daemon")
	for name, c := range map[string]struct {
		commands commands
		kind     runner.OutcomeKind
		class    runner.Class
		want     []string
	}{
		"no report":        {commands{ran: runner.Ran{Exit: 2, Output: "no such option"}}, runner.Failed, runner.ClassUser, []string{"`lint` ended with exit code 2", "no file matches report: *.sarif", "no such option"}},
		"killed":           {commands{ran: runner.Ran{Exit: 137}}, runner.Failed, runner.ClassOOM, []string{"exit code 137"}},
		"cut short":        {commands{ran: runner.Ran{Output: "the end", Files: []runner.File{{Name: "/src/a.sarif", Data: sarifOf("lint")[:40]}}}}, runner.Failed, runner.ClassUser, []string{"report /src/a.sarif: line 1, column 40: the file is cut short", "the end"}},
		"not to be read":   {commands{ran: runner.Ran{Files: []runner.File{{Name: "/src/a.sarif", Err: errors.New("it is gone")}}}}, runner.Failed, runner.ClassUser, []string{"report /src/a.sarif: it is gone"}},
		"outside":          {commands{ran: runner.Ran{Files: []runner.File{{Name: "/src/a.sarif", Data: sarifOf("lint", resultAt("r", "/etc/passwd", "1"))}}}}, runner.Failed, runner.ClassUser, []string{`path "/etc/passwd"`}},
		"could not be run": {commands{bad: &broken}, runner.Errored, runner.ClassInfra, []string{"no daemon"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := scan.New(&store{}, c.commands).Run(t.Context(), runner.Task{ID: "scan/api/lint", Workspace: plant(t, files), Work: work}, &runnertest.Recorder{})
			runnertest.Want(t, o, c.kind, c.class)
			contains(t, o.Message, c.want...)
		})
	}
}

// TestCommand runs a tool in a container of a stage.
func TestCommand(t *testing.T) {
	f := buildkittest.Start(t)
	s := &store{}
	r := scan.New(s, testrun.New(f.Client))
	const dockerfile = buildkittest.Base + "WORKDIR /src\nCOPY services/api .\n"
	task := func(t *testing.T, command, report string) runner.Task {
		t.Helper()
		return runner.Task{
			ID: "scan/api/lint", Attempt: 1, Project: "shop", Service: "api", Commit: strings.Repeat("ab", 20),
			Work: runner.Scan{Name: "lint", Paths: []string{"services/api"}, Test: &runner.Test{
				Name: "lint", Run: command, Report: report,
				Build: runner.Build{Paths: []string{"services/api"}, Dockerfile: "services/api/Dockerfile", Target: "base", Platform: "linux/amd64"},
			}},
			Workspace: buildkittest.Workspace(t, map[string]string{
				"services/api/Dockerfile": dockerfile, "services/api/main.go": "package main\n\nbad()\n",
				"services/api/report.in": string(sarifOf("lint", resultAt("r1", "main.go", "3"), resultAt("r2", "/src/main.go", "1"))),
			}),
		}
	}
	t.Run("findings", func(t *testing.T) {
		rec := &runnertest.Recorder{}
		o := r.Run(t.Context(), task(t, "mkdir out && cp report.in out/lint.sarif; echo it is bad; exit 1", "out/*.sarif"), rec)
		runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
		if o.Message != "2 findings: 2 high" || o.Result.Scan.High != 2 || o.Result.Scan.Tool != "lint" || len(s.blobs[o.Result.Scan.Report]) == 0 {
			t.Errorf("%s %+v", o.Message, o.Result.Scan)
		}
		contains(t, rec.Log(), "it is bad", "high services/api/main.go:1 r2: bad", "high services/api/main.go:3 r1: bad", "exit code 1")
	})
	t.Run("without a report", func(t *testing.T) {
		o := r.Run(t.Context(), task(t, "echo no such option; exit 2", "*.sarif"), &runnertest.Recorder{})
		runnertest.Want(t, o, runner.Failed, runner.ClassUser)
		contains(t, o.Message, "ended with exit code 2", "no file matches report: *.sarif", "no such option")
	})
	t.Run("cut short", func(t *testing.T) {
		o := r.Run(t.Context(), task(t, "head -c 60 report.in >lint.sarif; echo killed", "*.sarif"), &runnertest.Recorder{})
		runnertest.Want(t, o, runner.Failed, runner.ClassUser)
		contains(t, o.Message, "report /src/lint.sarif: line 1, column 60: the file is cut short", "killed")
	})
	t.Run("canceled", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		rec := &runnertest.Recorder{}
		running := rec.Logged(" going on")
		end := make(chan runner.Outcome, 1)
		work := task(t, "echo going on; sleep 1000", "*.sarif")
		go func() { end <- r.Run(ctx, work, rec) }()
		select {
		case <-running:
		case o := <-end:
			t.Fatalf("it ended: %s", o.Message)
		}
		cancel(runner.ErrCanceled)
		runnertest.Want(t, <-end, runner.Canceled, runner.ClassNone)
	})
}
