// Package snapshottest has blobs in memory, which a test can harm.
package snapshottest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/slipway-build/slipway/coordinator/artifact"
	"github.com/slipway-build/slipway/coordinator/plan"
)

// Blobs implement snapshot.Blobs.
type Blobs struct {
	// Wait is called before anything is done ("put", "get", "delete"); its error is the
	// answer. nil: nothing.
	Wait func(ctx context.Context, call, digest string) error

	mu   sync.Mutex
	data map[string][]byte
}

func (b *Blobs) call(ctx context.Context, call, digest string) error {
	if b.Wait != nil {
		if err := b.Wait(ctx, call, digest); err != nil {
			return fmt.Errorf("%s %s: %w", call, digest, err)
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", call, digest, context.Cause(ctx))
	}
	return nil
}

// Put implements snapshot.Blobs.
func (b *Blobs) Put(ctx context.Context, data []byte) (string, error) {
	digest := plan.Sum(data)
	if err := b.call(ctx, "put", digest); err != nil {
		return "", err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.data == nil {
		b.data = map[string][]byte{}
	}
	b.data[digest] = bytes.Clone(data)
	return digest, nil
}

// Get implements snapshot.Blobs.
func (b *Blobs) Get(ctx context.Context, digest string) ([]byte, error) {
	if err := b.call(ctx, "get", digest); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	data, ok := b.data[digest]
	switch {
	case !ok:
		return nil, fmt.Errorf("read blob %s: %w", digest, artifact.ErrNotFound)
	case plan.Sum(data) != digest:
		return nil, fmt.Errorf("read blob %s: %w", digest, artifact.ErrCorrupt)
	}
	return bytes.Clone(data), nil
}

// Delete implements snapshot.Blobs.
func (b *Blobs) Delete(ctx context.Context, digest string) error {
	if err := b.call(ctx, "delete", digest); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.data, digest)
	return nil
}

// Digests of all blobs, sorted.
func (b *Blobs) Digests() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.data))
}

// Change puts what f makes of a blob in its place, as a disk that is going bad does; nil:
// it is gone.
func (b *Blobs) Change(digest string, f func([]byte) []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if data := f(bytes.Clone(b.data[digest])); data != nil {
		b.data[digest] = data
	} else {
		delete(b.data, digest)
	}
}

// Copy has the same blobs, and does not wait.
func (b *Blobs) Copy() *Blobs {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &Blobs{data: maps.Clone(b.data)}
}
