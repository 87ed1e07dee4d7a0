package project_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
)

var errNoPlan = errors.New("no such plan")

// state is a fold that a test adds to.
type state struct {
	*project.State
	t  *testing.T
	at time.Time
}

func begin(t *testing.T) *state {
	t.Helper()
	deploys := &plan.Plan{Tasks: []plan.Task{
		{ID: plan.BuildID("api"), Kind: plan.KindBuild, Can: plan.CapabilityBuild, Digest: "d1"},
		{ID: plan.RolloutID("prod"), Kind: plan.KindRollout, Target: &plan.Target{Environment: "prod"}},
	}}
	return &state{t: t, at: time.Unix(1_000_000, 0).UTC(), State: project.New(func(hash string) (*plan.Plan, error) {
		if hash != "deploys" {
			return nil, errNoPlan
		}
		return deploys, nil
	})}
}

func (s *state) apply(events ...run.Event) {
	s.t.Helper()
	for _, e := range events {
		s.at = s.at.Add(time.Second)
		if err := s.Apply(e, s.at); err != nil {
			s.t.Fatalf("%T: %v", e, err)
		}
	}
}

// accept begins the next run of a project.
func (s *state) accept(name, key string) *run.Run {
	s.t.Helper()
	n := s.Project(name).Next()
	id := fmt.Sprintf("%s-%d", name, n)
	s.apply(run.Accepted{Run: id, Number: n, Project: name, Ref: "main", Commit: "commit of " + id, PlanHash: "deploys", IdempotencyKey: key, RequestHash: "hash of " + key})
	r, ok := s.Run(id)
	if !ok {
		s.t.Fatalf("run %s was accepted and is not there", id)
	}
	return r
}

func (s *state) may(r *run.Run, environment string, want project.Enter, by string) {
	s.t.Helper()
	if got, who := s.Project(r.Project).MayEnter(r, environment); got != want || who != by {
		s.t.Errorf("%s may enter %s: %d because of %q, want %d because of %q", r.ID, environment, got, who, want, by)
	}
}

func TestOneRunAtATimeIsInAnEnvironment(t *testing.T) {
	s := begin(t)
	first, second, third := s.accept("shop", ""), s.accept("shop", ""), s.accept("shop", "")
	bank := s.accept("bank", "")
	s.may(second, "prod", project.EnterNow, "")
	s.apply(run.RolloutEntered{Run: second.ID, Environment: "prod"})
	s.may(first, "prod", project.EnterSuperseded, second.ID)
	s.may(second, "prod", project.EnterNow, "") // it is there
	s.may(third, "prod", project.EnterWait, second.ID)
	s.may(third, "dev", project.EnterNow, "")
	s.may(bank, "prod", project.EnterNow, "")
	s.apply(run.RolloutLeft{Run: second.ID, Environment: "prod"})
	s.may(first, "prod", project.EnterSuperseded, second.ID)
	s.may(third, "prod", project.EnterNow, "")
	s.apply(run.RolloutEntered{Run: third.ID, Environment: "prod"}, run.RolloutLeft{Run: second.ID, Environment: "prod"})
	s.may(third, "prod", project.EnterNow, "")
	fourth := s.accept("shop", "")
	s.may(fourth, "prod", project.EnterWait, third.ID) // who left twice did not free another's lock
}

