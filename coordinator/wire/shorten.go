package wire

import (
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Shorten leaves out details of a run's tasks until its encoding has at most limit bytes:
// what people look at last goes first. All tasks stay, so a limit under their bare size
// is not met.
func Shorten(m *pb.Run, limit int) {
	for _, cut := range []func(*pb.Task){
		func(t *pb.Task) {
			if t.GetState() == pb.TaskState_TASK_STATE_SUCCEEDED || t.GetState() == pb.TaskState_TASK_STATE_REUSED {
				withoutSteps(t)
			}
		},
		withoutSteps,
		withoutOutput,
		withoutFailures,
		shortMessages,
		func(t *pb.Task) { t.Reason = "" },
	} {
		if proto.Size(m) <= limit {
			return
		}
		m.Shortened = true
		for _, t := range m.GetTasks() {
			cut(t)
		}
	}
}

func withoutSteps(t *pb.Task) {
	for _, a := range t.GetAttempts() {
		a.Steps = nil
	}
}

func withoutOutput(t *pb.Task) {
	for _, f := range t.GetResult().GetTests().GetFailures() {
		f.Output = ""
	}
}

func withoutFailures(t *pb.Task) {
	if tests := t.GetResult().GetTests(); tests != nil {
		tests.Failures = nil
	}
	if findings := t.GetResult().GetFindings(); findings != nil {
		findings.Worst = nil
	}
}

// shortMessage is how many bytes of a message stay.
const shortMessage = 200

func shortMessages(t *pb.Task) {
	t.Message = short(t.GetMessage())
	for _, a := range t.GetAttempts() {
		a.Message = short(a.GetMessage())
	}
}

func short(s string) string {
	if len(s) <= shortMessage {
		return s
	}
	n := shortMessage
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
