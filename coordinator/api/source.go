package api

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/coordinator/source"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// listed is how many entries of a source are sent at once.
const listed = 2000

// ofOwner answers where the run of a lease is owned: here, or by handing on what its owner answers.
func ofOwner[Response any](
	s *workers, lease *pb.LeaseRef, out grpc.ServerStreamingServer[Response], here func() error,
	there func(context.Context, pb.WorkerServiceClient) (grpc.ServerStreamingClient[Response], error),
) error {
	p, err := s.cfg.Partitions.Of(lease.GetToken())
	if err != nil {
		return toStatus(err)
	}
	return s.cfg.ask(out.Context(), p.Number(), here, func(ctx context.Context, c *grpc.ClientConn) error {
		in, err := there(ctx, pb.NewWorkerServiceClient(c))
		return relay(in, out, err)
	})
}

func (s *workers) ListSource(req *pb.ListSourceRequest, out grpc.ServerStreamingServer[pb.ListSourceResponse]) error {
	return ofOwner(s, req.GetLease(), out, func() error { return s.listSource(req, out) }, func(ctx context.Context, c pb.WorkerServiceClient) (grpc.ServerStreamingClient[pb.ListSourceResponse], error) {
		return c.ListSource(ctx, req)
	})
}

func (s *workers) listSource(req *pb.ListSourceRequest, out grpc.ServerStreamingServer[pb.ListSourceResponse]) error {
	ctx := out.Context()
	repository, with, err := s.leased(ctx, req)
	if err != nil {
		return err
	}
	identity, err := s.cfg.Mirror.Identity(ctx, repository, req.GetCommit(), req.GetPaths(), with)
	if err != nil {
		return err
	}
	if err := out.Send(&pb.ListSourceResponse{Identity: identity}); err != nil {
		return err //nolint:wrapcheck // the stream's own status
	}
	if slices.Contains(req.GetHeld(), identity) {
		return nil
	}
	list, err := s.cfg.Mirror.Contents(ctx, repository, req.GetCommit(), req.GetPaths(), with)
	if err != nil {
		return err
	}
	for some := range slices.Chunk(list, listed) {
		m := &pb.ListSourceResponse{Entries: make([]*pb.SourceEntry, 0, len(some))}
		for _, e := range some {
			entry, err := toEntry(e)
			if err != nil {
				return err
			}
			m.Entries = append(m.Entries, entry)
		}
		if err := out.Send(m); err != nil {
			return err //nolint:wrapcheck // the stream's own status
		}
	}
	return nil
}

func toEntry(e source.Entry) (*pb.SourceEntry, error) {
	out := &pb.SourceEntry{Path: []byte(e.Path)}
	switch {
	case e.Submodule():
		out.Kind = pb.SourceEntry_KIND_FOLDER
		return out, nil
	case e.Link():
		out.Kind = pb.SourceEntry_KIND_LINK
	case e.Mode == "100755":
		out.Kind = pb.SourceEntry_KIND_EXECUTABLE
	default:
		out.Kind = pb.SourceEntry_KIND_FILE
	}
	var err error
	if e.LFS != (source.Pointer{}) {
		out.Sha256, err = hex.DecodeString(e.LFS.OID)
	} else {
		out.Blob, err = hex.DecodeString(e.ID)
	}
	return out, err
}

func (s *workers) ReadSource(req *pb.ReadSourceRequest, out grpc.ServerStreamingServer[pb.ReadSourceResponse]) error {
	return ofOwner(s, req.GetLease(), out, func() error { return s.readSource(req, out) }, func(ctx context.Context, c pb.WorkerServiceClient) (grpc.ServerStreamingClient[pb.ReadSourceResponse], error) {
		return c.ReadSource(ctx, req)
	})
}

