package progress_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/progress"
	"github.com/slipway-build/slipway/slipway/render"
)

func at(s float64) *timestamppb.Timestamp {
	return timestamppb.New(time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(s * float64(time.Second))))
}

func snapshot(r *pb.Run) *pb.WatchResponse {
	return &pb.WatchResponse{Change: &pb.WatchResponse_Snapshot{Snapshot: r}}
}

func task(t *pb.Task) *pb.WatchResponse {
	return &pb.WatchResponse{Change: &pb.WatchResponse_Task{Task: t}}
}

func steps(id string, list ...*pb.ProgressStep) *pb.WatchResponse {
	return &pb.WatchResponse{Change: &pb.WatchResponse_Progress{Progress: &pb.Progress{TaskId: id, Attempt: 1, Steps: list}}}
}

func begun(id, kind string, attempts int) *pb.Task {
	t := &pb.Task{Id: id, Kind: kind, State: pb.TaskState_TASK_STATE_RUNNING}
	for i := range attempts {
		t.Attempts = append(t.Attempts, &pb.Attempt{Number: int32(i + 1), Worker: fmt.Sprintf("builder-%d", i+1), LeasedAt: at(1), Outcome: pb.Outcome_OUTCOME_LOST, Message: "the lease ran out"})
	}
	t.Attempts[attempts-1].Outcome, t.Attempts[attempts-1].Message = pb.Outcome_OUTCOME_UNSPECIFIED, ""
	return t
}

func ended(id, kind string, s pb.TaskState) *pb.Task {
	t := begun(id, kind, 1)
	t.State, t.FinishedAt = s, at(13)
	return t
}

func start() *pb.Run {
	return &pb.Run{Id: "shop-1", Commit: strings.Repeat("a", 40), Ref: "main", State: pb.RunState_RUN_STATE_RUNNING, AcceptedAt: at(0), Tasks: []*pb.Task{
		{Id: "checkout", Kind: "checkout", State: pb.TaskState_TASK_STATE_READY},
		{Id: "build/api", Kind: "build", State: pb.TaskState_TASK_STATE_PENDING},
		{Id: "build/web", Kind: "build", State: pb.TaskState_TASK_STATE_REUSED, Reason: "same digest as shop-0"},
		{Id: "test/api/unit", Kind: "test", State: pb.TaskState_TASK_STATE_READY},
	}}
}

func script() []*pb.WatchResponse {
	built := ended("build/api", "build", pb.TaskState_TASK_STATE_SUCCEEDED)
	built.Result = &pb.Result{Image: "r/api@sha256:" + strings.Repeat("b", 64)}
	failed := ended("test/api/unit", "test", pb.TaskState_TASK_STATE_FAILED)
	failed.Message = "1 test failed\nTestPrice"
	return []*pb.WatchResponse{
		snapshot(start()),
		task(ended("checkout", "checkout", pb.TaskState_TASK_STATE_SUCCEEDED)),
		task(begun("build/api", "build", 1)),
		steps("build/api", &pb.ProgressStep{Id: "1", Name: "RUN go build", StartedAt: at(2)}, &pb.ProgressStep{Id: "2", Name: "COPY", StartedAt: at(2), FinishedAt: at(2.1)}),
		steps("build/api", &pb.ProgressStep{Id: "1", Name: "RUN go build", StartedAt: at(2), FinishedAt: at(12)}),
		task(begun("test/api/unit", "test", 1)),
		task(begun("test/api/unit", "test", 2)),
		task(built),
		snapshot(start()), // of a stream that was opened again, a little behind
		task(built),
		task(failed),
		{Change: &pb.WatchResponse_Run{Run: &pb.Run{Id: "shop-1", State: pb.RunState_RUN_STATE_FAILED, AcceptedAt: at(0), FinishedAt: at(14)}}},
	}
}

func play(m *progress.Model) []string {
	var lines []string
	for _, res := range script() {
		lines = append(lines, m.Apply(res)...)
	}
	return lines
}

