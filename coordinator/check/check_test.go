package check_test

import (
	"testing"
	"time"

	"github.com/slipway-build/slipway/coordinator/check"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

// task is one of a run of the test's, at a state.
func task(id string, kind plan.Kind, service string, s run.TaskState, edits ...func(*run.Task)) *run.Task {
	t := &run.Task{Spec: &plan.Task{ID: id, Kind: kind, Service: service}, State: s, FinishedAt: time.Unix(100, 0)}
	for _, e := range edits {
		e(t)
	}
	return t
}

func says(message string) func(*run.Task) { return func(t *run.Task) { t.Message = message } }

func at(seconds int64) func(*run.Task) {
	return func(t *run.Task) { t.FinishedAt = time.Unix(seconds, 0) }
}

func covers(covered, total int64, before *plan.CoverageBefore) func(*run.Task) {
	return func(t *run.Task) { t.Result.Coverage = &plan.Coverage{Covered: covered, Total: total, Before: before} }
}

func tests(failed, total int) func(*run.Task) {
	return func(t *run.Task) {
		t.Result.Tests = &plan.TestSummary{Failed: failed, Total: total, Passed: total - failed}
	}
}

func in(env string) func(*run.Task) {
	return func(t *run.Task) { t.Spec.Target = &plan.Target{Environment: env} }
}

func tried(t *run.Task) { t.Attempts = []run.Attempt{{Number: 1}} }

func TestWhatARunMeans(t *testing.T) {
	build := func(s run.TaskState, edits ...func(*run.Task)) *run.Task {
		return task("build/api", plan.KindBuild, "api", s, edits...)
	}
	test := func(s run.TaskState, edits ...func(*run.Task)) *run.Task {
		return task("test/web/unit", plan.KindTest, "web", s, edits...)
	}
	verified := func(env string) *run.Task {
		return task("verified/"+env, plan.KindVerified, "", run.TaskSucceeded, in(env))
	}
	diff := func(env string, created, changed int) *run.Task {
		return task("diff/api@"+env, plan.KindDiff, "api", run.TaskSucceeded, in(env), func(t *run.Task) { t.Result.Diff = &plan.Diff{Created: created, Changed: changed, Unchanged: 7} })
	}
	for _, c := range []struct {
		name  string
		run   run.Run
		state check.State
		text  string
	}{
		{"accepted", run.Run{State: run.Running, Tasks: []*run.Task{build(run.TaskReady)}}, check.Pending, "accepted"},
		{"accepted, with results of others", run.Run{State: run.Running, Tasks: []*run.Task{build(run.TaskReused), test(run.TaskReady)}}, check.Pending, "1 reused; accepted"},
		{"begun", run.Run{State: run.Running, Tasks: []*run.Task{build(run.TaskRunning, tried), test(run.TaskPending)}}, check.Running, "nothing to do"},
		{"half way", run.Run{State: run.Running, Tasks: []*run.Task{build(run.TaskSucceeded, tried), test(run.TaskReady)}}, check.Running, "1 built"},
		{"being canceled", run.Run{State: run.Stopping, Message: "canceled by anna", Tasks: []*run.Task{build(run.TaskRunning, tried)}}, check.Running, "stopping: canceled by anna"},
		{"good", run.Run{State: run.Succeeded, Tasks: []*run.Task{build(run.TaskSucceeded), build(run.TaskSucceeded), build(run.TaskReused), test(run.TaskSucceeded), test(run.TaskReused)}}, check.Success, "2 built, 1 reused, 2 tests"},
		{"rolled out", run.Run{State: run.Succeeded, Tasks: []*run.Task{build(run.TaskSucceeded), test(run.TaskSucceeded), verified("staging"), verified("prod-eu"), verified("prod")}}, check.Success, "1 built, 1 test, rolled out to staging, prod-eu and prod"},
		{"coverage", run.Run{State: run.Succeeded, Tasks: []*run.Task{test(run.TaskSucceeded, covers(60, 100, &plan.CoverageBefore{Covered: 40, Total: 90})), test(run.TaskReused, covers(10, 100, nil))}}, check.Success, "2 tests, 35.0 % covered (+8.7)"},
		{"coverage that was not known", run.Run{State: run.Succeeded, Tasks: []*run.Task{test(run.TaskSucceeded, covers(60, 100, nil))}}, check.Success, "1 test, 60.0 % covered"},
		{"flaky", run.Run{State: run.Succeeded, Tasks: []*run.Task{test(run.TaskSucceeded, func(t *run.Task) { t.Class = run.ClassFlaky }), test(run.TaskSucceeded)}}, check.Success, "2 tests, 1 flaky"},
		{"compared", run.Run{State: run.Succeeded, Tasks: []*run.Task{build(run.TaskReused), diff("staging", 0, 0), diff("prod", 1, 2), diff("prod", 0, 3)}}, check.Success, "1 reused, would change nothing in staging, would change 6 objects in prod"},
		{"empty", run.Run{State: run.Succeeded}, check.Success, "nothing to do"},
		{"failed tests", run.Run{State: run.Failed, Message: "x", Tasks: []*run.Task{build(run.TaskSucceeded), test(run.TaskFailed, tests(2, 14), says("exit code 1"))}}, check.Failure, "1 built; web: 2 of 14 tests failed"},
		{"a failure that a task before it has not", run.Run{State: run.Failed, Tasks: []*run.Task{
			build(run.TaskErrored, at(1), says("no space")), test(run.TaskFailed, at(9), says("later")), test(run.TaskFailed, at(5), says("exit\n\tcode \x1b[31m1")), test(run.TaskSkipped),
		}}, check.Failure, "test/web/unit: exit code [31m1, and 1 more"},
		{"the farm broke", run.Run{State: run.Failed, Tasks: []*run.Task{build(run.TaskErrored, says("the disk is full")), test(run.TaskSkipped)}}, check.Error, "build/api: the disk is full"},
		{"without words", run.Run{State: run.Failed, Tasks: []*run.Task{build(run.TaskFailed)}}, check.Failure, "build/api: failed"},
		{"canceled", run.Run{State: run.Canceled, Message: "canceled by anna: wrong branch", Tasks: []*run.Task{build(run.TaskCanceled)}}, check.Canceled, "canceled by anna: wrong branch"},
	} {
		c.run.ID = "shop-1"
		got := check.Of(&c.run)
		if want := (check.Status{State: c.state, Summary: c.text, Run: "shop-1"}); got != want {
			t.Errorf("%s: %+v, want %+v", c.name, got, want)
		}
	}
}
