package bases

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/coordinator/planner"
)

const bucket = "SLIPWAY_TAGS"

// Memory is what tags meant when a registry last said so, for the times when none does: were it
// forgotten, everything that stands on them would be built again.
type Memory struct{ kv jetstream.KeyValue }

// tag is an entry of the bucket.
type tag struct {
	Image  string `json:"image"`
	Digest string `json:"digest"`
	Was    string `json:"was,omitempty"` // before it moved last
}

// OpenMemory makes the bucket if it is not there.
func OpenMemory(ctx context.Context, js jetstream.JetStream, replicas int) (*Memory, error) {
	kv, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: bucket, Description: "What the tags of base images meant last", Storage: jetstream.FileStorage, Replicas: max(1, replicas),
	})
	if err != nil {
		return nil, fmt.Errorf("open what tags meant: %w", err)
	}
	return &Memory{kv}, nil
}

func key(image string) string {
	sum := sha256.Sum256([]byte(image))
	return hex.EncodeToString(sum[:])
}

// Last is what an image's tag meant when a registry last said so, and before it moved last; the zero
// Tag: none ever has.
func (m *Memory) Last(ctx context.Context, image string) (planner.Tag, error) {
	e, err := m.kv.Get(ctx, key(image))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return planner.Tag{}, nil
	}
	if err != nil {
		return planner.Tag{}, fmt.Errorf("read what %s meant: %w", image, err)
	}
	var t tag
	if err := json.Unmarshal(e.Value(), &t); err != nil || t.Image != image {
		return planner.Tag{}, nil //nolint:nilerr // what is no entry says nothing
	}
	return planner.Tag{Digest: t.Digest, Was: t.Was}, nil
}

// Keep notes what an image's tag means now.
func (m *Memory) Keep(ctx context.Context, image string, is planner.Tag) error {
	data, err := json.Marshal(tag{image, is.Digest, is.Was})
	if err != nil {
		return fmt.Errorf("encode what %s means: %w", image, err)
	}
	if _, err := m.kv.Put(ctx, key(image), data); err != nil {
		return fmt.Errorf("keep what %s means: %w", image, err)
	}
	return nil
}