func TestWhatRunsAddUpTo(t *testing.T) {
	s := begin(t)
	if p := s.Project("shop"); p.Next() != 1 || p.Green("main") != "" {
		t.Errorf("an empty project: next run %d, green %q", p.Next(), p.Green("main"))
	}
	r := s.accept("shop", "k")
	s.accept("bank", "")
	p := s.Project("shop")
	if k, ok := p.Key("k"); !ok || k != (project.Key{Run: r.ID, RequestHash: "hash of k", At: r.AcceptedAt}) {
		t.Errorf("key: %+v, %t", k, ok)
	}
	if _, ok := p.Key(""); ok {
		t.Error("no key is a key")
	}
	if _, ok := s.Project("bank").Key("k"); ok {
		t.Error("another project knows the key")
	}
	if p.Next() != 2 || s.Project("bank").Next() != 2 {
		t.Errorf("next runs: %d and %d, want 2 and 2", p.Next(), s.Project("bank").Next())
	}

	start := run.AttemptStarted{Run: r.ID, Task: "build/api", Attempt: 1, Fence: run.Fence{Epoch: 1, Counter: 1}}
	end := run.AttemptFinished{Run: r.ID, Task: "build/api", Attempt: run.Attempt{Number: 1, Outcome: run.OutcomeSucceeded, Fence: start.Fence}}
	done := run.TaskFinished{Run: r.ID, Task: "build/api", State: run.TaskSucceeded, Result: plan.Result{Image: "i"}, Digest: "d1"}
	s.apply(start, end, done)
	if d := cmp.Diff(project.Known{Run: r.ID, Result: done.Result, At: s.at}, known(p, "d1")); d != "" {
		t.Errorf("known result (-want +got):\n%s", d)
	}
	s.apply(run.Promoted{Run: r.ID, Environment: "prod", Cluster: "eu", Service: "api", Manifests: "m", Release: "r"})
	if got, ok := p.Stable("prod", "eu", "api"); !ok || got != (project.Stable{Manifests: "m", Release: "r", Run: r.ID}) {
		t.Errorf("stable: %+v, %t", got, ok)
	}
	for _, other := range [][3]string{{"dev", "eu", "api"}, {"prod", "us", "api"}, {"prod", "eu", "web"}} {
		if got, ok := p.Stable(other[0], other[1], other[2]); ok {
			t.Errorf("stable at %v: %+v", other, got)
		}
	}
	s.apply(run.Finished{Run: r.ID, State: run.Succeeded})
	bad := s.accept("shop", "")
	s.apply(run.TaskFinished{Run: bad.ID, Task: "build/api", State: run.TaskFailed, Result: plan.Result{Image: "broken"}, Digest: "d1"}, run.Finished{Run: bad.ID, State: run.Failed})
	if got := known(p, "d1"); got.Run != r.ID {
		t.Errorf("after a failed build its digest stands for %+v", got)
	}
	if p.Green("main") != r.Commit || p.Green("other") != r.Commit {
		t.Errorf("green: %q on main, %q elsewhere, want %q", p.Green("main"), p.Green("other"), r.Commit)
	}
	var ids []string
	for _, r := range s.Runs("shop", 10) {
		ids = append(ids, r.ID)
	}
	if d := cmp.Diff([]string{bad.ID, r.ID}, ids); d != "" {
		t.Errorf("runs of shop, newest first (-want +got):\n%s", d)
	}
	if n := len(s.Runs("", 10)); n != 3 || len(s.Runs("", 2)) != 2 {
		t.Errorf("%d runs in all, want 3, and at most the limit", n)
	}
}

func known(p *project.Project, digest string) project.Known {
	k, _ := p.Known(digest)
	return k
}

