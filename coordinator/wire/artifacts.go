package wire

import (
	"github.com/slipway-build/slipway/coordinator/plan"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Artifact that a test left.
func Artifact(a plan.Artifact) *pb.Artifact {
	return &pb.Artifact{Name: a.Name, Digest: a.Digest, Size: a.Size, Files: int32(a.Files), File: a.File, Executable: a.Executable}
}

func artifacts(list []plan.Artifact) []*pb.Artifact {
	var out []*pb.Artifact
	for _, a := range list {
		out = append(out, Artifact(a))
	}
	return out
}

func fromArtifacts(list []*pb.Artifact) []plan.Artifact {
	var out []plan.Artifact
	for _, a := range list {
		out = append(out, plan.Artifact{Name: a.GetName(), Digest: a.GetDigest(), Size: a.GetSize(), Files: int(a.GetFiles()), File: a.GetFile(), Executable: a.GetExecutable()})
	}
	return out
}

func coverage(c *plan.Coverage) *pb.Coverage {
	if c == nil {
		return nil
	}
	out := &pb.Coverage{Covered: c.Covered, Total: c.Total, Files: int32(c.Files)}
	if b := c.Before; b != nil {
		out.Before = &pb.CoverageBefore{Run: b.Run, Covered: b.Covered, Total: b.Total}
	}
	return out
}

func fromCoverage(c *pb.Coverage) *plan.Coverage {
	if c == nil {
		return nil
	}
	out := &plan.Coverage{Covered: c.GetCovered(), Total: c.GetTotal(), Files: int(c.GetFiles())}
	if b := c.GetBefore(); b != nil {
		out.Before = &plan.CoverageBefore{Run: b.GetRun(), Covered: b.GetCovered(), Total: b.GetTotal()}
	}
	return out
}
