package run_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/plan/plantest"
	"github.com/slipway-build/slipway/coordinator/run"
)

// underTest is a run whose only test may begin.
func underTest(t *testing.T, budgets ...int) (w *world, test *run.Task, must func(error)) {
	t.Helper()
	p := plantest.Shop("shop", 1, 1, nil)
	spec, _ := p.Find("test/s0/0")
	for i, budget := range []*int{&spec.Flaky, &spec.Infra, &spec.RetryTimeout, &spec.RetryOOM} {
		if i < len(budgets) {
			*budget = budgets[i]
		}
	}
	w, err := begin(p)
	must = func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(err)
	must(w.settle())
	for _, id := range []string{"checkout", "build/s0"} {
		task, _ := w.r.Find(id)
		must(w.start(task))
		if task.Current() != nil {
			must(w.finish(task, run.OutcomeSucceeded, false, false))
		}
		must(w.settle())
	}
	test, _ = w.r.Find("test/s0/0")
	return w, test, must
}

// TestBudgets: each kind of end has a budget of its own, and a test that failed before it
// passed is flaky.
func TestBudgets(t *testing.T) {
	for _, c := range []struct {
		flaky, infra, timeout, oom int

		ends string // of attempts: f failed, t time limit, o out of memory, e errored, l lost, s succeeded
		want string
	}{
		{0, 0, 0, 0, "f", "failed user: attempt 1"},
		{0, 0, 0, 0, "s", "succeeded : attempt 1"},
		{1, 0, 0, 0, "fs", "succeeded flaky: passed in attempt 2; attempt 1 failed: attempt 1"},
		{2, 0, 0, 0, "ffs", "succeeded flaky: passed in attempt 3; attempt 2 failed: attempt 2"},
		{1, 0, 0, 0, "ff", "failed user: attempt 2 (gave up after 2 attempts)"},
		{2, 1, 0, 0, "fefs", "succeeded flaky: passed in attempt 4; attempt 3 failed: attempt 3"},
		{1, 1, 0, 0, "eefs", "errored infra: attempt 2 (gave up after 2 attempts)"},
		{1, 2, 0, 0, "elefs", "succeeded flaky: passed in attempt 5; attempt 4 failed: attempt 4"},
		{5, 0, 0, 0, "t", "failed timeout: attempt 1"},
		{5, 0, 0, 0, "fo", "failed oom: attempt 2"},
		{0, 0, 1, 0, "ts", "succeeded flaky: passed in attempt 2; attempt 1 failed: attempt 1"},
		{0, 0, 1, 0, "tt", "failed timeout: attempt 2 (gave up after 2 attempts)"},
		{0, 0, 1, 0, "o", "failed oom: attempt 1"},
		{0, 0, 0, 2, "ooo", "failed oom: attempt 3 (gave up after 3 attempts)"},
		{0, 0, 3, 3, "f", "failed user: attempt 1"},
		{1, 1, 1, 1, "toefs", "succeeded flaky: passed in attempt 5; attempt 4 failed: attempt 4"},
		{1, 1, 1, 1, "toeft", "failed timeout: attempt 5 (gave up after 5 attempts)"},
	} {
		w, test, must := underTest(t, c.flaky, c.infra, c.timeout, c.oom)
		for i, end := range c.ends {
			if test.State.Ended() {
				break
			}
			must(w.start(test))
			a := *test.Current()
			a.FinishedAt, a.Message = w.at, fmt.Sprint("attempt ", i+1)
			a.Outcome = map[rune]run.Outcome{'f': run.OutcomeFailed, 't': run.OutcomeFailed, 'o': run.OutcomeFailed, 'e': run.OutcomeErrored, 'l': run.OutcomeLost, 's': run.OutcomeSucceeded}[end]
			a.Class = map[rune]run.Class{'f': run.ClassUser, 't': run.ClassTimeout, 'o': run.ClassOOM, 'e': run.ClassInfra}[end]
			must(w.emit(w.r.Finish(test, run.Report{Attempt: a}, w.at)...))
		}
		if got := fmt.Sprintf("%s %s: %s", test.State, test.Class, strings.Join(strings.Fields(test.Message), " ")); got != c.want {
			t.Errorf("flaky %d, infra %d, %s: %q, want %q", c.flaky, c.infra, c.ends, got, c.want)
		}
	}
}

