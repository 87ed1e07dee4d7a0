package api

import (
	"fmt"

	"google.golang.org/grpc"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func (s *runs) Download(req *pb.DownloadRequest, out grpc.ServerStreamingServer[pb.DownloadResponse]) error {
	res, err := s.Get(out.Context(), &pb.GetRequest{Run: req.GetRun()})
	if err != nil {
		return err
	}
	r := res.GetRun()
	for _, t := range r.GetTasks() {
		if t.GetId() != req.GetTask() {
			continue
		}
		if req.GetArtifact() != "" {
			return s.downloadArtifact(r.GetId(), t, req.GetArtifact(), out)
		}
		digest, kind := document(t)
		if digest == "" {
			return toStatus(fmt.Errorf("a document of task %s in run %s: %w: builds with sbom, scans, findings and the release leave one, once they succeeded", t.GetId(), r.GetId(), partition.ErrNotFound))
		}
		data, err := s.cfg.Blobs.Get(out.Context(), digest)
		if err != nil {
			return toStatus(fmt.Errorf("the document of task %s in run %s: %w", t.GetId(), r.GetId(), err))
		}
		head := &pb.DownloadResponse{Digest: digest, Size: int64(len(data)), MediaType: kind}
		w := &sender{size: chunk, send: func(b []byte) error {
			m := head
			head = &pb.DownloadResponse{}
			m.Data = b
			return out.Send(m)
		}}
		if _, err := w.Write(data); err != nil {
			return err
		}
		return w.flush()
	}
	return toStatus(fmt.Errorf("run %s has no task %q: %w", r.GetId(), req.GetTask(), partition.ErrNotFound))
}

// document is what a task left, and what it is; empty: nothing.
func document(t *pb.Task) (digest, mediaType string) {
	res := t.GetResult()
	switch plan.Kind(t.GetKind()) {
	case plan.KindBuild:
		return res.GetSbom(), "application/spdx+json"
	case plan.KindScan:
		return res.GetScan().GetReport(), "application/sarif+json"
	case plan.KindFindings:
		return res.GetFindings().GetReport(), "application/json"
	case plan.KindRelease: // manifests may hold what only some may read: slipway diff shows them, veiled
		return res.GetRelease(), "application/json"
	default:
		return "", ""
	}
}
