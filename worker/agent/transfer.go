package agent

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/worker/workspace"
)

// chunk is the size of a frame of a blob.
const chunk = 256 << 10

// fetcher reads sources from the coordinator in the name of a lease.
func (a *Agent) fetcher(g *pb.Grant) workspace.Fetch {
	return func(ctx context.Context, s workspace.Source, w io.Writer) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := a.cfg.Coordinator.FetchSource(ctx, &pb.FetchSourceRequest{Lease: g.GetLease(), Commit: s.Commit, Paths: s.Paths})
		if err != nil {
			return err
		}
		for {
			m, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if _, err := w.Write(m.GetData()); err != nil {
				return err
			}
		}
	}
}

// Blobs stores blobs at the coordinator.
type Blobs struct {
	Coordinator pb.WorkerServiceClient
}

// GetBlob reads a blob by its digest.
func (b Blobs) GetBlob(ctx context.Context, digest string) ([]byte, error) {
	return session.Blobs{Client: b.Coordinator}.Get(ctx, digest)
}

// PutBlob stores data and answers its digest.
func (b Blobs) PutBlob(ctx context.Context, data []byte) (string, error) {
	stream, err := b.Coordinator.PutBlob(ctx)
	if err != nil {
		return "", fmt.Errorf("put blob: %w", err)
	}
	for rest := data; len(rest) > 0; {
		n := min(len(rest), chunk)
		// A send that breaks off is explained by the answer.
		if err := stream.Send(&pb.PutBlobRequest{Data: rest[:n]}); err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("put blob: %w", err)
		} else if err != nil {
			break
		}
		rest = rest[n:]
	}
	answer, err := stream.CloseAndRecv()
	if err != nil {
		return "", fmt.Errorf("put blob: %w", err)
	}
	return answer.GetDigest(), nil
}
