package poll

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Bucket is a Memory on JetStream.
type Bucket struct{ kv jetstream.KeyValue }

// Open makes the bucket if it is not there.
func Open(ctx context.Context, js jetstream.JetStream, replicas int) (*Bucket, error) {
	kv, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: "SLIPWAY_HEADS", Description: "Branches of repositories as they were seen last", Storage: jetstream.FileStorage, Replicas: max(1, replicas),
	})
	if err != nil {
		return nil, fmt.Errorf("open the memory of polls: %w", err)
	}
	return &Bucket{kv}, nil
}

// Load answers what Save was told last.
func (b *Bucket) Load(ctx context.Context, key string) (map[string]string, error) {
	e, err := b.kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what was seen of a repository: %w", err)
	}
	heads := map[string]string{}
	if err := json.Unmarshal(e.Value(), &heads); err != nil {
		return nil, fmt.Errorf("read what was seen of a repository: %w", err)
	}
	return heads, nil
}

// Save remembers the heads of the branches.
func (b *Bucket) Save(ctx context.Context, key string, heads map[string]string) error {
	data, err := json.Marshal(heads)
	if err != nil {
		return fmt.Errorf("remember what was seen of a repository: %w", err)
	}
	if _, err := b.kv.Put(ctx, key, data); err != nil {
		return fmt.Errorf("remember what was seen of a repository: %w", err)
	}
	return nil
}
