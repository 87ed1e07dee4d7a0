package api

import (
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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
