package testrun_test

import (
	"context"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
	"github.com/slipway-build/slipway/worker/runner/buildkit/buildkittest"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
	"github.com/slipway-build/slipway/worker/runner/testrun"
)

const stages = buildkittest.Base + `WORKDIR /src
ENV FROM_STAGE=yes
COPY services/api .
FROM base AS unit
RUN echo testing
FROM base AS last
`

const junit = `<testsuite name="money"><testcase name="adds"/><testcase name="rounds"><failure>want 2, got 3</failure></testcase></testsuite>`

func task(t *testing.T, edit func(*runner.Test)) runner.Task {
	t.Helper()
	w := runner.Test{
		Name: "unit", Run: "true",
		Build: runner.Build{Paths: []string{"services/api"}, Dockerfile: "services/api/Dockerfile", Target: "base", Platform: "linux/amd64"},
	}
	edit(&w)
	return runner.Task{
		ID: "test/api/unit", Attempt: 1, Project: "shop", Service: "api", Commit: strings.Repeat("ab", 20), Work: w,
		Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		Workspace: buildkittest.Workspace(t, map[string]string{
			"services/api/Dockerfile": stages, "services/api/junit.xml.in": junit,
			"services/api/good.xml.in": `<testsuite><testcase name="adds"/></testsuite>`,
		}),
	}
}

func command(run string) func(*runner.Test) {
	return func(w *runner.Test) { w.Run = run }
}

func TestConformance(t *testing.T) {
	f := buildkittest.Start(t)
	suite := func(t *testing.T, succeeds, fails, endless func(*runner.Test)) {
		t.Helper()
		runnertest.Conform(t, runnertest.Cases{
			Runner:   testrun.New(f.Client),
			Succeeds: func() runner.Task { return task(t, succeeds) },
			Fails:    func() runner.Task { return task(t, fails) },
			Endless:  func() runner.Task { return task(t, endless) },
			Sign:     " going on",
		})
	}
	t.Run("command", func(t *testing.T) {
		suite(t, command("echo fine"), command("echo no; exit 4"), command("echo going on; sleep 1000"))
	})
}

func TestCommand(t *testing.T) {
	f := buildkittest.Start(t)
	r := testrun.New(f.Client)
	run := func(t *testing.T, edit func(*runner.Test)) (runner.Outcome, string) {
		t.Helper()
		rec := &runnertest.Recorder{}
		o := r.Run(t.Context(), task(t, edit), rec)
		return o, rec.Log()
	}
	contains := func(t *testing.T, text string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("no %q in:\n%s", w, text)
			}
		}
	}
	t.Run("environment", func(t *testing.T) {
		o, log := run(t, func(w *runner.Test) {
			w.Run = `echo "$PWD $FROM_STAGE $MINE $TRACEPARENT $CI"`
			w.Env = map[string]string{"MINE": "set"}
		})
		runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
		contains(t, log, "/src yes set 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 true", "[test unit] ")
	})
	t.Run("failing JUnit", func(t *testing.T) {
		o, _ := run(t, func(w *runner.Test) {
			w.Run, w.Report = "mkdir -p out/deep && cp junit.xml.in out/deep/junit.xml; exit 1", "**/junit.xml"
		})
		runnertest.Want(t, o, runner.Failed, runner.ClassUser)
		contains(t, o.Message, "test/api/unit: 1 of 2 tests failed", "✗ money rounds", "want 2, got 3", "exit code 1")
		if s := o.Result.Tests; s == nil || s.Total != 2 || s.Failed != 1 {
			t.Errorf("tests: %+v", s)
		}
	})
	t.Run("passing JUnit", func(t *testing.T) {
		o, _ := run(t, func(w *runner.Test) { w.Run, w.Report = "cp good.xml.in report.xml", "report.xml" })
		runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
		contains(t, o.Message, "1 of 1 tests passed")
	})
	t.Run("report says no, exit code yes", func(t *testing.T) {
		o, _ := run(t, func(w *runner.Test) { w.Run, w.Report = "cp junit.xml.in junit.xml; exit 0", "*.xml" })
		runnertest.Want(t, o, runner.Failed, runner.ClassUser)
		contains(t, o.Message, "its report says otherwise")
	})
	t.Run("go test events without a report", func(t *testing.T) {
		o, _ := run(t, command(`echo '{"Action":"output","Package":"shop/money","Test":"TestRound","Output":"got 3, want 2\n"}
{"Action":"fail","Package":"shop/money","Test":"TestRound"}'; exit 1`))
		runnertest.Want(t, o, runner.Failed, runner.ClassUser)
		contains(t, o.Message, "✗ shop/money TestRound", "got 3, want 2")
	})
	t.Run("no report where one was promised", func(t *testing.T) {
		o, _ := run(t, func(w *runner.Test) { w.Report = "**/nothing.xml" })
		runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
		contains(t, o.Message, "no file matches report: **/nothing.xml")
	})
	t.Run("bad report", func(t *testing.T) {
		o, _ := run(t, func(w *runner.Test) { w.Run, w.Report = "echo '<testsuite><testc' > r.xml", "r.xml" })
		runnertest.Want(t, o, runner.Failed, runner.ClassUser)
		contains(t, o.Message, "report /src/r.xml: line 2, column ")
	})
	t.Run("exit code alone", func(t *testing.T) {
		o, _ := run(t, command("echo the reason >&2; exit 7"))
		runnertest.Want(t, o, runner.Failed, runner.ClassUser)
		contains(t, o.Message, "exit code 7", "the reason")
	})
	t.Run("killed", func(t *testing.T) {
		o, _ := run(t, command("sh -c 'kill -9 $$'; exit $?"))
		runnertest.Want(t, o, runner.Failed, runner.ClassOOM)
	})
	t.Run("runs every time", func(t *testing.T) {
		for range 2 {
			if _, log := run(t, command("echo made at $(date)")); !strings.Contains(log, "made at") {
				t.Errorf("it did not run:\n%s", log)
			}
		}
	})
	t.Run("unknown stage", func(t *testing.T) {
		o, _ := run(t, func(w *runner.Test) { w.Build.Target = "nowhere" })
		runnertest.Want(t, o, runner.Failed, runner.ClassUser)
		contains(t, o.Message, `"nowhere"`)
	})
	t.Run("no shell", func(t *testing.T) {
		work := task(t, command("true"))
		w := work.Work.(runner.Test)
		w.Build.Dockerfile, w.Build.Target = "Dockerfile", ""
		work.Work = w
		work.Workspace = buildkittest.Workspace(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
		o := r.Run(t.Context(), work, &runnertest.Recorder{})
		runnertest.Want(t, o, runner.Failed, runner.ClassUser)
		contains(t, o.Message, "/bin/sh")
	})
}