func (s *workers) readSource(req *pb.ReadSourceRequest, out grpc.ServerStreamingServer[pb.ReadSourceResponse]) error {
	ctx := out.Context()
	repository, with, err := s.leased(ctx, req)
	if err != nil {
		return err
	}
	identity, err := s.cfg.Mirror.Identity(ctx, repository, req.GetCommit(), req.GetPaths(), with)
	if err != nil {
		return err
	}
	if identity != req.GetIdentity() {
		return status.Error(codes.Aborted, "the source is not what it was when it was listed: list it again") //nolint:wrapcheck // the edge
	}
	list, err := s.cfg.Mirror.Contents(ctx, repository, req.GetCommit(), req.GetPaths(), with)
	if err != nil {
		return err
	}
	var wanted []source.Entry
	var index []uint32
	for i, e := range list {
		if bits := req.GetWanted(); i/8 < len(bits) && bits[i/8]>>(i%8)&1 == 1 && !e.Submodule() {
			wanted, index = append(wanted, e), append(index, uint32(i))
		}
	}
	w := &parts{send: out.Send}
	err = s.cfg.Mirror.Read(ctx, repository, req.GetCommit(), wanted, func(i int, size int64, content io.Reader) error { return w.copy(index[i], size, content) })
	if err != nil {
		return err
	}
	return w.flush()
}

// parts collects content until it is worth a message.
type parts struct {
	send func(*pb.ReadSourceResponse) error
	next *pb.ReadSourceResponse
	size int
}

func (w *parts) copy(entry uint32, size int64, content io.Reader) error {
	for rest, first := size, true; first || rest > 0; first = false {
		part := &pb.SourcePart{Entry: entry, Data: make([]byte, min(rest, int64(chunk-w.size)))}
		if first {
			part.Size = size
		}
		if _, err := io.ReadFull(content, part.GetData()); err != nil {
			return fmt.Errorf("read content: %w", err)
		}
		rest -= int64(len(part.GetData()))
		if w.next == nil {
			w.next = &pb.ReadSourceResponse{}
		}
		w.next.Parts = append(w.next.Parts, part)
		// Each part costs more than its data: a thousand empty files are a message as well.
		if w.size += len(part.GetData()) + 16; w.size >= chunk {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *parts) flush() error {
	if w.next == nil {
		return nil
	}
	m := w.next
	w.next, w.size = nil, 0
	return w.send(m)
}

// leased answers the repository whose commit a lease is for, and what its run gets of it.
func (s *workers) leased(ctx context.Context, req interface {
	GetLease() *pb.LeaseRef
	GetCommit() string
},
) (repository string, with source.Options, err error) {
	repository, commit, planned, err := s.cfg.Sessions.Source(ctx, req.GetLease())
	if err != nil {
		return "", source.Options{}, err
	}
	if commit != req.GetCommit() {
		return "", source.Options{}, status.Errorf(codes.PermissionDenied, "the lease is of commit %s, not %s", commit, req.GetCommit()) //nolint:wrapcheck // the edge
	}
	return repository, source.Options(planned), nil
}

func (s *workers) FetchSource(req *pb.FetchSourceRequest, out grpc.ServerStreamingServer[pb.FetchSourceResponse]) error {
	return ofOwner(s, req.GetLease(), out, func() error { return s.fetchSource(req, out) }, func(ctx context.Context, c pb.WorkerServiceClient) (grpc.ServerStreamingClient[pb.FetchSourceResponse], error) {
		return c.FetchSource(ctx, req)
	})
}

func (s *workers) fetchSource(req *pb.FetchSourceRequest, out grpc.ServerStreamingServer[pb.FetchSourceResponse]) error {
	ctx := out.Context()
	repository, with, err := s.leased(ctx, req)
	if err != nil {
		return err
	}
	if !with.None() {
		return status.Error(codes.FailedPrecondition, "slipway.yaml says \"source:\", which workers of this version do not know: update the worker") //nolint:wrapcheck // the edge
	}
	w := &sender{size: chunk, send: func(b []byte) error { return out.Send(&pb.FetchSourceResponse{Data: b}) }}
	if err := s.cfg.Mirror.Archive(ctx, repository, req.GetCommit(), req.GetPaths(), w); err != nil {
		return err
	}
	return w.flush()
}