// TestARevokedTestIsNotTriedAgain: who cancels a run does not wait for its flaky tests.
func TestARevokedTestIsNotTriedAgain(t *testing.T) {
	w, test, must := underTest(t, 3, 0)
	must(w.start(test))
	must(w.emit(w.r.Cancel("canceled")...))
	must(w.settle())
	must(w.finish(test, run.OutcomeFailed, false, false))
	if test.State != run.TaskFailed {
		t.Errorf("%s: %s", test.State, test.Message)
	}
}

// TestBackoff: the pause before the next try grows, and is bounded; a test that said no
// waits for nothing.
func TestBackoff(t *testing.T) {
	for class, want := range map[run.Class][]int{
		run.ClassTimeout: {1, 2, 4, 8, 16, 30, 30, 30},
		run.ClassOOM:     {1, 2, 4, 8, 16, 30, 30, 30},
		run.ClassInfra:   {1, 2, 4, 8, 16, 30, 30, 30},
		run.ClassUser:    {0, 0, 0, 0, 0, 0, 0, 0},
	} {
		w, test, must := underTest(t, 10, 10, 10, 10)
		for i, pause := range want {
			must(w.start(test))
			a := *test.Current()
			a.Class, a.FinishedAt, a.Outcome = class, w.at, run.OutcomeFailed
			if class == run.ClassInfra {
				a.Outcome = run.OutcomeErrored
			}
			now := w.at
			must(w.emit(w.r.Finish(test, run.Report{Attempt: a}, now)...))
			if got := test.NotBefore.Sub(now) / time.Second; int(got) != pause {
				t.Errorf("%s, attempt %d: the next one waits %d s, want %d", class, i+1, got, pause)
			}
		}
	}
}

// TestQuarantine: a test is excused when all that failed is in quarantine and it named all of it, before it is
// tried again; what was excused stands for nothing.
func TestQuarantine(t *testing.T) {
	a, b, c := plan.TestName{Suite: "s", Name: "a"}, plan.TestName{Name: "b"}, plan.TestName{Suite: "s", Name: "c"}
	for name, x := range map[string]struct {
		failed []plan.TestName
		count  int // 0: as many as are named
		class  run.Class
		want   string
	}{
		"one":                   {[]plan.TestName{a}, 0, run.ClassUser, "succeeded flaky: s a failed, which is in quarantine; the other 8 did not"},
		"all":                   {[]plan.TestName{a, b}, 0, run.ClassUser, "succeeded flaky: 2 of 9 failed, all of which are in quarantine: s a and 1 more"},
		"another one, too":      {[]plan.TestName{a, c}, 0, run.ClassUser, "failed user: exit code 1"},
		"the name alone is its": {[]plan.TestName{{Name: "a"}}, 0, run.ClassUser, "failed user: exit code 1"},
		"not all are named":     {[]plan.TestName{a, b}, 3, run.ClassUser, "failed user: exit code 1"},
		"of a log":              {[]plan.TestName{a}, -1, run.ClassUser, "failed user: exit code 1"},
		"none is named":         {nil, 0, run.ClassUser, "failed user: exit code 1"},
		"the time was over":     {[]plan.TestName{a}, 0, run.ClassTimeout, "failed timeout: exit code 1"},
		"the memory was":        {[]plan.TestName{a}, 0, run.ClassOOM, "failed oom: exit code 1"},
	} {
		w, test, must := underTest(t)
		spec, _ := w.r.Plan.Find(test.Spec.ID)
		spec.Digest, spec.Quarantine = "d", &plan.Quarantine{Cases: []plan.TestName{b, a}}
		must(w.start(test))
		rep := run.Report{Attempt: *test.Current(), Result: plan.Result{Tests: &plan.TestSummary{Total: 9, Failed: max(x.count, len(x.failed)), Partial: x.count < 0}}}
		rep.Attempt.Outcome, rep.Attempt.Class, rep.Attempt.Message, rep.Attempt.FinishedAt = run.OutcomeFailed, x.class, "exit code 1", w.at
		for _, n := range x.failed {
			rep.Result.Tests.Failures = append(rep.Result.Tests.Failures, plan.TestCase{Suite: n.Suite, Name: n.Name})
		}
		events := w.r.Finish(test, rep, w.at)
		done, ok := events[len(events)-1].(run.TaskFinished)
		must(w.emit(events...))
		if got := fmt.Sprintf("%s %s: %s", test.State, test.Class, test.Message); !ok || got != x.want || done.Digest != "" {
			t.Errorf("%s: %s, digest %q; want %s", name, got, done.Digest, x.want)
		}
		if got := test.Attempts[0].Failed; len(got) != len(x.failed) {
			t.Errorf("%s: the attempt says that %v failed", name, got)
		}
	}
}