func TestStage(t *testing.T) {
	f := buildkittest.Start(t)
	r := testrun.New(f.Client)
	stage := func(dockerfile, report string) (runner.Outcome, string) {
		work := task(t, func(w *runner.Test) { w.Run, w.Build.Target, w.Report = "", "unit", report })
		work.Workspace = buildkittest.Workspace(t, map[string]string{"services/api/Dockerfile": dockerfile, "junit.xml.in": junit})
		rec := &runnertest.Recorder{}
		return r.Run(t.Context(), work, rec), rec.Log()
	}
	t.Run("passes, every time anew", func(t *testing.T) {
		for range 2 {
			o, log := stage(buildkittest.Base+"FROM base AS unit\nRUN echo '--- PASS: TestAdd (0.00s)'\n", "")
			runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
			if !strings.Contains(log, "--- PASS: TestAdd") {
				t.Errorf("the stage was answered from the cache:\n%s", log)
			}
			if o.Result.Tests.Passed != 1 {
				t.Errorf("tests: %+v", o.Result.Tests)
			}
		}
	})
	t.Run("fails", func(t *testing.T) {
		o, _ := stage(buildkittest.Base+"FROM base AS unit\nRUN echo '--- FAIL: TestRound (0.00s)'; echo '    got 3'; exit 1\n", "")
		runnertest.Want(t, o, runner.Failed, runner.ClassUser)
		for _, want := range []string{"✗ TestRound", "got 3", "services/api/Dockerfile:5: "} {
			if !strings.Contains(o.Message, want) {
				t.Errorf("no %q in:\n%s", want, o.Message)
			}
		}
	})
	t.Run("with a report", func(t *testing.T) {
		o, _ := stage(buildkittest.Base+"FROM base AS unit\nWORKDIR /w\nCOPY junit.xml.in r/junit.xml\nRUN true\n", "r/*.xml")
		runnertest.Want(t, o, runner.Failed, runner.ClassUser)
		if o.Result.Tests.Total != 2 {
			t.Errorf("tests: %+v", o.Result.Tests)
		}
	})
}

// TestDaemonLostWhileTheCommandRuns: neither one that is killed nor one that hangs is a failure of the test.
func TestDaemonLostWhileTheCommandRuns(t *testing.T) {
	t.Run("killed", func(t *testing.T) { lost(t, syscall.SIGKILL, "the connection to BuildKit was lost while the test ran") })
	t.Run("hung", func(t *testing.T) {
		lost(t, syscall.SIGSTOP, "has left a question unanswered for 3s; it may be overloaded")
	})
}

