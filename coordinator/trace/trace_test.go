package trace_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/trace"
	"github.com/slipway-build/slipway/internal/span"
)

// anyRun draws a run in any state, with clocks that disagree and steps of equal names.
func anyRun(t *rapid.T) *run.Run {
	base := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	at := func(label string) time.Time {
		return base.Add(time.Duration(rapid.IntRange(0, 1000).Draw(t, label)) * time.Millisecond)
	}
	r := &run.Run{
		ID: "shop-1", Project: "shop", Commit: "c", AcceptedAt: base, FinishedAt: at("finished"), Message: "m\nn",
		State: rapid.SampledFrom([]run.State{run.Running, run.Stopping, run.Succeeded, run.Failed, run.Canceled}).Draw(t, "state"),
	}
	r.TraceID = trace.ID(r.Project, r.Commit, r.ID)
	states := []run.TaskState{run.TaskPending, run.TaskReady, run.TaskLeased, run.TaskRunning, run.TaskSucceeded, run.TaskReused, run.TaskFailed, run.TaskErrored, run.TaskCanceled, run.TaskSkipped}
	outcomes := []run.Outcome{run.OutcomeSucceeded, run.OutcomeFailed, run.OutcomeErrored, run.OutcomeCanceled, run.OutcomeLost}
	for i := range rapid.IntRange(0, 8).Draw(t, "tasks") {
		task := &run.Task{Spec: &plan.Task{ID: fmt.Sprintf("build/%d", i), Kind: plan.KindBuild}, State: rapid.SampledFrom(states).Draw(t, "task state"), FinishedAt: at("task finished")}
		if rapid.Bool().Draw(t, "was ready") {
			task.ReadyAt = at("ready")
		}
		for n := range rapid.IntRange(0, 3).Draw(t, "attempts") {
			a := run.Attempt{Number: n + 1, LeasedAt: at("leased"), FinishedAt: at("attempt finished"), Outcome: rapid.SampledFrom(outcomes).Draw(t, "outcome")}
			for range rapid.IntRange(0, 4).Draw(t, "steps") {
				a.Steps = append(a.Steps, run.Step{
					Name: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "step"), StartedAt: at("step start"), FinishedAt: at("step end"),
					Attributes: map[string]string{"z": "1", "y": "2", "x": "3"},
				})
			}
			task.Attempts = append(task.Attempts, a)
		}
		r.Tasks = append(r.Tasks, task)
	}
	return r
}

func TestOneRootAndNoOrphans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRun(t)
		all := trace.All(r)
		ids, roots := map[span.ID]bool{}, 0
		for _, s := range all {
			if ids[s.ID] {
				t.Fatalf("span id of %q is used twice", s.Name)
			}
			ids[s.ID] = true
			if s.Trace.String() != r.TraceID {
				t.Fatalf("%q is in trace %s, not %s", s.Name, s.Trace, r.TraceID)
			}
			if s.End.Before(s.Start) || s.Start.IsZero() {
				t.Fatalf("%q goes from %s to %s", s.Name, s.Start, s.End)
			}
			if !slices.IsSortedFunc(s.Attributes, func(a, b span.Attribute) int { return cmpString(a.Key, b.Key) }) {
				t.Fatalf("attributes of %q are not sorted: %v", s.Name, s.Attributes)
			}
			if s.Parent == (span.ID{}) {
				roots++
			}
		}
		for _, s := range all {
			if s.Parent != (span.ID{}) && !ids[s.Parent] {
				t.Fatalf("%q is an orphan", s.Name)
			}
		}
		if roots != 1 {
			t.Fatalf("%d roots", roots)
		}
		if diff := cmp.Diff(all, trace.All(r)); diff != "" {
			t.Fatalf("the second time (-first +second):\n%s", diff)
		}
		for _, task := range r.Tasks {
			if got := len(trace.Task(r, task)) > 0; got != task.State.Ended() {
				t.Fatalf("task %s in state %s has spans: %t", task.Spec.ID, task.State, got)
			}
		}
	})
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func TestTask(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2026, 11, 1, 12, 0, s, 0, time.UTC) }
	r := &run.Run{ID: "shop-1", Project: "shop", Commit: "c", TraceID: trace.ID("shop", "c", "shop-1"), AcceptedAt: at(0)}
	task := &run.Task{
		Spec:  &plan.Task{ID: "test/api/unit", Kind: plan.KindTest, Service: "api", Can: plan.CapabilityBuild},
		State: run.TaskFailed, Class: run.ClassUser, Message: "2 tests failed\nTestPrice", ReadyAt: at(1), FinishedAt: at(9),
		Attempts: []run.Attempt{
			{Number: 1, Worker: "w1", LeasedAt: at(2), FinishedAt: at(4), Outcome: run.OutcomeLost, Class: run.ClassInfra},
			{Number: 2, Worker: "w2", LeasedAt: at(6), FinishedAt: at(9), Outcome: run.OutcomeFailed, Class: run.ClassUser, Steps: []run.Step{{Name: "RUN go test", Kind: "vertex", StartedAt: at(7), FinishedAt: at(8)}}},
		},
	}
	var got []string
	spans := trace.Task(r, task)
	for _, s := range spans {
		got = append(got, fmt.Sprintf("%s %d-%d failed=%t", s.Name, s.Start.Second(), s.End.Second(), s.Failed))
	}
	want := []string{
		"test/api/unit 1-9 failed=true", "queue 1-2 failed=false", "attempt 1 2-4 failed=true", "queue 4-6 failed=false", "attempt 2 6-9 failed=true", "RUN go test 7-8 failed=false",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if want := "00-" + r.TraceID + "-" + spans[4].ID.String() + "-01"; trace.Traceparent(r.TraceID, "test/api/unit", 2) != want {
		t.Errorf("a worker's spans do not become children of its attempt")
	}
	if spans[0].Message != "2 tests failed" {
		t.Errorf("message %q", spans[0].Message)
	}
	if got := trace.Traceparent("nonsense", "x", 1); got != "" {
		t.Errorf("traceparent of a nonsense trace: %q", got)
	}
}
