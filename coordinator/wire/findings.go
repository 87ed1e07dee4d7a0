package wire

import (
	"github.com/slipway-build/slipway/coordinator/plan"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func scan(s *plan.ScanSummary) *pb.ScanSummary {
	if s == nil {
		return nil
	}
	return &pb.ScanSummary{Tool: s.Tool, Report: s.Report, Critical: int32(s.Critical), High: int32(s.High), Medium: int32(s.Medium), Low: int32(s.Low)}
}

func fromScan(s *pb.ScanSummary) *plan.ScanSummary {
	if s == nil {
		return nil
	}
	return &plan.ScanSummary{
		Tool: s.GetTool(), Report: s.GetReport(), Critical: int(s.GetCritical()), High: int(s.GetHigh()), Medium: int(s.GetMedium()), Low: int(s.GetLow()),
	}
}

func findings(f *plan.FindingsSummary) *pb.FindingsSummary {
	if f == nil {
		return nil
	}
	out := &pb.FindingsSummary{
		Fresh: int32(f.Fresh), Known: int32(f.Known), Waived: int32(f.Waived), Blocking: int32(f.Blocking), Report: f.Report, First: f.First,
	}
	for _, w := range f.Worst {
		out.Worst = append(out.Worst, Finding(w, pb.FindingState_FINDING_STATE_NEW))
	}
	return out
}

func fromFindings(f *pb.FindingsSummary) *plan.FindingsSummary {
	if f == nil {
		return nil
	}
	out := &plan.FindingsSummary{
		Fresh: int(f.GetFresh()), Known: int(f.GetKnown()), Waived: int(f.GetWaived()), Blocking: int(f.GetBlocking()), Report: f.GetReport(), First: f.GetFirst(),
	}
	for _, w := range f.GetWorst() {
		out.Worst = append(out.Worst, plan.Finding{
			Scan: w.GetScan(), Rule: w.GetRule(), Severity: w.GetSeverity(), Path: w.GetPath(), Line: int(w.GetLine()), Message: w.GetMessage(), Help: w.GetHelp(),
			Fingerprint: w.GetFingerprint(), Blocking: w.GetBlocking(),
		})
	}
	return out
}

// Finding in a state.
func Finding(f plan.Finding, state pb.FindingState) *pb.Finding {
	return &pb.Finding{
		Scan: f.Scan, Rule: f.Rule, Severity: f.Severity, Path: f.Path, Line: int32(f.Line), Message: f.Message, Help: f.Help, Fingerprint: f.Fingerprint,
		Blocking: f.Blocking, State: state,
	}
}
