package artifactstore_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/coordinator/artifactstore"
	"github.com/slipway-build/slipway/internal/natstest"
)

const day = 24 * time.Hour

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

type fixture struct {
	*artifactstore.Store
	*clock

	js jetstream.JetStream
}

func open(t *testing.T, maxBytes int64) fixture {
	t.Helper()
	f := fixture{js: natstest.Start(t).JetStream(t), clock: &clock{at: time.Now()}}
	var err error
	f.Store, err = artifactstore.Open(t.Context(), artifactstore.Config{
		JS: f.js, Keep: 30 * day, MaxBytes: maxBytes, MaxSize: 4 << 20, Log: slog.New(slog.DiscardHandler), Now: f.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func random(t *testing.T, n int) (data []byte, digest string) {
	t.Helper()
	data = make([]byte, n)
	_, _ = rand.Read(data)
	sum := sha256.Sum256(data)
	return data, "sha256:" + hex.EncodeToString(sum[:])
}

func (f fixture) put(t *testing.T, data []byte, digest string) (present bool) {
	t.Helper()
	present, err := f.Put(t.Context(), digest, int64(len(data)), bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return present
}

// messages of the stream.
func (f fixture) messages(t *testing.T) uint64 {
	t.Helper()
	s, err := f.js.Stream(t.Context(), "SLIPWAY_ARTIFACTS")
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Msgs
}

func TestWhatIsStoredIsReadAndStoredOnce(t *testing.T) {
	f := open(t, 1<<30)
	for _, size := range []int{0, 1, 512 << 10, 512<<10 + 1, 3 << 20} {
		data, digest := random(t, size)
		if f.put(t, data, digest) {
			t.Errorf("%d bytes were there", size)
		}
		before := f.messages(t)
		if present, err := f.Put(t.Context(), digest, int64(size), unread{}); err != nil || !present {
			t.Errorf("%d bytes stored again: present %t, %v", size, present, err)
		}
		if now := f.messages(t); now != before {
			t.Errorf("%d bytes stored again took room: %d messages, were %d", size, now, before)
		}
		var got bytes.Buffer
		if err := f.Get(t.Context(), digest, &got); err != nil || !bytes.Equal(got.Bytes(), data) {
			t.Errorf("%d bytes: read %d, %v", size, got.Len(), err)
		}
	}
}

// unread is for what must not be read.
type unread struct{}

func (unread) Read([]byte) (int, error) { return 0, errors.New("it was read") }

func TestWhatIsNotAsItIsSaidIsNotStored(t *testing.T) {
	f := open(t, 1<<30)
	data, digest := random(t, 1<<20)
	_, other := random(t, 1)
	for name, put := range map[string]struct {
		digest string
		size   int64
		from   io.Reader
		want   error
	}{
		"another digest": {other, 1 << 20, bytes.NewReader(data), artifactstore.ErrCorrupt},
		"more bytes":     {digest, 1<<20 - 1, bytes.NewReader(data), artifactstore.ErrCorrupt},
		"fewer bytes":    {digest, 1<<20 + 1, bytes.NewReader(data), artifactstore.ErrCorrupt},
		"too large":      {digest, 5 << 20, bytes.NewReader(data), artifactstore.ErrTooLarge},
		"no digest":      {"artifacts.>", 1, bytes.NewReader(data), artifactstore.ErrNotFound},
	} {
		if _, err := f.Put(t.Context(), put.digest, put.size, put.from); !errors.Is(err, put.want) {
			t.Errorf("%s: %v, want %v", name, err, put.want)
		}
		if n := f.messages(t); n != 0 {
			t.Errorf("%s: %d messages are left", name, n)
		}
	}
	if err := f.Get(t.Context(), digest, io.Discard); !errors.Is(err, artifactstore.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

func TestWhatNobodyStoresAgainIsRemovedAndSaysSo(t *testing.T) {
	f := open(t, 1<<30)
	old, oldDigest := random(t, 1<<20)
	renewed, renewedDigest := random(t, 1<<20)
	f.put(t, old, oldDigest)
	f.put(t, renewed, renewedDigest)
	f.add(20 * day)
	f.put(t, renewed, renewedDigest)
	f.add(10 * day)
	if err := f.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := f.Get(t.Context(), oldDigest, io.Discard)
	if !errors.Is(err, artifactstore.ErrGone) || !strings.Contains(err.Error(), f.now().UTC().Format("2006-01-02 15:04:05 UTC")+": nothing stored it again for 30 days (artifacts.keep)") {
		t.Errorf("%v", err)
	}
	if i, err := f.Stat(t.Context(), oldDigest); err != nil || i.Gone == "" || i.Size != 1<<20 {
		t.Errorf("%+v, %v", i, err)
	}
	if i, err := f.Stat(t.Context(), renewedDigest); err != nil || i.Gone != "" || !i.Until.Equal(f.now().Add(20*day)) {
		t.Errorf("%+v, %v", i, err)
	}
	if n := f.messages(t); n != 4 { // a note, and another with two parts
		t.Errorf("%d messages", n)
	}
	if f.put(t, old, oldDigest) {
		t.Error("what was removed was there")
	}
	var got bytes.Buffer
	if err := f.Get(t.Context(), oldDigest, &got); err != nil || !bytes.Equal(got.Bytes(), old) {
		t.Errorf("stored once more: %d bytes, %v", got.Len(), err)
	}
	f.add(400 * day)
	for range 2 {
		if err := f.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.add(400 * day)
	}
	if n := f.messages(t); n != 0 {
		t.Errorf("%d notes are kept forever", n)
	}
}

func TestThereIsRoomForWhatIsNew(t *testing.T) {
	f := open(t, 3<<20)
	var digests []string
	for range 4 {
		data, digest := random(t, 1<<20)
		f.put(t, data, digest)
		digests = append(digests, digest)
		f.add(time.Minute)
	}
	for i, d := range digests {
		err := f.Get(t.Context(), d, io.Discard)
		if gone := errors.Is(err, artifactstore.ErrGone); gone != (i < 2) && i != 1 { // what messages weigh decides about the second
			t.Errorf("artifact %d: %v", i, err)
		}
	}
	if err := f.Get(t.Context(), digests[0], io.Discard); err == nil || !strings.Contains(err.Error(), "artifacts.max_gib") {
		t.Errorf("%v", err)
	}
	data, digest := random(t, 3<<20+1)
	if _, err := f.Put(t.Context(), digest, int64(len(data)), bytes.NewReader(data)); !errors.Is(err, artifactstore.ErrFull) {
		t.Errorf("more than there is room for: %v", err)
	}
}

func TestManyStoreTheSameAtOnce(t *testing.T) {
	f := open(t, 1<<30)
	data, digest := random(t, 2<<20)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := f.Put(t.Context(), digest, int64(len(data)), bytes.NewReader(data)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var got bytes.Buffer
	if err := f.Get(t.Context(), digest, &got); err != nil || !bytes.Equal(got.Bytes(), data) {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
	if n := f.messages(t); n != 5 {
		t.Errorf("%d messages, want a note and four parts", n)
	}
}

func TestWhatAnUploadThatDiedLeftIsRemoved(t *testing.T) {
	f := open(t, 1<<30)
	data, digest := random(t, 1<<20)
	f.put(t, data, digest)
	if _, err := f.js.Publish(t.Context(), "artifacts."+strings.TrimPrefix(digest, "sha256:")+".SOMEBODY-0", data[:100]); err != nil {
		t.Fatal(err)
	}
	for days, want := range []uint64{4, 4, 3} {
		if err := f.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := f.messages(t); n != want {
			t.Errorf("after %d days: %d messages, want %d", days, n, want)
		}
		f.add(23 * time.Hour)
	}
	if err := f.Get(t.Context(), digest, io.Discard); err != nil {
		t.Error(err)
	}
}
