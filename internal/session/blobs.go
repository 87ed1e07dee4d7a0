package session

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cenkalti/backoff/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// maxBlob bounds what is read, in bytes: the coordinator stores nothing larger.
const maxBlob = 64 << 20

var (
	errTooLarge   = fmt.Errorf("it is larger than %d MiB", maxBlob>>20)
	errWrongBytes = errors.New("the coordinator sent bytes of another digest")
)

// patience is how long a request is made again that the coordinator or its store is not there for: NATS may be electing its leaders.
const patience = time.Minute

// Insist makes a request again while the answer is UNAVAILABLE, for a minute, and answers what the last one said.
func Insist[T any](ctx context.Context, request func() (T, error)) (T, error) {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 200*time.Millisecond, 5*time.Second
	return backoff.Retry(ctx, func() (T, error) { //nolint:wrapcheck // it is the request's own error
		v, err := request()
		if err != nil && status.Code(err) != codes.Unavailable {
			return v, backoff.Permanent(err)
		}
		return v, err
	}, backoff.WithBackOff(b), backoff.WithMaxElapsedTime(patience))
}

// Blobs fetches blobs from the coordinator and checks that they are what was asked for.
type Blobs struct{ Client pb.WorkerServiceClient }

// Get returns the blob of a "sha256:…" digest.
func (b Blobs) Get(ctx context.Context, digest string) ([]byte, error) {
	return Insist(ctx, func() ([]byte, error) { return b.get(ctx, digest) })
}

func (b Blobs) get(ctx context.Context, digest string) ([]byte, error) {
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
