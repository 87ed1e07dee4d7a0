package artifactstore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/coordinator/artifactstore"
	"github.com/slipway-build/slipway/internal/natstest"
)

// lagging has a stream that is read from a replica, to which nothing came yet of what was written.
type lagging struct{ jetstream.JetStream }

func (l lagging) CreateOrUpdateStream(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	s, err := l.JetStream.CreateOrUpdateStream(ctx, cfg)
	return replica{s}, err
}

type replica struct{ jetstream.Stream }

func (replica) GetLastMsgForSubject(context.Context, string) (*jetstream.RawStreamMsg, error) {
	return nil, jetstream.ErrMsgNotFound
}

func (r replica) OrderedConsumer(ctx context.Context, cfg jetstream.OrderedConsumerConfig) (jetstream.Consumer, error) {
	cfg.FilterSubjects = []string{"artifacts.none.head"}
	return r.Stream.OrderedConsumer(ctx, cfg)
}

// TestAReplicaThatIsBehindDeniesNothing: a test that is given what another one has just left finds it.
func TestAReplicaThatIsBehindDeniesNothing(t *testing.T) {
	now := clock{at: time.Now()}
	s, err := artifactstore.Open(t.Context(), artifactstore.Config{
		JS: lagging{natstest.Start(t).JetStream(t)}, Keep: 30 * day, MaxBytes: 1 << 30, MaxSize: 4 << 20, Log: slog.New(slog.DiscardHandler), Now: now.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	data, digest := random(t, 1<<20)
	if _, err := s.Put(t.Context(), digest, 1<<20, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := s.Get(t.Context(), digest, &got); err != nil || !bytes.Equal(got.Bytes(), data) {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
	if present, err := s.Put(t.Context(), digest, 1<<20, unread{}); err != nil || !present {
		t.Errorf("stored again: present %t, %v", present, err)
	}
	now.add(2 * day)
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Get(t.Context(), digest, io.Discard); err != nil {
		t.Errorf("swept by what a replica lists: %v", err)
	}
}

// during calls do when it is read first.
type during struct {
	io.Reader
	do func()
}

func (d *during) Read(p []byte) (int, error) {
	if d.do != nil {
		do := d.do
		d.do = nil
		do()
	}
	return d.Reader.Read(p)
}

// TestWhatIsRemovedWhileItIsStoredIsNoHalf: two store the same; what the first stored is removed with all parts that are
// there before the second has stored its last one.
func TestWhatIsRemovedWhileItIsStoredIsNoHalf(t *testing.T) {
	f := open(t, 1<<30)
	data, digest := random(t, 1<<20)
	first := bytes.NewReader(data[:512<<10])
	rest := &during{Reader: bytes.NewReader(data[512<<10:]), do: func() {
		for f.messages(t) == 0 { // until the part is there
			if t.Context().Err() != nil {
				return
			}
		}
		f.put(t, data, digest)
		f.add(31 * day)
		if err := f.Sweep(t.Context()); err != nil {
			t.Error(err)
		}
	}}
	_, err := f.Put(t.Context(), digest, 1<<20, io.MultiReader(first, rest))
	there, stat := f.Exists(t.Context(), digest)
	if stat != nil || there != (err == nil) {
		t.Fatalf("stored: %v; it is there: %t, %v", err, there, stat)
	}
	if there {
		if err := f.Get(t.Context(), digest, io.Discard); err != nil {
			t.Errorf("it is said to be there: %v", err)
		}
	}
	if f.put(t, data, digest) != there {
		t.Error("stored again")
	}
	if err := f.Get(t.Context(), digest, io.Discard); err != nil {
		t.Error(err)
	}
}

// TestWhatLostAPartIsMadeAgain: it is there for nobody, until somebody stores it.
func TestWhatLostAPartIsMadeAgain(t *testing.T) {
	f := open(t, 1<<30)
	data, digest := random(t, 1<<20)
	f.put(t, data, digest)
	s, err := f.js.Stream(t.Context(), "SLIPWAY_ARTIFACTS")
	if err == nil {
		err = s.DeleteMsg(t.Context(), 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Get(t.Context(), digest, io.Discard); err == nil {
		t.Error("it was read")
	}
	if there, err := f.Exists(t.Context(), digest); err != nil || there {
		t.Errorf("it is there: %t, %v", there, err)
	}
	if f.put(t, data, digest) {
		t.Error("it was taken for present")
	}
	if err := f.Get(t.Context(), digest, io.Discard); err != nil {
		t.Error(err)
	}
}

// TestASizeIsNotNegative: it would make room for others.
func TestASizeIsNotNegative(t *testing.T) {
	f := open(t, 1<<30)
	_, digest := random(t, 0)
	if _, err := f.Put(t.Context(), digest, -1, bytes.NewReader(nil)); err == nil {
		t.Error("an artifact of -1 bytes is stored")
	}
}

// TestNotesAreListedWithOneConsumer: a full store lists them for each artifact that is stored.
func TestNotesAreListedWithOneConsumer(t *testing.T) {
	f := open(t, 1<<30)
	for range 300 {
		data, digest := random(t, 10)
		f.put(t, data, digest)
	}
	var made atomic.Int32
	if _, err := f.js.Conn().Subscribe("$JS.API.CONSUMER.CREATE.SLIPWAY_ARTIFACTS.>", func(*nats.Msg) { made.Add(1) }); err != nil {
		t.Fatal(err)
	}
	f.add(40 * day)
	if err := f.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.js.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	if n := f.messages(t); n != 300 {
		t.Errorf("%d messages, want the notes alone", n)
	}
	if n := made.Load(); n != 1 {
		t.Errorf("%d consumers", n)
	}
}

// TestWhatIsUnderWayHasRoomOfItsOwn: two that fit one after the other are not stored at once.
func TestWhatIsUnderWayHasRoomOfItsOwn(t *testing.T) {
	f := open(t, 3<<20)
	data, digest := random(t, 2<<20)
	other, otherDigest := random(t, 2<<20)
	first := &during{Reader: bytes.NewReader(data), do: func() {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if _, err := f.Put(ctx, otherDigest, 2<<20, bytes.NewReader(other)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("there is room for one: %v", err)
		}
	}}
	if _, err := f.Put(t.Context(), digest, 2<<20, first); err != nil {
		t.Fatal(err)
	}
	f.put(t, other, otherDigest)
	if err := f.Get(t.Context(), digest, io.Discard); !errors.Is(err, artifactstore.ErrGone) {
		t.Errorf("%v", err)
	}
}
