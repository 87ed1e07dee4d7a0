package render_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/render"
)

var update = flag.Bool("update", false, "write the golden files again")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func load(t *testing.T, name string) *pb.Run {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	r := &pb.Run{}
	if err := protojson.Unmarshal(data, r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWaits(t *testing.T) {
	s := render.Style{Width: 100}
	golden(t, "waits.txt", s.Waits(&pb.ExplainResponse{Run: "shop-2-k3xq", State: pb.RunState_RUN_STATE_RUNNING, Waits: []*pb.Wait{
		{Task: "build/api", Reason: pb.WaitReason_WAIT_REASON_QUEUE, EstimateMillis: 90_000, Message: `all 2 slots for "build" are taken, and 3 tasks before it`},
		{Task: "render/api-prod", Reason: pb.WaitReason_WAIT_REASON_DEPENDENCY, Message: "tasks that it needs are not done: build/api is ready"},
		{Task: "apply/api-prod", Reason: pb.WaitReason_WAIT_REASON_DEPENDENCY, Message: "tasks that it needs are not done: render/api-prod is pending"},
	}})+s.Waits(&pb.ExplainResponse{Run: "shop-2-k3xq", State: pb.RunState_RUN_STATE_RUNNING, Waits: []*pb.Wait{
		{Task: "render/api-prod", Reason: pb.WaitReason_WAIT_REASON_DEPENDENCY, Message: "tasks that it needs are not done: build/api is ready\n\x1b[31m"},
	}})+s.Waits(&pb.ExplainResponse{Run: "shop-1-aaaa", State: pb.RunState_RUN_STATE_SUCCEEDED})+s.Waits(&pb.ExplainResponse{
		Run: "shop-3-bbbb", State: pb.RunState_RUN_STATE_STOPPING, Message: "canceled by ada",
		Waits: []*pb.Wait{{Task: "build/web", Reason: pb.WaitReason_WAIT_REASON_NONE, Message: "w1 carries it out, attempt 1"}},
	}))
}

func TestWhyBuilt(t *testing.T) {
	s := render.Style{Width: 120}
	digest := func(c string) string { return "sha256:" + strings.Repeat(c, 64) }
	golden(t, "whybuilt.txt", s.WhyBuilt(&pb.Run{Id: "shop-2-k3xq", State: pb.RunState_RUN_STATE_RUNNING, Tasks: []*pb.Task{
		{Id: "build/api", State: pb.TaskState_TASK_STATE_SUCCEEDED, Digest: digest("a"), Reason: "services/api/main.go changed"},
		{Id: "build/web", State: pb.TaskState_TASK_STATE_REUSED, Digest: digest("b"), Reason: "the same inputs as in run shop-1-aaaa"},
		{Id: "build/base", State: pb.TaskState_TASK_STATE_REUSED, Digest: digest("c"), Reason: "services/base/Dockerfile changed", Message: "run shop-3-bbbb did the same work meanwhile"},
		{Id: "test/api/unit", State: pb.TaskState_TASK_STATE_RUNNING, Digest: digest("d"), Reason: "services/api/main.go changed\x1b[31m"},
	}})+s.WhyBuilt(&pb.Run{Id: "shop-4-cccc", State: pb.RunState_RUN_STATE_SUCCEEDED}))
}

func now() time.Time { return time.Date(2026, 11, 1, 12, 5, 0, 0, time.UTC) }

func TestGoldens(t *testing.T) {
	plain, colored := render.Style{}, render.Style{Color: true, Width: 100}
	for _, name := range []string{"good", "failed"} {
		r := load(t, name+".json")
		golden(t, name+".summary.txt", plain.Summary(r, now()))
		golden(t, name+".tasks.txt", plain.Tasks(r, now()))
		golden(t, name+".trace.txt", render.Style{Width: 100}.Waterfall(r, 5, now()))
		golden(t, name+".color.txt", colored.Summary(r, now())+colored.Waterfall(r, 0, now()))
	}
	golden(t, "runs.txt", plain.Runs([]*pb.Run{load(t, "failed.json"), load(t, "good.json")}, now()))
	golden(t, "workers.txt", plain.Workers([]*pb.Worker{
		{Name: "builder-1", State: pb.WorkerState_WORKER_STATE_READY, Version: "1.2.3", Since: timestamppb.New(now().Add(-time.Hour)), Slots: []*pb.WorkerSlots{{Capability: "build", Slots: 4, Taken: 1}, {Capability: "render", Slots: 8}}, Held: 1},
		{Name: "builder-2", State: pb.WorkerState_WORKER_STATE_PRESSED, Reason: "3 % of memory is free, below 5 %", Version: "1.2.3", Since: timestamppb.New(now().Add(-time.Minute)), Slots: []*pb.WorkerSlots{{Capability: "build", Slots: 4}}},
		{Name: "builder-3", State: pb.WorkerState_WORKER_STATE_CORDONED, Reason: "its disk is slow", Cordon: &pb.WorkerCordon{Reason: "its disk is slow", By: "anna", At: timestamppb.New(now().Add(-2 * time.Minute))}, Since: timestamppb.New(now())},
		{Name: "builder-4", State: pb.WorkerState_WORKER_STATE_AWAY, Reason: "it has no session", Cordon: &pb.WorkerCordon{Reason: "new kernel", By: "ben", At: timestamppb.New(now().Add(-26 * time.Hour))}},
	}, now()))
	golden(t, "problems.txt", plain.Problems([]*pb.Problem{
		{Path: "slipway.yaml", Line: 3, Column: 5, Message: `unknown key "servces"`, Suggestion: `did you mean "services"?`, Excerpt: "    3 | servces:\n      |     ^"},
		{Path: "slipway.yaml", Message: "project is missing"},
	}))
}

func TestNothingReachesTheTerminalAsACommand(t *testing.T) {
	r := load(t, "failed.json")
	evil := "a\x1b[2Jb\x1b]0;title\ac\u0085\u202ed\rX"
	r.Id, r.Message, r.Ref, r.SubmittedBy = evil, evil, evil, evil
	for _, task := range r.GetTasks() {
		task.Id, task.Message, task.Reason = task.GetId()+evil, evil, evil
		for _, a := range task.GetAttempts() {
			a.Worker = evil
			for _, s := range a.GetSteps() {
				s.Name = evil
			}
		}
		for _, c := range task.GetResult().GetTests().GetFailures() {
			c.Name, c.Output, c.Suite = evil, evil, evil
		}
	}
	for _, s := range r.GetServices() {
		s.Name, s.Reason = evil, evil
	}
	var style render.Style
	for _, text := range []string{
		style.Summary(r, now()), style.Tasks(r, now()), style.Waterfall(r, 5, now()), style.Runs([]*pb.Run{r}, now()),
		style.Workers([]*pb.Worker{{
			Name: evil, Version: evil, Reason: evil, Cordon: &pb.WorkerCordon{Reason: evil, By: evil}, Slots: []*pb.WorkerSlots{{Capability: evil}},
		}}, now()),
		strings.Join(render.Attempts([]*pb.Worker{{Attempts: []*pb.WorkerAttempt{{Run: evil, Task: evil}}}}, now()), "\n"),
		style.Problems([]*pb.Problem{{Path: evil, Line: 1, Message: evil, Excerpt: evil, Suggestion: evil}}),
	} {
		if i := strings.IndexAny(text, "\x1b\a\r\u0085\u202e"); i >= 0 {
			t.Errorf("%q", text[max(0, i-20):min(len(text), i+20)])
		}
	}
}

func TestFlaky(t *testing.T) {
	r := load(t, "good.json")
	if text := (render.Style{}).Flaky(r); text != "" {
		t.Errorf("nothing is flaky: %s", text)
	}
	for _, task := range r.GetTasks() {
		if task.GetKind() == "test" && task.GetState() == pb.TaskState_TASK_STATE_SUCCEEDED {
			task.FailureClass, task.Message = pb.FailureClass_FAILURE_CLASS_FLAKY, "passed in attempt 2; attempt 1 failed: 1 of 3 tests failed\nTestSlow"
			want := "! " + task.GetId() + " is flaky\n  passed in attempt 2; attempt 1 failed: 1 of 3 tests failed\n  TestSlow\n"
			if text := (render.Style{}).Flaky(r); text != want {
				t.Errorf("%q, want %q", text, want)
			}
			if what := render.What(task); what != "flaky: passed in attempt 2; attempt 1 failed: 1 of 3 tests failed" {
				t.Errorf("what: %s", what)
			}
			return
		}
	}
	t.Fatal("no test in good.json")
}

func TestDiff(t *testing.T) {
	golden(t, "diff.txt", render.Style{}.Diff(load(t, "diff.json")))
	if text := (render.Style{}).Diff(load(t, "good.json")); text != "" {
		t.Errorf("a run that compared nothing: %s", text)
	}
}

func TestWaterfallFitsItsWidth(t *testing.T) {
	r := load(t, "good.json")
	for _, width := range []int{70, 80, 100, 160, 240} {
		for line := range strings.SplitSeq(render.Style{Width: width}.Waterfall(r, 5, now()), "\n") {
			if n := utf8.RuneCountInString(line); n > width {
				t.Errorf("width %d: %d columns: %q", width, n, line)
			}
		}
	}
}

func TestCriticalPathAlwaysEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 8).Draw(t, "tasks")
		var tasks []*pb.Task
		for i := range n {
			task := &pb.Task{Id: string(rune('a' + i)), State: pb.TaskState_TASK_STATE_SUCCEEDED}
			for range rapid.IntRange(0, 3).Draw(t, "needs") { // also needs in circles, and unknown ones
				task.Needs = append(task.Needs, string(rune('a'+rapid.IntRange(0, n).Draw(t, "need"))))
			}
			tasks = append(tasks, task)
		}
		if path := render.CriticalPath(tasks); len(path) > n {
			t.Fatalf("%d tasks on the path of %d", len(path), n)
		}
	})
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0.0s", 0: "0.0s", 400 * time.Millisecond: "0.4s", 12_345 * time.Millisecond: "12.3s", 59_960 * time.Millisecond: "1m00s",
		123 * time.Second: "2m03s", time.Hour + 5*time.Minute: "1h05m", 76 * time.Hour: "3d04h",
	} {
		if got := render.Duration(d); got != want {
			t.Errorf("Duration(%s) = %s, want %s", d, got, want)
		}
	}
}

