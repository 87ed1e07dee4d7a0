package session_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// shelf takes artifacts, but for one that it has and one that there is no room for.
type shelf struct {
	pb.UnimplementedWorkerServiceServer
	mu   sync.Mutex // who called may be gone, and the call goes on
	data []byte
	away int // how often yet it ends in the middle
}

// set what is there, and how often yet it ends in the middle.
func (s *shelf) set(data []byte, away int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data, s.away = data, away
}

func (s *shelf) has() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data
}

// take says whether it goes on.
func (s *shelf) take(data []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.data = append(s.data, data...); s.away > 0 {
		s.away, s.data = s.away-1, nil
		return false
	}
	return true
}

const (
	there = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	full  = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
	fresh = "sha256:3333333333333333333333333333333333333333333333333333333333333333"
)

func (s *shelf) PutArtifact(in grpc.ClientStreamingServer[pb.PutArtifactRequest, pb.PutArtifactResponse]) error {
	first, err := in.Recv()
	switch {
	case err != nil:
		return err
	case first.GetDigest() == there:
		return in.SendAndClose(&pb.PutArtifactResponse{Present: true})
	case first.GetDigest() == full:
		return status.Error(codes.ResourceExhausted, "there is no room")
	}
	for {
		m, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return in.SendAndClose(&pb.PutArtifactResponse{})
		}
		if err != nil {
			return err
		}
		if !s.take(m.GetData()) {
			return status.Error(codes.Unavailable, "this coordinator is stopping")
		}
	}
}

func (s *shelf) GetArtifact(req *pb.GetArtifactRequest, out grpc.ServerStreamingServer[pb.GetArtifactResponse]) error {
	for rest := s.has(); len(rest) > 0; {
		n := min(len(rest), 1000)
		if err := out.Send(&pb.GetArtifactResponse{Data: rest[:n]}); err != nil {
			return err
		}
		if rest = rest[n:]; req.GetDigest() == full {
			return status.Error(codes.NotFound, "it was removed")
		}
	}
	return nil
}

// endless has more bytes than anybody takes.
type endless struct{ ctx context.Context } //nolint:containedctx // of the test

func (e endless) Read(p []byte) (int, error) { return len(p), e.ctx.Err() }

func TestArtifactsAreSentInPiecesAndOnlyWhereTheyAreWanted(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, srv := &shelf{}, grpc.NewServer()
	pb.RegisterWorkerServiceServer(srv, s)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() { srv.Stop(); <-served })
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	a := session.Artifacts{Client: pb.NewWorkerServiceClient(conn)}
	data := bytes.Repeat([]byte("0123456789"), 100_000)
	if err := a.Put(t.Context(), fresh, int64(len(data)), bytes.NewReader(data)); err != nil || !bytes.Equal(s.has(), data) {
		t.Errorf("%d bytes came, %v", len(s.has()), err)
	}
	s.set(nil, 2)
	if err := a.Put(t.Context(), fresh, int64(len(data)), bytes.NewReader(data)); err != nil || !bytes.Equal(s.has(), data) {
		t.Errorf("while coordinators are replaced: %d bytes came, %v", len(s.has()), err)
	}
	s.set(s.has(), 1)
	if err := a.Put(t.Context(), fresh, int64(len(data)), io.MultiReader(bytes.NewReader(data))); status.Code(err) != codes.Unavailable {
		t.Errorf("what cannot be read twice: %v", err)
	}
	s.set(data, 0)
	if err := a.Put(t.Context(), there, 1<<40, endless{t.Context()}); err != nil {
		t.Errorf("what is there already: %v", err)
	}
	if err := a.Put(t.Context(), full, 1<<40, endless{t.Context()}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("without room: %v", err)
	}
	if err := a.Put(t.Context(), fresh, 1, io.MultiReader(bytes.NewReader([]byte("x")), broken{})); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("what cannot be read: %v", err)
	}
	var got bytes.Buffer
	if err := a.Get(t.Context(), fresh, &got); err != nil || !bytes.HasPrefix(got.Bytes(), data) {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
	if err := a.Get(t.Context(), full, io.Discard); status.Code(err) != codes.NotFound {
		t.Errorf("what is removed meanwhile: %v", err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrNoProgress }
