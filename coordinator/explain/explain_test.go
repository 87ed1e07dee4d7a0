package explain_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/explain"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// begin is a run of a build, a test of it and a rollout, of which nothing has begun.
func begin(t *testing.T) *run.Run {
	t.Helper()
	r, err := run.New(run.Accepted{Run: "shop-2", Number: 2, Project: "shop"}, &plan.Plan{Project: "shop", Tasks: []plan.Task{
		{ID: "build/api", Kind: plan.KindBuild, Can: plan.CapabilityBuild},
		{ID: "render/api", Kind: plan.KindRender, Can: "render", Needs: []string{"build/api"}},
		{ID: "rollout/prod", Kind: plan.KindRollout, Can: plan.CapabilityCoordinator, Target: &plan.Target{Environment: "prod"}},
		{ID: "wave/prod", Kind: plan.KindWave, Can: plan.CapabilityCoordinator, Target: &plan.Target{Environment: "prod"}},
	}}, now, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEveryReason(t *testing.T) {
	open := explain.Lane{Slots: 2, Taken: 1, Position: map[int]int{0: 1}}
	for name, c := range map[string]struct {
		task  int
		facts func(*explain.Facts, *run.Task)
		want  explain.Wait // but for Task, ReadyAt and Message
		says  string
	}{
		"carried out": {0, func(_ *explain.Facts, t *run.Task) {
			t.State, t.Attempts = run.TaskRunning, []run.Attempt{{Number: 1, Worker: "w1"}}
		}, explain.Wait{Reason: explain.None}, "w1 carries it out, attempt 1"},
		"ended": {0, func(_ *explain.Facts, t *run.Task) { t.State = run.TaskFailed }, explain.Wait{Reason: explain.Ended}, "failed"},
		"a need is not done": {1, func(_ *explain.Facts, t *run.Task) { t.State = run.TaskPending },
			explain.Wait{Reason: explain.Dependency, On: []string{"build/api"}}, "build/api is ready"},
		"another run is in its environment": {2, func(f *explain.Facts, _ *run.Task) { f.InTheWay = map[string]string{"prod": "shop-1"} },
			explain.Wait{Reason: explain.Environment, On: []string{"shop-1"}}, "run shop-1 rolls out to prod"},
		"its own run is in its environment": {2, func(f *explain.Facts, _ *run.Task) { f.InTheWay = map[string]string{"prod": "shop-2"} },
			explain.Wait{Reason: explain.Coordinator}, "itself"},
		"the coordinator's own": {3, func(*explain.Facts, *run.Task) {}, explain.Wait{Reason: explain.Coordinator}, "itself"},
		"a pause after a failure": {0, func(f *explain.Facts, t *run.Task) {
			t.NotBefore, t.Attempts = now.Add(time.Minute), []run.Attempt{{Number: 1, Outcome: run.OutcomeErrored, Message: "registry: 503\nmore"}}
			f.Quiet = now.Add(time.Second)
		}, explain.Wait{Reason: explain.BackOff, NotBefore: now.Add(time.Minute), Estimate: time.Minute}, "(registry: 503); the next one is not before 12:01:00 UTC"},
		"a pause that is over": {0, func(_ *explain.Facts, t *run.Task) { t.NotBefore = now },
			explain.Wait{Reason: explain.Offered, Position: 1, Slots: 2}, "about to take it"},
		"its group is full": {0, func(f *explain.Facts, _ *run.Task) {
			f.Groups = map[int]explain.InGroup{0: {Room: 1, In: []string{"test/web/e2e of shop-2"}, Position: 2}}
		}, explain.Wait{Reason: explain.Group, Position: 2, Slots: 1, On: []string{"test/web/e2e of shop-2"}}, "has room for 1 at once, and in it are: test/web/e2e of shop-2; 1 task before it"},
		"another run does the same work": {0, func(f *explain.Facts, _ *run.Task) { f.Shared = map[int]string{0: "shop-7"} },
			explain.Wait{Reason: explain.Shared, On: []string{"shop-7"}}, "run shop-7 does the same work, and its result is taken"},
		"it runs though its run was canceled": {0, func(f *explain.Facts, t *run.Task) {
			t.State, t.Attempts, f.Run.State = run.TaskRunning, []run.Attempt{{Number: 1, Worker: "w1"}}, run.Stopping
			f.Kept = map[int][]string{0: {"shop-7", "shop-8"}}
		}, explain.Wait{Reason: explain.None}, "w1 carries it out, attempt 1; it goes on though the run was canceled, for others wait for the same: shop-7, shop-8"},
		"nobody can": {0, func(f *explain.Facts, _ *run.Task) { f.Lanes = nil }, explain.Wait{Reason: explain.NoWorker}, `can carry out "build"`},
		"all who can are held back": {0, func(f *explain.Facts, _ *run.Task) {
			f.Lanes = map[string]explain.Lane{plan.CapabilityBuild: {HeldBack: []string{"a is cordoned", "b is pressed (3 % of memory is free)", "c is cordoned", "d is cordoned"}}}
		}, explain.Wait{Reason: explain.NoWorker}, `can carry out "build" is held back: a is cordoned, b is pressed (3 % of memory is free), c is cordoned, and 1 more`},
		"some who can are held back": {0, func(f *explain.Facts, _ *run.Task) {
			f.Lanes[plan.CapabilityBuild] = explain.Lane{Slots: 2, Taken: 2, Position: map[int]int{0: 1}, HeldBack: []string{"b is pressed (3 % of memory is free)"}}
		}, explain.Wait{Reason: explain.Queue, Position: 1, Slots: 2, Estimate: 30 * time.Second}, "are taken; held back: b is pressed (3 % of memory is free)"},
		"all slots are taken, and others are first": {0, func(f *explain.Facts, _ *run.Task) {
			f.Lanes[plan.CapabilityBuild] = explain.Lane{Slots: 2, Taken: 2, Position: map[int]int{0: 4}}
		}, explain.Wait{Reason: explain.Queue, Position: 4, Slots: 2, Estimate: 2 * time.Minute}, `all 2 slots for "build" are taken, and 3 tasks before it`},
		"all slots are taken, and its run is of a class": {0, func(f *explain.Facts, _ *run.Task) {
			f.Run.Plan.Class = plan.ClassLow
			f.Lanes[plan.CapabilityBuild] = explain.Lane{Slots: 1, Taken: 1, Position: map[int]int{0: 2}}
		}, explain.Wait{Reason: explain.Queue, Position: 2, Slots: 1, Estimate: 2 * time.Minute}, "and 1 task before it; it is of the class low"},
		"the next, and all slots are taken": {0, func(f *explain.Facts, _ *run.Task) {
			f.Lanes[plan.CapabilityBuild] = explain.Lane{Slots: 1, Taken: 1, Position: map[int]int{0: 1}}
		}, explain.Wait{Reason: explain.Queue, Position: 1, Slots: 1, Estimate: time.Minute}, `all 1 slot for "build" are taken`},
		"a slot is free, and others are first": {0, func(f *explain.Facts, _ *run.Task) {
			f.Lanes[plan.CapabilityBuild] = explain.Lane{Slots: 2, Taken: 1, Position: map[int]int{0: 2}}
		}, explain.Wait{Reason: explain.Queue, Position: 2, Slots: 2, Estimate: 30 * time.Second}, "and 1 task before it"},
		"a slot is free for it": {0, func(*explain.Facts, *run.Task) {}, explain.Wait{Reason: explain.Offered, Position: 1, Slots: 2}, "about to take it"},
		"as many of its team run as may": {0, func(f *explain.Facts, t *run.Task) {
			t.Spec.Team = "core"
			l := open
			l.Full = map[string]explain.Quota{"core": {Running: 5, Limit: 5}}
			f.Lanes[plan.CapabilityBuild] = l
		}, explain.Wait{Reason: explain.TeamQuota, Position: 1, Slots: 2}, "quota of core: 5 of 5 tasks run"},
		"what its team may have is with other coordinators": {0, func(f *explain.Facts, t *run.Task) {
			t.Spec.Team = "core"
			l := open
			l.Full = map[string]explain.Quota{"core": {Running: 2, Limit: 5, May: 1}}
			f.Lanes[plan.CapabilityBuild] = l
		}, explain.Wait{Reason: explain.TeamQuota, Position: 1, Slots: 2}, "quota of core: 2 of 5 tasks run; of those that may run, 1 are this coordinator's to give now, and it asks the others for more"},
		"others wait at other coordinators": {0, func(f *explain.Facts, _ *run.Task) {
			f.Lanes[plan.CapabilityBuild] = explain.Lane{Slots: 2, Taken: 2, Others: 7, Position: map[int]int{0: 1}}
		}, explain.Wait{Reason: explain.Queue, Position: 1, Slots: 2, Estimate: 30 * time.Second}, "are taken; other coordinators have 7 tasks more that take turns with them"},
		"as many of its team run as may, and it is urgent": {0, func(f *explain.Facts, t *run.Task) {
			f.Run.Plan.Class, t.Spec.Team = plan.ClassUrgent, "core"
			l := open
			l.Full = map[string]explain.Quota{"core": {Running: 5, Limit: 5}}
			f.Lanes[plan.CapabilityBuild] = l
		}, explain.Wait{Reason: explain.Offered, Position: 1, Slots: 2}, "about to take it"},
		"as many of another team run as may": {0, func(f *explain.Facts, _ *run.Task) {
			l := open
			l.Full = map[string]explain.Quota{"core": {Running: 5, Limit: 5}}
			f.Lanes[plan.CapabilityBuild] = l
		}, explain.Wait{Reason: explain.Offered, Position: 1, Slots: 2}, "about to take it"},
		"its worker has not spoken to the new coordinator": {0, func(f *explain.Facts, t *run.Task) {
			t.State, t.Attempts = run.TaskRunning, []run.Attempt{{Number: 1, Worker: "w1"}}
			f.Orphans = map[int]time.Time{0: now.Add(9 * time.Second)}
		}, explain.Wait{Reason: explain.Takeover, NotBefore: now.Add(9 * time.Second), Estimate: 9 * time.Second}, "while w1 had it"},
		"somebody may have it": {0, func(f *explain.Facts, t *run.Task) { f.Quiet, f.Claimed = now.Add(9*time.Second), t.ReadyAt },
			explain.Wait{Reason: explain.Takeover, NotBefore: now.Add(9 * time.Second), Estimate: 9 * time.Second}, "replaced"},
		"nobody can have it yet": {0, func(f *explain.Facts, t *run.Task) {
			f.Quiet, f.Claimed = now.Add(9*time.Second), t.ReadyAt.Add(-time.Second)
		}, explain.Wait{Reason: explain.Offered, Position: 1, Slots: 2}, "about to take it"},
	} {
		t.Run(name, func(t *testing.T) {
			r := begin(t)
			for _, task := range r.Tasks {
				task.State = run.TaskReady
			}
			task := r.Tasks[c.task]
			task.ReadyAt = now.Add(-time.Hour)
			f := explain.Facts{Run: r, At: now, Took: map[plan.Kind]time.Duration{plan.KindBuild: time.Minute}, Lanes: map[string]explain.Lane{plan.CapabilityBuild: open}}
			c.facts(&f, task)
			all := explain.Waits(f)
			if len(all) != len(r.Tasks) {
				t.Fatalf("%d answers for %d tasks", len(all), len(r.Tasks))
			}
			got := all[c.task]
			if !strings.Contains(got.Message, c.says) {
				t.Errorf("it says %q, want %q in it", got.Message, c.says)
			}
			want := c.want
			want.Task, want.ReadyAt, want.Message = task.Spec.ID, task.ReadyAt, got.Message
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestManyNeedsAreCounted(t *testing.T) {
	p := &plan.Plan{Project: "shop"}
	last := plan.Task{ID: "test/all", Kind: plan.KindTest, Can: plan.CapabilityBuild}
	for i := range 5 {
		id := fmt.Sprint("build/", i)
		p.Tasks = append(p.Tasks, plan.Task{ID: id, Kind: plan.KindBuild, Can: plan.CapabilityBuild})
		last.Needs = append(last.Needs, id)
	}
	p.Tasks = append(p.Tasks, last)
	r, err := run.New(run.Accepted{Run: "shop-1", Number: 1, Project: "shop"}, p, now, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Tasks[0].State = run.TaskSucceeded
	w := explain.Waits(explain.Facts{Run: r, At: now})[5]
	if d := cmp.Diff([]string{"build/1", "build/2", "build/3", "build/4"}, w.On); d != "" {
		t.Errorf("it waits on (-want +got):\n%s", d)
	}
	if !strings.HasSuffix(w.Message, "and 1 more") {
		t.Errorf("it says %q", w.Message)
	}
}

func TestMeansAreOfSuccessfulAttempts(t *testing.T) {
	r := begin(t)
	r.Tasks[0].Attempts = []run.Attempt{
		{Outcome: run.OutcomeFailed, LeasedAt: now, FinishedAt: now.Add(time.Hour)},
		{Outcome: run.OutcomeSucceeded, LeasedAt: now, FinishedAt: now.Add(10 * time.Second)},
	}
	r.Tasks[1].Attempts = []run.Attempt{{LeasedAt: now}}
	other := begin(t)
	other.Tasks[0].Attempts = []run.Attempt{{Outcome: run.OutcomeSucceeded, LeasedAt: now, FinishedAt: now.Add(20 * time.Second)}}
	if d := cmp.Diff(map[plan.Kind]time.Duration{plan.KindBuild: 15 * time.Second}, explain.Means([]*run.Run{r, other})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
