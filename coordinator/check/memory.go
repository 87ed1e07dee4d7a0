package check

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Keep is how long after its end a run may still have to be told: hosts are away for
// hours at worst, and who looks at a check that is older?
const Keep = 7 * 24 * time.Hour

// Bucket is a Memory on JetStream.
type Bucket struct{ kv jetstream.KeyValue }

// Open makes the bucket if it is not there. Its entries outlive the runs that they are of.
func Open(ctx context.Context, js jetstream.JetStream, replicas int) (*Bucket, error) {
	kv, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: "SLIPWAY_CHECKS", Description: "What git hosts were told of commits", Storage: jetstream.FileStorage, Replicas: max(1, replicas), TTL: 2 * Keep,
	})
	if err != nil {
		return nil, fmt.Errorf("open the memory of checks: %w", err)
	}
	return &Bucket{kv}, nil
}

// Load answers everything that is remembered.
func (b *Bucket) Load(ctx context.Context) (map[string]string, error) {
	w, err := b.kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fmt.Errorf("read what hosts were told: %w", err)
	}
	defer func() { _ = w.Stop() }()
	out := map[string]string{}
	for {
		select {
		case e, ok := <-w.Updates():
			if !ok {
				return nil, fmt.Errorf("read what hosts were told: %w", context.Canceled)
			}
			if e == nil { // everything that was there
				return out, nil
			}
			out[e.Key()] = string(e.Value())
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Save remembers one.
func (b *Bucket) Save(ctx context.Context, key, told string) error {
	if _, err := b.kv.Put(ctx, key, []byte(told)); err != nil {
		return fmt.Errorf("remember what a host was told: %w", err)
	}
	return nil
}

// key under which it is remembered what was told of a commit.
func (c Commit) key() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q", c.Webhook, c.Repository, c.ID, c.Branch))
	return hex.EncodeToString(sum[:])
}
