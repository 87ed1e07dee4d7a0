package render

import (
	"fmt"
	"strings"
	"time"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Waits is the answer of `slipway explain`. Tasks that wait for other tasks of the run are
// counted, unless one was asked for: what those wait for is what holds them up.
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
	var rows [][]Cell
	behind := 0
	for _, w := range r.GetWaits() {
		if w.GetReason() == pb.WaitReason_WAIT_REASON_DEPENDENCY && len(r.GetWaits()) > 1 {
			behind++
			continue
		}
		about := ""
		if ms := w.GetEstimateMillis(); ms > 0 {
			about = "about " + Duration(time.Duration(ms)*time.Millisecond)
		}
		rows = append(rows, []Cell{{Text: Line(w.GetTask())}, {Text: WaitReason(w.GetReason())}, {Text: about}, {Text: Line(w.GetMessage())}})
	}
	if len(rows) > 0 {
		b.WriteString(s.Table([]string{"TASK", "REASON", "STILL", "WHY"}, rows))
	}
	switch {
	case behind == 1:
		fmt.Fprintf(&b, "1 task waits for other tasks of the run; slipway explain %s TASK says for which\n", Line(r.GetRun()))
	case behind > 1:
		fmt.Fprintf(&b, "%d tasks wait for other tasks of the run; slipway explain %s TASK says for which\n", behind, Line(r.GetRun()))
	}
	return b.String()
}

// WaitReason is the reason as people read it.
func WaitReason(r pb.WaitReason) string {
	if r == pb.WaitReason_WAIT_REASON_NONE {
		return "does not wait"
	}
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(r.String(), "WAIT_REASON_")), "_", " ")
}
