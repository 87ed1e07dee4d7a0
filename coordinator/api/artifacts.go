package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/coordinator/artifactstore"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/wire"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func (s *workers) PutArtifact(in grpc.ClientStreamingServer[pb.PutArtifactRequest, pb.PutArtifactResponse]) error {
	first, err := in.Recv()
	if err != nil {
		return err //nolint:wrapcheck // the stream's own status
	}
	if first.GetDigest() == "" {
		return status.Error(codes.InvalidArgument, "the first message has no digest") //nolint:wrapcheck // the edge
	}
	present, err := s.cfg.Artifacts.Put(in.Context(), first.GetDigest(), first.GetSize(), &received{in: in, data: first.GetData()})
	if err != nil {
		return toStatus(err)
	}
	return in.SendAndClose(&pb.PutArtifactResponse{Present: present}) //nolint:wrapcheck // the stream's own status
}

// received reads the bytes of a stream.
type received struct {
	in   grpc.ClientStreamingServer[pb.PutArtifactRequest, pb.PutArtifactResponse]
	data []byte
}

func (r *received) Read(p []byte) (int, error) {
	for len(r.data) == 0 {
		m, err := r.in.Recv()
		if errors.Is(err, io.EOF) {
			return 0, io.EOF
		}
		if err != nil {
			return 0, err //nolint:wrapcheck // the stream's own status
		}
		r.data = m.GetData()
	}
	n := copy(p, r.data)
	r.data = r.data[n:]
	return n, nil
}

func (s *workers) GetArtifact(req *pb.GetArtifactRequest, out grpc.ServerStreamingServer[pb.GetArtifactResponse]) error {
	w := &sender{size: chunk, send: func(b []byte) error { return out.Send(&pb.GetArtifactResponse{Data: b}) }}
	if err := s.cfg.Artifacts.Get(out.Context(), req.GetDigest(), w); err != nil {
		return toStatus(err)
	}
	return w.flush()
}

func (s *runs) Artifacts(ctx context.Context, req *pb.ArtifactsRequest) (*pb.ArtifactsResponse, error) {
	res, err := s.Get(ctx, &pb.GetRequest{Run: req.GetRun()})
	if err != nil {
		return nil, err
	}
	out := &pb.ArtifactsResponse{Run: res.GetRun().GetId()}
	for _, t := range res.GetRun().GetTasks() {
		if req.GetTask() != "" && t.GetId() != req.GetTask() {
			continue
		}
		for _, a := range t.GetResult().GetArtifacts() {
			kept := &pb.KeptArtifact{Task: t.GetId(), Artifact: a}
			info, err := s.cfg.Artifacts.Stat(ctx, a.GetDigest())
			switch {
			case errors.Is(err, artifactstore.ErrNotFound):
				kept.Gone = "nothing is known of it any more"
			case err != nil:
				return nil, toStatus(err)
			case info.Gone != "":
				kept.Gone = info.Gone
			default:
				kept.Until = wire.Time(info.Until)
			}
			out.Artifacts = append(out.Artifacts, kept)
		}
	}
	return out, nil
}

// downloadArtifact answers an artifact of a task.
func (s *runs) downloadArtifact(run string, t *pb.Task, name string, out grpc.ServerStreamingServer[pb.DownloadResponse]) error {
	var names []string
	for _, a := range t.GetResult().GetArtifacts() {
		if a.GetName() != name {
			names = append(names, a.GetName())
			continue
		}
		head := &pb.DownloadResponse{Digest: a.GetDigest(), Size: a.GetSize(), MediaType: "application/octet-stream", File: a.GetFile(), Executable: a.GetExecutable()}
		if a.GetFile() == "" {
			head.MediaType, head.File = "application/zstd", path.Base(t.GetService())+"-"+path.Base(t.GetId())+"-"+name+".tar.zst"
		}
		w := &sender{size: chunk, send: func(b []byte) error {
			m := head
			head = &pb.DownloadResponse{}
			m.Data = b
			return out.Send(m)
		}}
		if err := s.cfg.Artifacts.Get(out.Context(), a.GetDigest(), w); err != nil {
			return toStatus(fmt.Errorf("artifact %s of task %s in run %s: %w", name, t.GetId(), run, err))
		}
		if head.GetDigest() != "" && len(w.buf) == 0 { // it is empty
			return out.Send(head)
		}
		return w.flush()
	}
	has := "it left none"
	if len(names) > 0 {
		has = "it left " + strings.Join(names, ", ")
	}
	return toStatus(fmt.Errorf("artifact %q of task %s in run %s: %w: %s", name, t.GetId(), run, partition.ErrNotFound, has))
}
