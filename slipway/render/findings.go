package render

import (
	"fmt"
	"strings"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Findings are what the scans of a run found, in the order of their services, each with all of its findings.
func (s Style) Findings(list []*pb.FindingsResponse, known bool) string {
	var rows [][]Cell
	hidden := 0
	var b strings.Builder
	for _, service := range list {
		var fresh, old, waived int
		for _, f := range service.GetFindings() {
			switch f.GetState() {
			case pb.FindingState_FINDING_STATE_KNOWN:
				if old++; !known {
					hidden++
					continue
				}
			case pb.FindingState_FINDING_STATE_WAIVED:
				waived++
			default:
				fresh++
			}
			rows = append(rows, finding(service.GetService(), f))
		}
		fmt.Fprintf(&b, "%s: %d new, %d known, %d waived\n", Line(service.GetService()), fresh, old, waived)
	}
	out := b.String()
	if len(rows) > 0 {
		out = s.Table([]string{"SEVERITY", "STATE", "SERVICE", "WHERE", "RULE", "WHAT"}, rows) + "\n" + out
	}
	if hidden > 0 {
		out += fmt.Sprintf("%d known, which --known shows\n", hidden)
	}
	return out
}

func finding(service string, f *pb.Finding) []Cell {
	where := Line(f.GetPath())
	if f.GetLine() > 0 {
		where = fmt.Sprintf("%s:%d", where, f.GetLine())
	}
	severity, state := Cell{Text: Line(f.GetSeverity())}, Cell{Text: "new"}
	switch f.GetState() {
	case pb.FindingState_FINDING_STATE_KNOWN:
		state.Text = "known"
	case pb.FindingState_FINDING_STATE_WAIVED:
		state = Cell{Text: "waived until " + Line(f.GetWaivedUntil()), Color: Yellow}
	default:
		if f.GetBlocking() {
			severity.Color, state = Red, Cell{Text: "blocks", Color: Red}
		}
	}
	what := Line(f.GetMessage())
	if f.GetWaivedBecause() != "" {
		what += " (waived: " + Line(f.GetWaivedBecause()) + ")"
	}
	return []Cell{severity, state, {Text: Line(service)}, {Text: where}, {Text: Line(f.GetScan() + "/" + f.GetRule())}, {Text: what}}
}
