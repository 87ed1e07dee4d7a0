package artifact_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/slipway-build/slipway/coordinator/artifact"
	"github.com/slipway-build/slipway/internal/natstest"
)

func TestBlobsAreFoundByDigestAndVerified(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	s, err := artifact.Open(t.Context(), js, 1)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("manifests\n"), 100_000)
	var digest string
	for range 2 {
		if digest, err = s.Put(t.Context(), want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Get(t.Context(), digest)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("get: %d bytes, %v", len(got), err)
	}
	if _, err := s.Get(t.Context(), "sha256:0000"); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("get of an unknown digest: %v", err)
	}
	bucket, err := js.ObjectStore(t.Context(), "SLIPWAY_BLOBS")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.PutBytes(t.Context(), "sha256-"+digest[len("sha256:"):], []byte("forged")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), digest); !errors.Is(err, artifact.ErrCorrupt) {
		t.Errorf("get of a forged blob: %v, want ErrCorrupt", err)
	}
	if _, err := s.Put(t.Context(), make([]byte, artifact.MaxBlob+1)); !errors.Is(err, artifact.ErrTooLarge) {
		t.Errorf("put of too much: %v", err)
	}
}