func lost(t *testing.T, how syscall.Signal, want string) {
	t.Helper()
	f := buildkittest.Start(t)
	client := f.Dial(t, buildkit.Config{Patience: 3 * time.Second})
	rec := &runnertest.Recorder{}
	running := rec.Logged(" going on")
	end := make(chan runner.Outcome, 1)
	work := task(t, command("echo going on; sleep 1000"))
	go func() { end <- testrun.New(client).Run(t.Context(), work, rec) }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	select {
	case <-running:
	case <-ctx.Done():
		t.Fatalf("the command did not start:\n%s", rec.Log())
	}
	if err := syscall.Kill(f.Daemon.PID(), how); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(f.Daemon.PID(), syscall.SIGCONT) }()
	select {
	case o := <-end:
		runnertest.Want(t, o, runner.Errored, runner.ClassInfra)
		if !strings.Contains(o.Message, want) {
			t.Errorf("message: %s", o.Message)
		}
	case <-ctx.Done():
		t.Fatal("the runner did not notice")
	}
}

// TestShards: each is given its part of what the list names, in a file; together they are given all
// of it, and what was measured before decides who has what.
func TestShards(t *testing.T) {
	f := buildkittest.Start(t)
	r := testrun.New(f.Client)
	run := func(t *testing.T, s runner.Shard, edit func(*runner.Test)) (runner.Outcome, string) {
		t.Helper()
		rec := &runnertest.Recorder{}
		o := r.Run(t.Context(), task(t, func(w *runner.Test) {
			w.Shard = &s
			edit(w)
		}), rec)
		return o, rec.Log()
	}
	names := func(o runner.Outcome) (out []string) {
		for _, i := range o.Result.Items {
			out = append(out, i.Name)
		}
		return out
	}
	const list = `echo not for the list >&2; printf 'c\na\n\nb\nd\n'`
	reports := func(w *runner.Test) {
		w.Report = "junit.xml"
		w.Run = `(echo "<testsuites>"; for t in $(cat $SLIPWAY_TESTS); do echo "<testsuite name='$t'><testcase name='x' time='2'/></testsuite>"; done; echo "</testsuites>") >junit.xml; echo "given $(tr '\n' ' ' <$SLIPWAY_TESTS)"`
	}
	t.Run("not measured", func(t *testing.T) {
		var all []string
		for n := 1; n <= 3; n++ {
			o, log := run(t, runner.Shard{Number: n, Of: 3, List: list}, reports)
			runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
			mine := names(o)
			for _, want := range []string{"given " + strings.Join(mine, " "), "of 4 tests; none was measured before", "not for the list"} {
				if !strings.Contains(log, want) {
					t.Errorf("shard %d: no %q in\n%s", n, want, log)
				}
			}
			if o.Result.Tests.Total != len(mine) || o.Result.Items[0].Took < 2*time.Second {
				t.Errorf("shard %d: %d cases, items %v", n, o.Result.Tests.Total, o.Result.Items)
			}
			all = append(all, mine...)
		}
		if slices.Sort(all); strings.Join(all, " ") != "a b c d" {
			t.Errorf("the shards were given %v", all)
		}
	})
	t.Run("measured", func(t *testing.T) {
		usual := map[string]time.Duration{"a": time.Second, "b": time.Second, "c": 9 * time.Second, "d": time.Second}
		o, log := run(t, runner.Shard{Number: 1, Of: 2, List: list, Usual: usual}, reports)
		if got := names(o); strings.Join(got, " ") != "c" || !strings.Contains(log, "shard 1 of 2 is given 1 of 4 tests; all were measured before") {
			t.Errorf("the first shard was given %v; log:\n%s", got, log)
		}
	})
	t.Run("fewer tests than shards", func(t *testing.T) {
		o, log := run(t, runner.Shard{Number: 5, Of: 5, List: list}, func(w *runner.Test) { w.Run = "echo everything is tested; exit 1" })
		runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
		if strings.Contains(log, "everything is tested") || !strings.Contains(o.Message, "fewer tests than shards") {
			t.Errorf("%s; log:\n%s", o.Message, log)
		}
	})
	t.Run("it cannot write into what it is given", func(t *testing.T) {
		o, _ := run(t, runner.Shard{Number: 1, Of: 1, List: list}, func(w *runner.Test) { w.Run = "echo x >>$SLIPWAY_TESTS" })
		runnertest.Want(t, o, runner.Failed, runner.ClassUser)
	})
	for command, want := range map[string]string{
		"true":                              "list: `true`: it named nothing to test; it must print what there is to test, each on a line",
		"echo a; echo broken >&2; false":    "list: `echo a; echo broken >&2; false` ended with exit code 1\nbroken",
		"yes a_long_name | head -c 5000000": "printed more than 4194304 bytes",
	} {
		t.Run(command, func(t *testing.T) {
			o, _ := run(t, runner.Shard{Number: 1, Of: 2, List: command}, reports)
			runnertest.Want(t, o, runner.Failed, runner.ClassUser)
			if !strings.Contains(o.Message, want) {
				t.Errorf("%s\nwant %s", o.Message, want)
			}
		})
	}
}
