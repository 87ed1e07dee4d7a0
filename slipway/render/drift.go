package render

import (
	"fmt"
	"strings"
	"time"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Drift is what the farm knows of what somebody changed in an environment: who, when, and since when it is known.
func (s Style) Drift(d *pb.Drift, now time.Time) string {
	if d.GetRun() == "" {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "seen by the farm at %s, in run %s", d.GetAt().AsTime().UTC().Format(time.DateTime+" MST"), Line(d.GetRun()))
	if d.GetProblem() != "" {
		fmt.Fprintf(&b, "; not everywhere: %s", Line(d.GetProblem()))
	}
	b.WriteString("\n")
	restored := map[string]int{}
	for _, r := range d.GetRestored() {
		if now.Sub(r.GetAt().AsTime()) < time.Hour {
			restored[r.GetObject()]++
		}
	}
	rows := make([][]Cell, 0, len(d.GetObjects()))
	for _, o := range d.GetObjects() {
		by, changed, times := o.GetBy(), "", ""
		if by == "" {
			by = "–"
		}
		if o.GetChanged() != nil {
			changed = Duration(now.Sub(o.GetChanged().AsTime())) + " ago"
		}
		if n := restored[o.GetCluster()+"/"+o.GetService()+"/"+o.GetObject()]; n > 0 {
			times = fmt.Sprint(n)
		}
		rows = append(rows, []Cell{
			{Text: Line(o.GetCluster())}, {Text: Line(o.GetService())}, {Text: Line(o.GetObject())}, {Text: Line(by)}, {Text: changed},
			{Text: Duration(now.Sub(o.GetSince().AsTime()))}, {Text: times},
		})
	}
	if len(rows) > 0 {
		b.WriteString(s.Table([]string{"CLUSTER", "SERVICE", "OBJECT", "BY", "CHANGED", "KNOWN FOR", "RESTORED"}, rows))
	}
	return b.String()
}
