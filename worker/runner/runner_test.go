package runner_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
	"github.com/slipway-build/slipway/worker/runner/testreport"
)

func TestByKindSaysWhatIsMissing(t *testing.T) {
	m := runner.ByKind{}
	runnertest.Want(t, m.Run(t.Context(), runner.Task{ID: "build/api", Work: runner.Build{}}, &runnertest.Recorder{}), runner.Errored, runner.ClassInfra)
	runnertest.Want(t, m.Run(t.Context(), runner.Task{ID: "apply/api"}, &runnertest.Recorder{}), runner.Errored, runner.ClassInfra)
}

func TestInterrupted(t *testing.T) {
	for name, c := range map[string]struct {
		cause error
		kind  runner.OutcomeKind
		class runner.Class
	}{
		"user":     {runner.ErrCanceled, runner.Canceled, runner.ClassNone},
		"lost":     {runner.ErrLost, runner.Canceled, runner.ClassNone},
		"shutdown": {runner.ErrShutdown, runner.Errored, runner.ClassInfra},
		"unknown":  {errors.New("something else"), runner.Errored, runner.ClassInfra},
		"timeout":  {runner.ErrTimeout, runner.Failed, runner.ClassTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			if _, ok := runner.Interrupted(ctx); ok {
				t.Fatal("a context that lives was called interrupted")
			}
			cancel(c.cause)
			o, ok := runner.Interrupted(ctx)
			if !ok {
				t.Fatal("not interrupted")
			}
			runnertest.Want(t, o, c.kind, c.class)
		})
	}
}

func TestTimeoutWinsOverWhatTheRunnerMadeOfIt(t *testing.T) {
	slow := runner.Func(func(ctx context.Context, _ runner.Task, _ runner.Report) runner.Outcome {
		<-ctx.Done()
		return runner.Fail("exit code 137")
	})
	task := runner.Task{ID: "test/api/unit", Timeout: time.Millisecond, Work: runner.Test{}}
	o := runner.Decorate(slow, runner.Timeout()).Run(t.Context(), task, &runnertest.Recorder{})
	runnertest.Want(t, o, runner.Failed, runner.ClassTimeout)
	if !strings.Contains(o.Message, "test/api/unit did not end within its time limit of 1ms") {
		t.Errorf("message: %s", o.Message)
	}
}

// TestTimeoutSaysWhatWasGoingOn: the step, and where the limit stands.
func TestTimeoutSaysWhatWasGoingOn(t *testing.T) {
	begin := time.Unix(1_700_000_000, 0)
	slow := runner.Func(func(ctx context.Context, _ runner.Task, _ runner.Report) runner.Outcome {
		<-ctx.Done()
		o := runner.Fail("context canceled")
		o.Steps = []runner.Step{
			{Name: "[1/3] FROM base", Started: begin, Finished: begin.Add(time.Second)},
			{Name: "[2/3] RUN lint || true", Started: begin, Finished: begin.Add(2 * time.Second), Error: "exit code 1"},
			{Name: "[3/3] RUN sleep infinity", Started: begin.Add(2 * time.Second), Finished: begin.Add(time.Minute), Error: "did not end"},
		}
		return o
	})
	task := runner.Task{ID: "build/api", Timeout: time.Millisecond, Work: runner.Build{}}
	o := runner.Decorate(slow, runner.Timeout()).Run(t.Context(), task, &runnertest.Recorder{})
	runnertest.Want(t, o, runner.Failed, runner.ClassTimeout)
	want := "build/api did not end within its time limit of 1ms: time limit exceeded\n" +
		"    during [3/3] RUN sleep infinity, which had been going on for 58s\n" +
		"    if it needs longer, raise timeout of the build in slipway.yaml"
	if o.Message != want {
		t.Errorf("got  %s\nwant %s", o.Message, want)
	}
}

func TestRecover(t *testing.T) {
	broken := runner.Func(func(context.Context, runner.Task, runner.Report) runner.Outcome { panic("oh") })
	o := runner.Decorate(broken, runner.Recover(slog.New(slog.DiscardHandler))).Run(t.Context(), runner.Task{}, &runnertest.Recorder{})
	runnertest.Want(t, o, runner.Errored, runner.ClassInfra)
}

func TestTracingHandsOnTheAttemptsSpan(t *testing.T) {
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	look := runner.Func(func(ctx context.Context, _ runner.Task, _ runner.Report) runner.Outcome {
		if got := trace.SpanContextFromContext(ctx).TraceID().String(); got != id {
			return runner.Fail("trace %s", got)
		}
		return runner.Outcome{Kind: runner.Succeeded}
	})
	task := runner.Task{Traceparent: "00-" + id + "-00f067aa0ba902b7-01"}
	runnertest.Want(t, runner.Decorate(look, runner.Tracing()).Run(t.Context(), task, &runnertest.Recorder{}), runner.Succeeded, runner.ClassNone)
}

func TestMetricsHaveNoLabelOfARun(t *testing.T) {
	reg := prometheus.NewRegistry()
	m, err := runner.NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	r := runner.Decorate(runner.Func(func(context.Context, runner.Task, runner.Report) runner.Outcome { return runner.Fail("no") }), m.Observe())
	for range 3 {
		r.Run(t.Context(), runner.Task{Run: "shop-1", Work: runner.Build{}}, &runnertest.Recorder{})
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if n := len(f.GetMetric()); n != 1 {
			t.Errorf("%d series of %s, want 1", n, f.GetName())
		}
	}
}

func TestRedact(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		secrets := []string{"hunter2hunter3", "hunter2", "s3cr3t"}
		var log strings.Builder
		for range rapid.IntRange(1, 8).Draw(rt, "pieces") {
			log.WriteString(rapid.SampledFrom(append(secrets, "hun", "ter2", "plain ", "s3", "\n")).Draw(rt, "piece"))
		}
		text := log.String()
		chatty := runner.Func(func(_ context.Context, _ runner.Task, r runner.Report) runner.Outcome {
			for rest := text; rest != ""; {
				n := rapid.IntRange(1, len(rest)).Draw(rt, "write")
				_, _ = r.Write([]byte(rest[:n]))
				rest = rest[n:]
			}
			return runner.Outcome{
				Kind: runner.Failed, Message: text, Steps: []runner.Step{{Name: text, Error: text}},
				Result: runner.Result{Tests: &testreport.Summary{Failures: []testreport.Case{{Output: text}}}},
			}
		})
		rec := &runnertest.Recorder{}
		o := runner.Decorate(chatty, runner.Redact(append(secrets, "abc"))).Run(context.Background(), runner.Task{}, rec)
		for _, shown := range []string{rec.Log(), o.Message, o.Steps[0].Name, o.Steps[0].Error, o.Result.Tests.Failures[0].Output} {
			for _, s := range secrets {
				if strings.Contains(shown, s) {
					rt.Fatalf("%q shows %q", shown, s)
				}
			}
		}
		if !strings.Contains(text, "hunter2") && !strings.Contains(text, "s3cr3t") && rec.Log() != text {
			rt.Fatalf("log %q became %q", text, rec.Log())
		}
	})
}
