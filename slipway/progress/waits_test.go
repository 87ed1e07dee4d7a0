package progress_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/progress"
	"github.com/slipway-build/slipway/slipway/render"
)

func TestWhyNothingHappensIsToldOnce(t *testing.T) {
	m := progress.New(render.Style{}, false)
	if m.Idle() {
		t.Error("a run that is not known is idle")
	}
	ready := func(id string) *pb.Task { return &pb.Task{Id: id, Kind: "build", State: pb.TaskState_TASK_STATE_READY} }
	m.Apply(snapshot(&pb.Run{Id: "shop-1", State: pb.RunState_RUN_STATE_RUNNING, Tasks: []*pb.Task{ready("build/api"), ready("build/web")}}))
	if !m.Idle() {
		t.Error("nobody works, and it is not idle")
	}
	why := &pb.ExplainResponse{Waits: []*pb.Wait{
		{Task: "build/api", Reason: pb.WaitReason_WAIT_REASON_NO_WORKER, Message: "no worker"},
		{Task: "build/web", Reason: pb.WaitReason_WAIT_REASON_NO_WORKER, Message: "no worker"},
		{Task: "rollout/prod", Reason: pb.WaitReason_WAIT_REASON_ENVIRONMENT, Message: "run shop-0 is there"},
		{Task: "apply/api", Reason: pb.WaitReason_WAIT_REASON_DEPENDENCY, Message: "needs"},
		{Task: "build/other", Reason: pb.WaitReason_WAIT_REASON_OFFERED, Message: "at once"},
	}}
	told := []string{
		"build/api             waits               no worker (so do 1 more)",
		"rollout/prod          waits               run shop-0 is there",
	}
	if d := cmp.Diff(told, m.Waits(why)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if again := m.Waits(why); len(again) != 0 {
		t.Errorf("told again: %q", again)
	}
	m.Apply(task(begun("build/api", "build", 1)))
	if m.Idle() {
		t.Error("somebody works, and it is idle")
	}
	m.Apply(task(ended("build/api", "build", pb.TaskState_TASK_STATE_SUCCEEDED)))
	if d := cmp.Diff(told, m.Waits(why)); d != "" {
		t.Errorf("after something was done, it waits again (-want +got):\n%s", d)
	}
	m.Apply(&pb.WatchResponse{Change: &pb.WatchResponse_Run{Run: &pb.Run{Id: "shop-1", State: pb.RunState_RUN_STATE_CANCELED}}})
	if m.Idle() {
		t.Error("a run that has ended is idle")
	}
}
