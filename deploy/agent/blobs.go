package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// maxManifests bounds the manifests of one service on one target.
const maxManifests = 64 << 20

var (
	errTooLarge   = fmt.Errorf("the manifests are larger than %d MiB", maxManifests>>20)
	errWrongBytes = errors.New("the coordinator sent bytes of another digest")
)

// Remote fetches blobs from the coordinator and checks that they are what was asked for.
type Remote struct{ Client pb.WorkerServiceClient }

// Get returns the blob of a "sha256:…" digest.
func (r Remote) Get(ctx context.Context, digest string) ([]byte, error) {
	stream, err := r.Client.GetBlob(ctx, &pb.GetBlobRequest{Digest: digest})
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
		if data = append(data, part.GetData()...); len(data) > maxManifests {
			return nil, fmt.Errorf("get blob %s: %w", digest, errTooLarge)
		}
	}
	sum := sha256.Sum256(data)
	if got := "sha256:" + hex.EncodeToString(sum[:]); got != digest {
		return nil, fmt.Errorf("get blob %s: %w (%s)", digest, errWrongBytes, got)
	}
	return data, nil
}