// TestGather: shards add up if there are any and they listed the same; what passed because of a quarantine stands for nothing.
func TestGather(t *testing.T) {
	for name, c := range map[string]struct {
		shards []*plan.TestSummary
		want   string
	}{
		"two":            {[]*plan.TestSummary{{Total: 3, Passed: 2, Skipped: 1, Listed: "a"}, {Total: 1, Passed: 1, Listed: "a"}}, "succeeded 3/4 d: "},
		"nothing listed": {[]*plan.TestSummary{{Total: 3, Passed: 3}, {Total: 1, Passed: 1}}, "succeeded 4/4 d: "},
		"nothing told":   {[]*plan.TestSummary{nil, nil}, "succeeded 0/0 d: "},
		"other lists":    {[]*plan.TestSummary{{Total: 3, Listed: "a"}, {Total: 1, Listed: "b"}}, "errored 0/0 : the shards did not list the same, so that some of it may be tested by none: make list print the same each time"},
		"quarantine":     {[]*plan.TestSummary{{Total: 3, Passed: 2, Failed: 1, Failures: []plan.TestCase{{Name: "x"}}}, {Total: 1, Passed: 1}}, "succeeded 3/4 : x failed, which is in quarantine; the other 3 did not"},
		"no names":       {[]*plan.TestSummary{{Total: 3, Passed: 2, Failed: 1}}, "succeeded 2/3 : 1 of 3 failed, all of which are in quarantine"},
		"no shards":      {nil, "errored 0/0 : the plan has no shards that could be added up; this is a defect: please report it"},
	} {
		p := &plan.Plan{Tasks: []plan.Task{{ID: "checkout", Kind: plan.KindCheckout}}}
		gather := plan.Task{ID: "test/a/t", Kind: plan.KindGather, Digest: "d", Needs: []string{"checkout"}}
		for i := range c.shards {
			id := fmt.Sprintf("test/a/t/%dof%d", i+1, len(c.shards))
			p.Tasks = append(p.Tasks, plan.Task{ID: id, Kind: plan.KindTest, Can: plan.CapabilityBuild, Needs: []string{"checkout"}})
			gather.Needs = append(gather.Needs, id)
		}
		p.Tasks = append(p.Tasks, gather)
		w, err := begin(p)
		if err != nil {
			t.Fatal(err)
		}
		for i, id := range gather.Needs {
			done := run.TaskFinished{Run: w.r.ID, Task: id, State: run.TaskSucceeded}
			if i > 0 {
				done.Result.Tests, done.Result.Artifacts = c.shards[i-1], []plan.Artifact{{Name: "shots", Digest: id}}
			}
			if err := w.emit(done); err != nil {
				t.Fatal(err)
			}
		}
		task, _ := w.r.Find("test/a/t")
		done, ok := w.r.Gather(task)[0].(run.TaskFinished)
		sum := done.Result.Tests
		if sum == nil {
			sum = &plan.TestSummary{}
		}
		if got := fmt.Sprintf("%s %d/%d %s: %s", done.State, sum.Passed, sum.Total, done.Digest, done.Message); !ok || got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		for i, a := range done.Result.Artifacts {
			if want := (plan.Artifact{Name: fmt.Sprintf("shots.%dof%d", i+1, len(c.shards)), Digest: gather.Needs[i+1]}); a != want {
				t.Errorf("%s: artifact %+v, want %+v", name, a, want)
			}
		}
		if n := len(done.Result.Artifacts); done.State == run.TaskSucceeded && n != len(c.shards) {
			t.Errorf("%s: %d artifacts", name, n)
		}
	}
}
