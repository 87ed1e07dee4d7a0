package render

import (
	"cmp"
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

// WhyBuilt is why each of the run's tasks is carried out, or whose result stands in for it.
func (s Style) WhyBuilt(r *pb.Run) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n", s.Paint(Bold, Line(r.GetId())), s.Paint(RunColor(r.GetState()), RunState(r.GetState())))
	var rows [][]Cell
	for _, t := range r.GetTasks() {
		is, color := TaskState(t.GetState()), TaskColor(t.GetState())
		if t.GetState() == pb.TaskState_TASK_STATE_SUCCEEDED {
			is = "carried out"
		}
		why := t.GetReason()
		if t.GetState() == pb.TaskState_TASK_STATE_REUSED { // it may have turned out since the plan
			why = cmp.Or(t.GetMessage(), why)
		}
		rows = append(rows, []Cell{{Text: Line(t.GetId())}, {Text: is, Color: color}, {Text: Short(t.GetDigest()), Color: Dim}, {Text: Line(why)}})
	}
	if len(rows) == 0 {
		return b.String() + "nothing is built, tested or rendered\n"
	}
	return b.String() + s.Table([]string{"TASK", "IS", "DIGEST", "WHY"}, rows)
}