func TestWhatDoesNotFitIsAnError(t *testing.T) {
	s := begin(t)
	r := s.accept("shop", "")
	for name, e := range map[string]run.Event{
		"never accepted":    run.StopRequested{Run: "shop-9"},
		"accepted twice":    run.Accepted{Run: r.ID, Number: 2, Project: "shop", PlanHash: "deploys"},
		"no such plan":      run.Accepted{Run: "shop-2", Number: 2, Project: "shop", PlanHash: "lost"},
		"no such task":      run.TaskFinished{Run: r.ID, Task: "build/web", State: run.TaskSucceeded, Digest: "d2"},
		"no attempt before": run.AttemptFinished{Run: r.ID, Task: "build/api", Attempt: run.Attempt{Number: 1}},
	} {
		if err := s.Apply(e, s.at); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := s.Apply(run.Accepted{Run: "shop-2", Number: 2, Project: "shop", PlanHash: "lost"}, s.at); !errors.Is(err, errNoPlan) {
		t.Errorf("without its plan: %v", err)
	}
	if p := s.Project("shop"); p.Next() != 2 || len(s.Runs("", 10)) != 1 {
		t.Errorf("what was refused left something: next run %d, %d runs", p.Next(), len(s.Runs("", 10)))
	}
	if _, ok := s.Project("shop").Known("d2"); ok {
		t.Error("what was refused is known")
	}
}

// TestTasksTakeAsLongAsTheyDid: each success counts as much as all before it, what failed
// counts nothing, and another project has times of its own.
func TestTasksTakeAsLongAsTheyDid(t *testing.T) {
	s := begin(t)
	bottom := func(r *run.Run) time.Duration { return r.Bottom(r.Tasks[0]) }
	unknown := bottom(s.accept("shop", ""))
	build := func(took time.Duration, ended run.TaskState, outcome run.Outcome) {
		r := s.accept("shop", "")
		fence := run.Fence{Epoch: 1, Counter: r.Number}
		began := s.at.Add(time.Hour) // by the worker's clock
		s.apply(
			run.AttemptStarted{Run: r.ID, Task: "build/api", Attempt: 1, Fence: fence},
			run.AttemptFinished{Run: r.ID, Task: "build/api", Attempt: run.Attempt{Number: 1, Outcome: outcome, Fence: fence, StartedAt: began, FinishedAt: began.Add(took)}},
			run.TaskFinished{Run: r.ID, Task: "build/api", State: ended})
	}
	for _, c := range []struct {
		took    time.Duration
		ended   run.TaskState
		outcome run.Outcome
		want    time.Duration
	}{
		{time.Second, run.TaskFailed, run.OutcomeFailed, unknown},
		{-time.Second, run.TaskSucceeded, run.OutcomeSucceeded, unknown},
		{8 * time.Second, run.TaskSucceeded, run.OutcomeSucceeded, 8 * time.Second},
		{time.Hour, run.TaskFailed, run.OutcomeFailed, 8 * time.Second},
		{4 * time.Second, run.TaskSucceeded, run.OutcomeSucceeded, 6 * time.Second},
	} {
		build(c.took, c.ended, c.outcome)
		if got := bottom(s.accept("shop", "")); got != c.want {
			t.Errorf("after a build that %s in %s the next is expected to take %s, want %s", c.ended, c.took, got, c.want)
		}
	}
	if got := bottom(s.accept("bank", "")); got != unknown {
		t.Errorf("in another project it is expected to take %s, want %s", got, unknown)
	}
}

// TestItemsTakeAsLongAsTheyDid: the shards of a test are learned together, when the last has
// succeeded; what its list does not name any more is forgotten; a stranger's commit teaches nothing.
func TestItemsTakeAsLongAsTheyDid(t *testing.T) {
	plans := map[string]*plan.Plan{}
	for name, untrusted := range map[string]bool{"trusted": false, "untrusted": true} {
		plans[name] = &plan.Plan{Untrusted: untrusted, Tasks: []plan.Task{
			{ID: "test/a/t/1of2", Kind: plan.KindTest, Can: plan.CapabilityBuild}, {ID: "test/a/t/2of2", Kind: plan.KindTest, Can: plan.CapabilityBuild},
			{ID: "test/a/t", Kind: plan.KindGather, Digest: "d", Needs: []string{"test/a/t/1of2", "test/a/t/2of2"}},
		}}
	}
	s := &state{t: t, at: time.Unix(1_000_000, 0).UTC(), State: project.New(func(hash string) (*plan.Plan, error) { return plans[hash], nil })}
	n := uint64(0)
	begin := func(hash string) *run.Run {
		n++
		s.apply(run.Accepted{Run: fmt.Sprint("shop-", n), Number: n, Project: "shop", PlanHash: hash})
		r, _ := s.Run(fmt.Sprint("shop-", n))
		return r
	}
	end := func(r *run.Run, task string, state run.TaskState, items ...plan.Item) {
		s.apply(run.TaskFinished{Run: r.ID, Task: task, State: state, Result: plan.Result{Tests: &plan.TestSummary{Total: 1, Items: items}}, Digest: "digest of " + task})
	}
	want := func(what string, items ...plan.Item) {
		t.Helper()
		if d := cmp.Diff(items, s.Project("shop").Items("test/a/t")); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	r := begin("trusted")
	end(r, "test/a/t/1of2", run.TaskSucceeded, plan.Item{Name: "x", Millis: 100}, plan.Item{Name: "z", Millis: 300})
	want("after the first shard")
	end(r, "test/a/t/2of2", run.TaskSucceeded, plan.Item{Name: "y", Millis: 200})
	want("before they are gathered")
	end(r, "test/a/t", run.TaskSucceeded)
	want("gathered", plan.Item{Name: "x", Millis: 100}, plan.Item{Name: "y", Millis: 200}, plan.Item{Name: "z", Millis: 300})
	if k, _ := s.Project("shop").Known("digest of test/a/t/2of2"); k.Result.Tests == nil || k.Result.Tests.Items != nil {
		t.Errorf("what stands in for the shard: %+v", k.Result.Tests)
	}

	r = begin("trusted") // the first shard is reused
	end(r, "test/a/t/1of2", run.TaskReused)
	end(r, "test/a/t/2of2", run.TaskSucceeded, plan.Item{Name: "y", Millis: 400})
	end(r, "test/a/t", run.TaskSucceeded)
	want("one was reused", plan.Item{Name: "x", Millis: 100}, plan.Item{Name: "y", Millis: 300}, plan.Item{Name: "z", Millis: 300})

	r = begin("untrusted")
	end(r, "test/a/t/1of2", run.TaskSucceeded, plan.Item{Name: "x", Millis: 1})
	end(r, "test/a/t/2of2", run.TaskSucceeded, plan.Item{Name: "y", Millis: 1})
	end(r, "test/a/t", run.TaskSucceeded)
	want("a stranger's", plan.Item{Name: "x", Millis: 100}, plan.Item{Name: "y", Millis: 300}, plan.Item{Name: "z", Millis: 300})

	r = begin("trusted")
	end(r, "test/a/t/1of2", run.TaskSucceeded, plan.Item{Name: "w", Millis: 50})
	end(r, "test/a/t/2of2", run.TaskSucceeded, plan.Item{Name: "x", Millis: 200})
	end(r, "test/a/t", run.TaskSucceeded)
	want("two are gone and one is new", plan.Item{Name: "w", Millis: 50}, plan.Item{Name: "x", Millis: 150})

	again, err := project.Restore(s.Save(), func(hash string) (*plan.Plan, error) { return plans[hash], nil })
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(s.Project("shop").Items("test/a/t"), again.Project("shop").Items("test/a/t")); d != "" {
		t.Errorf("restored (-want +got):\n%s", d)
	}
}
