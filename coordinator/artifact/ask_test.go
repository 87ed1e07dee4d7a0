package artifact

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/internal/natstest"
)

// deaf stores the first message and never says so, as a server that dies then.
type deaf struct {
	jetstream.JetStream
	asked atomic.Int32
}

func (d *deaf) PublishMsg(ctx context.Context, m *nats.Msg, o ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	ack, err := d.JetStream.PublishMsg(ctx, m, o...)
	if d.asked.Add(1) == 1 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return ack, err
}

// TestAnAnswerThatIsLostIsAskedForAgain though the caller would wait for long.
func TestAnAnswerThatIsLostIsAskedForAgain(t *testing.T) {
	js := &deaf{JetStream: natstest.Start(t).JetStream(t)}
	s, err := Open(t.Context(), js, 1)
	if err != nil {
		t.Fatal(err)
	}
	s.patience = 100 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	digest, err := s.Put(ctx, []byte("manifests"))
	if err != nil || js.asked.Load() < 2 {
		t.Fatalf("put, asked %d times: %v", js.asked.Load(), err)
	}
	if got, err := s.Get(ctx, digest); err != nil || !bytes.Equal(got, []byte("manifests")) {
		t.Errorf("get: %q, %v", got, err)
	}
}

// stubborn is a server whose leader believes that what is stored is on its way already, until
// there is another leader.
type stubborn struct {
	jetstream.JetStream
	elected atomic.Bool
}

func (b *stubborn) PublishMsg(ctx context.Context, m *nats.Msg, o ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if !b.elected.Load() {
		return nil, &jetstream.APIError{Code: 503, Description: "maximum messages per subject exceeded"}
	}
	return b.JetStream.PublishMsg(ctx, m, o...)
}

// TestALeaderThatOnlyRefusesIsReplaced: it never says that the blob is there.
func TestALeaderThatOnlyRefusesIsReplaced(t *testing.T) {
	js := &stubborn{JetStream: natstest.Start(t).JetStream(t)}
	if _, err := js.Conn().Subscribe("$JS.API.STREAM.LEADER.STEPDOWN.SLIPWAY_BLOBS", func(*nats.Msg) { js.elected.Store(true) }); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), js, 1)
	if err != nil {
		t.Fatal(err)
	}
	s.patience = 100 * time.Millisecond
	digest, err := s.Put(t.Context(), []byte("manifests"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(t.Context(), digest); err != nil || !bytes.Equal(got, []byte("manifests")) {
		t.Errorf("get: %q, %v", got, err)
	}
}
