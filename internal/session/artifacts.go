package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// artifactFrame is how much of an artifact is in one message.
const artifactFrame = 256 << 10

// Artifacts stores artifacts at the coordinator and reads them.
type Artifacts struct{ Client pb.WorkerServiceClient }

// Put stores what r answers, so many bytes, under its digest. Of what is there already nothing is
// sent but the beginning. Where the coordinator cannot, or ends meanwhile, it is asked again, or another one, for half a
// minute, if r is an io.Seeker at its beginning.
func (a Artifacts) Put(ctx context.Context, digest string, size int64, r io.Reader) error {
	for wait := 100 * time.Millisecond; ; wait *= 2 {
		err := a.put(ctx, digest, size, r)
		again, ok := r.(io.Seeker)
		if status.Code(err) != codes.Unavailable || !ok || wait > longestWait {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
		if _, bad := again.Seek(0, io.SeekStart); bad != nil {
			return errors.Join(err, bad)
		}
	}
}

// longestWait is between two tries to store an artifact.
const longestWait = 13 * time.Second

func (a Artifacts) put(ctx context.Context, digest string, size int64, r io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := a.Client.PutArtifact(ctx)
	if err != nil {
		return fmt.Errorf("put artifact %s: %w", digest, err)
	}
	err = stream.Send(&pb.PutArtifactRequest{Digest: digest, Size: size})
	buf := make([]byte, artifactFrame)
	for err == nil {
		n, end := io.ReadFull(r, buf)
		if n > 0 {
			err = stream.Send(&pb.PutArtifactRequest{Data: buf[:n]})
		}
		if errors.Is(end, io.EOF) || errors.Is(end, io.ErrUnexpectedEOF) {
			break
		}
		if end != nil {
			return fmt.Errorf("put artifact %s: %w", digest, end)
		}
	}
	// A send that breaks off is explained by the answer.
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("put artifact %s: %w", digest, err)
	}
	if _, err := stream.CloseAndRecv(); err != nil {
		return fmt.Errorf("put artifact %s: %w", digest, err)
	}
	return nil
}

// Get writes an artifact to w. What was written is what was asked for only if there is no error.
func (a Artifacts) Get(ctx context.Context, digest string, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := a.Client.GetArtifact(ctx, &pb.GetArtifactRequest{Digest: digest})
	if err != nil {
		return fmt.Errorf("get artifact %s: %w", digest, err)
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("get artifact %s: %w", digest, err)
		}
		if _, err := w.Write(m.GetData()); err != nil {
			return fmt.Errorf("get artifact %s: %w", digest, err)
		}
	}
}