func TestLines(t *testing.T) {
	m := progress.New(render.Style{}, false)
	want := []string{
		"run shop-1  commit aaaaaaaaaaaa (main)  4 tasks",
		"build/web             reused              same digest as shop-0",
		"build/api             started             on builder-1",
		"build/api                          10.0s  RUN go build",
		"test/api/unit         started             on builder-1",
		"test/api/unit         lost                attempt 1 on builder-1: the lease ran out",
		"test/api/unit         again               attempt 2 on builder-2",
		"build/api             succeeded    12.0s  image bbbbbbbbbbbb",
		"test/api/unit         failed       12.0s  1 test failed",
	}
	if diff := cmp.Diff(want, play(m)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !m.Ended() || len(m.Run().GetTasks()) != 4 || m.Run().GetFinishedAt() == nil {
		t.Errorf("the model is at %v", m.Run())
	}
}

// TestALostAttemptIsToldAtOnce, not when somebody has begun the next, and once.
func TestALostAttemptIsToldAtOnce(t *testing.T) {
	m := progress.New(render.Style{}, false)
	lost := begun("build/api", "build", 1)
	lost.State = pb.TaskState_TASK_STATE_READY
	lost.Attempts[0].Outcome, lost.Attempts[0].Message = pb.Outcome_OUTCOME_LOST, ""
	again := begun("build/api", "build", 2)
	var got []string
	for _, res := range []*pb.WatchResponse{snapshot(start()), task(begun("build/api", "build", 1)), task(lost), snapshot(start()), task(lost), task(again)} {
		got = append(got, m.Apply(res)...)
	}
	want := []string{
		"build/api             started             on builder-1",
		"build/api             lost                attempt 1 on builder-1: to be tried again",
		"build/api             again               attempt 2 on builder-2",
	}
	if diff := cmp.Diff(want, got[2:]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLiveSaysOnlyWhatEnded(t *testing.T) {
	for _, line := range play(progress.New(render.Style{}, true)) {
		if strings.Contains(line, "started") || strings.Contains(line, "RUN go build") {
			t.Errorf("line %q", line)
		}
	}
}

func TestFrame(t *testing.T) {
	m := progress.New(render.Style{}, true)
	if got := m.Frame(at(0).AsTime(), 80, 10); len(got) != 1 {
		t.Errorf("before the first answer: %q", got)
	}
	for _, res := range script()[:4] {
		m.Apply(res)
	}
	want := []string{
		"shop-1 running  5.0s  2 of 4 tasks done, 1 in the queue",
		" → build/api                                            4.0s",
		"     RUN go build                                       3.0s",
	}
	if diff := cmp.Diff(want, m.Frame(at(5).AsTime(), 60, 10)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFrameFits(t *testing.T) {
	m := progress.New(render.Style{}, true)
	r := start()
	for i := range 30 {
		r.Tasks = append(r.Tasks, begun("build/service-with-a-long-name-"+strings.Repeat("x", i), "build", 1))
	}
	m.Apply(snapshot(r))
	for _, task := range r.GetTasks() {
		m.Apply(steps(task.GetId(), &pb.ProgressStep{Id: "1", Name: strings.Repeat("y", 200), StartedAt: at(2), Current: 3, Total: 9, Detail: "pushing"}))
	}
	for _, size := range [][2]int{{20, 3}, {40, 5}, {80, 20}, {200, 50}} {
		frame := m.Frame(at(5).AsTime(), size[0], size[1])
		if len(frame) > size[1] {
			t.Errorf("%v: %d lines", size, len(frame))
		}
		for _, l := range frame {
			if utf8.RuneCountInString(l) > size[0] {
				t.Errorf("%v: %d columns: %q", size, utf8.RuneCountInString(l), l)
			}
		}
	}
}

func TestRedraw(t *testing.T) {
	if got, want := progress.Redraw(2, []string{"done"}, []string{"a", "b"}), "\x1b[2A\r\x1b[Jdone\na\nb\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := progress.Redraw(0, nil, []string{"a"}), "\x1b[Ja\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
