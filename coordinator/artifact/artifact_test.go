package artifact_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

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
	forged := strings.Repeat("0", 64)
	if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "blobs." + forged + ".0", Header: nats.Header{"Slipway-Parts": {"1"}}, Data: []byte("forged")}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "sha256:"+forged); !errors.Is(err, artifact.ErrCorrupt) {
		t.Errorf("get of a forged blob: %v, want ErrCorrupt", err)
	}
	if _, err := s.Get(t.Context(), "blobs.*.>"); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("get of what is no digest: %v, want ErrNotFound", err)
	}
	if _, err := s.Put(t.Context(), make([]byte, artifact.MaxBlob+1)); !errors.Is(err, artifact.ErrTooLarge) {
		t.Errorf("put of too much: %v", err)
	}
}

// Whoever has stored a blob can read it, however many store the same at that moment.
func TestManyStoreTheSame(t *testing.T) {
	s, err := artifact.Open(t.Context(), natstest.Start(t).JetStream(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	for round := range 20 {
		data := bytes.Repeat([]byte{byte(round)}, 1200<<10) // of three parts
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				digest, err := s.Put(t.Context(), data)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := s.Get(t.Context(), digest); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			})
		}
		all.Wait()
	}
}

func TestWhatIsDeletedIsGoneAndNothingElse(t *testing.T) {
	s, err := artifact.Open(t.Context(), natstest.Start(t).JetStream(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	put := func(data []byte) string {
		t.Helper()
		digest, err := s.Put(t.Context(), data)
		if err != nil {
			t.Fatal(err)
		}
		return digest
	}
	large := bytes.Repeat([]byte("snapshot"), 150<<10) // of three parts
	gone, stays := put(large), put([]byte("plan"))
	for range 2 { // again is no error
		if err := s.Delete(t.Context(), gone); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Get(t.Context(), gone); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("get of what was deleted: %v, want ErrNotFound", err)
	}
	if _, err := s.Get(t.Context(), stays); err != nil {
		t.Errorf("the other blob: %v", err)
	}
	if back, err := s.Get(t.Context(), put(large)); err != nil || !bytes.Equal(back, large) {
		t.Errorf("stored once more: %d bytes, %v", len(back), err)
	}
	if err := s.Delete(t.Context(), "blobs.*"); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("delete of what is no digest: %v, want ErrNotFound", err)
	}
}

// busy refuses what is stored, as a server with replicas does while the same is on its way
// from somebody else, and then forgets that.
type busy struct {
	jetstream.JetStream

	times int
}

func (b *busy) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if b.times--; b.times >= 0 {
		return nil, &jetstream.APIError{Code: 503, Description: "maximum messages per subject exceeded"}
	}
	return b.JetStream.PublishMsg(ctx, m, opts...)
}

func TestARefusalIsNoProofThatABlobIsThere(t *testing.T) {
	s, err := artifact.Open(t.Context(), &busy{JetStream: natstest.Start(t).JetStream(t), times: 3}, 1)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := s.Put(t.Context(), []byte("a plan"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(t.Context(), digest); err != nil || string(got) != "a plan" {
		t.Errorf("what was stored: %q, %v", got, err)
	}
}

// away is a server that does not answer.
type away struct{ jetstream.JetStream }

func (away) PublishMsg(context.Context, *nats.Msg, ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	return nil, jetstream.ErrNoStreamResponse
}

func TestAServerThatIsAwayIsToBeAskedAgain(t *testing.T) {
	s, err := artifact.Open(t.Context(), away{natstest.Start(t).JetStream(t)}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), []byte("a plan")); !errors.Is(err, artifact.ErrUnavailable) {
		t.Errorf("put: %v, want ErrUnavailable", err)
	}
}
