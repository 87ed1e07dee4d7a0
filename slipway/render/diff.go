package render

import (
	"cmp"
	"fmt"
	"strings"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Diff shows what a release of the run's commit would change, target by target; empty: the run did not ask.
func (s Style) Diff(r *pb.Run) string {
	var order []string
	of := map[string][]*pb.Task{}
	for _, t := range r.GetTasks() {
		if t.GetKind() != "diff" {
			continue
		}
		target := Line(t.GetEnvironment() + "/" + t.GetCluster())
		if of[target] == nil {
			order = append(order, target)
		}
		of[target] = append(of[target], t)
	}
	var b strings.Builder
	for _, target := range order {
		b.WriteString(s.Paint(Bold, target) + "\n")
		var same []string
		for _, t := range of[target] {
			if t.GetState() == pb.TaskState_TASK_STATE_SUCCEEDED && len(t.GetResult().GetDiff().GetObjects()) == 0 {
				same = append(same, Line(t.GetService()))
				continue
			}
			s.compared(&b, r.GetId(), t)
		}
		if len(same) > 0 {
			b.WriteString("  " + s.Paint(Dim, "nothing would be changed of "+strings.Join(same, ", ")) + "\n")
		}
	}
	return b.String()
}

func (s Style) compared(b *strings.Builder, run string, t *pb.Task) {
	if t.GetState() != pb.TaskState_TASK_STATE_SUCCEEDED {
		what, _ := strings.CutSuffix(cmp.Or(Line(t.GetMessage()), TaskState(t.GetState())), ":")
		fmt.Fprintf(b, "  %s  %s\n", Line(t.GetService()), s.Paint(TaskColor(t.GetState()), what))
		return
	}
	fmt.Fprintf(b, "  %s  %s\n", Line(t.GetService()), s.Paint(Dim, Line(t.GetMessage())))
	d := t.GetResult().GetDiff()
	for _, o := range d.GetObjects() {
		sign, color := signOf(o.GetAction())
		line := sign + " " + Line(o.GetObject())
		if o.GetReason() != "" || o.GetAction() == "kept" {
			line += "  " + o.GetAction() + " " + Line(o.GetReason())
		}
		if o.GetAction() == "changed" && len(o.GetFields()) == 0 {
			line += "  who holds its fields, and no value"
		}
		b.WriteString("    " + s.Paint(color, line) + "\n")
		for _, f := range o.GetFields() {
			fmt.Fprintf(b, "        %s: %s → %s\n", Line(f.GetPath()), s.Paint(Red, cmp.Or(Line(f.GetFrom()), "nothing")), s.Paint(Green, cmp.Or(Line(f.GetTo()), "nothing")))
		}
		if o.GetMore() > 0 {
			fmt.Fprintf(b, "        and %d more fields\n", o.GetMore())
		}
	}
	if more := d.GetCreated() + d.GetChanged() + d.GetDeleted() - int32(len(d.GetObjects())); more > 0 {
		fmt.Fprintf(b, "    and %d more objects: slipway logs %s %s\n", more, Line(run), Line(t.GetId()))
	}
}

// signOf what would become of an object: the sign alone tells it, without a color, too.
func signOf(action string) (string, Color) {
	switch action {
	case "created":
		return "+", Green
	case "deleted":
		return "-", Red
	case "carried out":
		return ">", Blue
	case "kept":
		return "=", Dim
	default:
		return "~", Yellow
	}
}
