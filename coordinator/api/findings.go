package api

import (
	"fmt"
	"slices"

	"google.golang.org/grpc"

	"github.com/slipway-build/slipway/coordinator/findings"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/wire"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// findingsAtOnce is how many findings fit into a message.
const findingsAtOnce = 1000

func (s *runs) Findings(req *pb.FindingsRequest, out grpc.ServerStreamingServer[pb.FindingsResponse]) error {
	res, err := s.Get(out.Context(), &pb.GetRequest{Run: req.GetRun()})
	if err != nil {
		return err
	}
	r := res.GetRun()
	known := false
	for _, t := range r.GetTasks() {
		if req.GetService() != "" && t.GetService() != req.GetService() {
			continue
		}
		known = true
		report := t.GetResult().GetFindings().GetReport()
		if t.GetKind() != string(plan.KindFindings) || report == "" {
			continue
		}
		doc, err := findings.Read(out.Context(), s.cfg.Blobs, report)
		if err != nil {
			return toStatus(fmt.Errorf("findings of %s in run %s: %w", t.GetService(), r.GetId(), err))
		}
		if err := sendFindings(out, r.GetId(), t.GetService(), doc); err != nil {
			return err
		}
	}
	if !known && req.GetService() != "" {
		return toStatus(fmt.Errorf("run %s has no service %q: %w", r.GetId(), req.GetService(), partition.ErrNotFound))
	}
	return nil
}

func sendFindings(out grpc.ServerStreamingServer[pb.FindingsResponse], run, service string, doc findings.Document) error {
	if len(doc.Findings) == 0 {
		return out.Send(&pb.FindingsResponse{Run: run, Service: service})
	}
	for some := range slices.Chunk(doc.Findings, findingsAtOnce) {
		m := &pb.FindingsResponse{Run: run, Service: service}
		for _, f := range some {
			p := wire.Finding(f.Finding, state(f.State))
			p.WaivedUntil, p.WaivedBecause = f.Until, f.Because
			m.Findings = append(m.Findings, p)
		}
		if err := out.Send(m); err != nil {
			return err
		}
	}
	return nil
}

func state(s findings.State) pb.FindingState {
	switch s {
	case findings.New:
		return pb.FindingState_FINDING_STATE_NEW
	case findings.Known:
		return pb.FindingState_FINDING_STATE_KNOWN
	case findings.Waived:
		return pb.FindingState_FINDING_STATE_WAIVED
	}
	return pb.FindingState_FINDING_STATE_UNSPECIFIED
}
