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
