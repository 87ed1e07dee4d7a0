package session

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// maxBlob bounds what is read, in bytes: the coordinator stores nothing larger.
const maxBlob = 64 << 20

var (
	errTooLarge   = fmt.Errorf("it is larger than %d MiB", maxBlob>>20)
	errWrongBytes = errors.New("the coordinator sent bytes of another digest")
)

// Blobs fetches blobs from the coordinator and checks that they are what was asked for.
type Blobs struct{ Client pb.WorkerServiceClient }

// Get returns the blob of a "sha256:…" digest.
func (b Blobs) Get(ctx context.Context, digest string) ([]byte, error) {
	stream, err := b.Client.GetBlob(ctx, &pb.GetBlobRequest{Digest: digest})
	if err != nil {
		return nil, fmt.Errorf("get blob %s: %w", digest, err)
	}
	var data []byte
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("get blob %s: %w", digest, err)
		}
		if data = append(data, part.GetData()...); len(data) > maxBlob {
			return nil, fmt.Errorf("get blob %s: %w", digest, errTooLarge)
		}
	}
	sum := sha256.Sum256(data)
	if got := "sha256:" + hex.EncodeToString(sum[:]); got != digest {
		return nil, fmt.Errorf("get blob %s: %w (%s)", digest, errWrongBytes, got)
	}
	return data, nil
}
