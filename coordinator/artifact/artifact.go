// Package artifact stores what the journal names by digest: plans, rendered manifests,
// releases. They are small; images live in a registry, logs in logstore.
package artifact

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/coordinator/plan"
)

// MaxBlob bounds one blob, in bytes.
const MaxBlob = 64 << 20

// Errors of this package.
var (
	ErrNotFound = errors.New("no such blob")
	ErrCorrupt  = errors.New("blob is corrupt")
	ErrTooLarge = fmt.Errorf("blob is larger than %d MiB", MaxBlob>>20)
)

// Store keeps blobs in a JetStream object store.
type Store struct {
	bucket jetstream.ObjectStore
	// puts are taken by the last digit of the digest. Storing an object again takes the parts of the first away,
	// which somebody may be reading: two who store the same must see each other.
	puts [16]sync.Mutex
}

// Open makes the bucket if it is not there.
func Open(ctx context.Context, js jetstream.JetStream, replicas int) (*Store, error) {
	b, err := js.CreateOrUpdateObjectStore(ctx, jetstream.ObjectStoreConfig{
		Bucket: "SLIPWAY_BLOBS", Description: "Plans, manifests and releases, by digest", Storage: jetstream.FileStorage, Replicas: max(1, replicas),
	})
	if err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	return &Store{bucket: b}, nil
}

func key(digest string) string { return strings.ReplaceAll(digest, ":", "-") }

// Put stores data and answers its digest. Storing the same again is cheap.
func (s *Store) Put(ctx context.Context, data []byte) (string, error) {
	if len(data) > MaxBlob {
		return "", fmt.Errorf("store blob of %d bytes: %w", len(data), ErrTooLarge)
	}
	digest := plan.Sum(data)
	put := &s.puts[strings.IndexByte("0123456789abcdef", digest[len(digest)-1])]
	put.Lock()
	defer put.Unlock()
	if info, err := s.bucket.GetInfo(ctx, key(digest)); err == nil && info.Size == uint64(len(data)) {
		return digest, nil
	}
	if _, err := s.bucket.PutBytes(ctx, key(digest), data); err != nil {
		return "", fmt.Errorf("store blob %s: %w", digest, err)
	}
	return digest, nil
}

// Get reads a blob and verifies it.
func (s *Store) Get(ctx context.Context, digest string) ([]byte, error) {
	data, err := s.bucket.GetBytes(ctx, key(digest))
	switch {
	case errors.Is(err, jetstream.ErrObjectNotFound):
		return nil, fmt.Errorf("read blob %s: %w", digest, ErrNotFound)
	case err != nil:
		return nil, fmt.Errorf("read blob %s: %w", digest, err)
	case plan.Sum(data) != digest:
		return nil, fmt.Errorf("read blob %s: %w", digest, ErrCorrupt)
	}
	return data, nil
}

// Plan reads and decodes a plan.
func (s *Store) Plan(ctx context.Context, hash string) (*plan.Plan, error) {
	data, err := s.Get(ctx, hash)
	if err != nil {
		return nil, err
	}
	p, err := plan.Decode(data)
	if err != nil {
		return nil, err
	}
	return &p, nil
}
