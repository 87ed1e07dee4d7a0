package progress

import (
	"fmt"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/render"
)

// Idle says that the run goes on and nobody works on it: a follower may want to know why.
func (m *Model) Idle() bool {
	if m.run == nil || m.Ended() {
		return false
	}
	for _, t := range m.run.GetTasks() {
		if s := t.GetState(); s == pb.TaskState_TASK_STATE_LEASED || s == pb.TaskState_TASK_STATE_RUNNING {
			return false
		}
	}
	return true
}

// Waits returns what an answer of RunService.Explain is worth: one line per reason that was
// not told since something last began.
func (m *Model) Waits(res *pb.ExplainResponse) []string {
	first := map[pb.WaitReason]*pb.Wait{}
	more := map[pb.WaitReason]int{}
	var order []pb.WaitReason
	for _, w := range res.GetWaits() {
		switch w.GetReason() {
		case pb.WaitReason_WAIT_REASON_ENVIRONMENT, pb.WaitReason_WAIT_REASON_BACK_OFF, pb.WaitReason_WAIT_REASON_NO_WORKER,
			pb.WaitReason_WAIT_REASON_QUEUE, pb.WaitReason_WAIT_REASON_QUOTA, pb.WaitReason_WAIT_REASON_GROUP, pb.WaitReason_WAIT_REASON_SHARED, pb.WaitReason_WAIT_REASON_TAKEOVER,
			pb.WaitReason_WAIT_REASON_HELD, pb.WaitReason_WAIT_REASON_SOAK, pb.WaitReason_WAIT_REASON_APPROVAL, pb.WaitReason_WAIT_REASON_WINDOW:
		default: // it goes on by itself, or with one of the others
			continue
		}
		if first[w.GetReason()] != nil {
			more[w.GetReason()]++
			continue
		}
		first[w.GetReason()] = w
		order = append(order, w.GetReason())
	}
	var out []string
	for _, r := range order {
		if m.waits[r] {
			continue
		}
		m.waits[r] = true
		text := render.Line(first[r].GetMessage())
		if n := more[r]; n > 0 {
			text += fmt.Sprintf(" (so do %d more)", n)
		}
		out = append(out, m.line(first[r].GetTask(), render.Yellow, "waits", "", text))
	}
	return out
}