func TestKnownTests(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(now.Add(-d)) }
	var recent []*pb.TestExecution
	for _, x := range "✓✓✗✓~✓✓~✓✓" {
		recent = append(recent, &pb.TestExecution{Passed: x != '✗', Flaky: x == '~'})
	}
	golden(t, "tests.txt", render.Style{}.KnownTests([]*pb.Test{
		{Id: "test/api/unit", Recent: recent, Cases: []*pb.KnownCase{
			{
				Case: &pb.TestName{Suite: "shop/cart", Name: "TestCheckout"}, Failures: 3, Run: "shop-41-9f3c", FailedAt: ago(3 * time.Hour), Flakes: 2, Passes: 2,
				Quarantine: &pb.Quarantine{Since: ago(3 * time.Hour), Until: ago(-333 * time.Hour), Release: 20, Reason: "it failed and passed with the same inputs twice, last in run shop-41-9f3c"},
			},
			{Case: &pb.TestName{Name: "TestNew\x1b[31m"}, Quarantine: &pb.Quarantine{Until: ago(-30 * 24 * time.Hour), Release: 20, By: "anna", Reason: "waits for the mailer"}},
		}},
		{Id: "test/web/e2e", Recent: recent[5:7]},
	}, now))
}

func TestCoverage(t *testing.T) {
	for want, c := range map[string]*pb.Coverage{
		"":                       nil,
		"66.6 % covered":         {Covered: 2, Total: 3},
		"66.6 % covered (+0.0)":  {Covered: 2, Total: 3, Before: &pb.CoverageBefore{Covered: 4, Total: 6}},
		"50.0 % covered (-50.0)": {Covered: 1, Total: 2, Before: &pb.CoverageBefore{Covered: 1, Total: 1}},
	} {
		if got := render.Coverage(c); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	task := &pb.Task{State: pb.TaskState_TASK_STATE_SUCCEEDED, Result: &pb.Result{Tests: &pb.TestSummary{Total: 3, Passed: 3}, Coverage: &pb.Coverage{Covered: 1, Total: 2}}}
	if got := render.What(task); got != "3 passed, 50.0 % covered" {
		t.Error(got)
	}
}
