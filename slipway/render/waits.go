package render

import (
	"fmt"
	"strings"
	"time"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Waits is the answer of `slipway explain`.
func (s Style) Waits(r *pb.ExplainResponse) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n", s.Paint(Bold, Line(r.GetRun())), s.Paint(RunColor(r.GetState()), RunState(r.GetState())))
	if m := Line(r.GetMessage()); m != "" {
		b.WriteString(m + "\n")
	}
	if len(r.GetWaits()) == 0 {
		b.WriteString("no task waits\n")
		return b.String()
	}
	rows := make([][]Cell, 0, len(r.GetWaits()))
	for _, w := range r.GetWaits() {
		about := ""
		if ms := w.GetEstimateMillis(); ms > 0 {
			about = "about " + Duration(time.Duration(ms)*time.Millisecond)
		}
		rows = append(rows, []Cell{{Text: Line(w.GetTask())}, {Text: WaitReason(w.GetReason())}, {Text: about}, {Text: Line(w.GetMessage())}})
	}
	b.WriteString(s.Table([]string{"TASK", "REASON", "STILL", "WHY"}, rows))
	return b.String()
}

// WaitReason is the reason as people read it.
func WaitReason(r pb.WaitReason) string {
	if r == pb.WaitReason_WAIT_REASON_NONE {
		return "does not wait"
	}
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(r.String(), "WAIT_REASON_")), "_", " ")
}
