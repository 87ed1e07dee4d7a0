package logstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/logstore"
	"github.com/slipway-build/slipway/internal/natstest"
)

func opened(t *testing.T, js jetstream.JetStream) *logstore.Store {
	t.Helper()
	s, err := logstore.Open(t.Context(), js, 1, 0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// noise is text of which no two stretches are equal.
func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// frames are how a log of so many bytes may be stored: each goes on where those before it
// end or begins earlier, and one that was stored may come again, late.
func frames(t *rapid.T, size int) (out [][2]int) {
	end := 0
	for end < size {
		from := max(0, end-rapid.SampledFrom([]int{0, 0, 0, 1, 5000, 200_000}).Draw(t, "overlap"))
		to := min(size, end+rapid.SampledFrom([]int{1, 100, 30_000, 100_000, 256 << 10}).Draw(t, "more"))
		out = append(out, [2]int{from, min(to, from+(512<<10))})
		end = max(end, out[len(out)-1][1])
		if rapid.IntRange(0, 9).Draw(t, "again") == 0 {
			out = append(out, rapid.SampledFrom(out).Draw(t, "which"))
		}
	}
	return out
}

func TestARangeIsASliceOfTheWhole(t *testing.T) {
	s := opened(t, natstest.Start(t).JetStream(t))
	whole := noise(2 << 20)
	n := uint64(0)
	rapid.Check(t, func(rt *rapid.T) {
		n++
		k := logstore.Key{Token: "a", Epoch: 1, Counter: n}
		want := whole[:rapid.SampledFrom([]int{0, 1, 1000, 1000, 50_000, 50_000, 2 << 20}).Draw(rt, "size")]
		for _, f := range frames(rt, len(want)) {
			if !s.Put(k, int64(f[0]), want[f[0]:f[1]]) {
				rt.Fatal("a frame was not stored")
			}
		}
		for range 3 {
			from := rapid.IntRange(0, len(want)).Draw(rt, "from")
			to := rapid.IntRange(from, len(want)).Draw(rt, "to")
			var got []byte
			err := s.Read(t.Context(), k, int64(from), func() (int64, bool) { return int64(to), true }, plain(func(at int64, data []byte) error {
				if at != int64(from+len(got)) {
					return fmt.Errorf("offset %d after %d bytes from %d", at, len(got), from)
				}
				got = append(got, data...)
				return nil
			}))
			if err != nil || len(got) < to-from || !bytes.Equal(got[:to-from], want[from:to]) {
				rt.Fatalf("bytes %d to %d: %d bytes, %v", from, to, len(got), err)
			}
		}
		if err := s.Purge(t.Context(), k); err != nil {
			rt.Fatal(err)
		}
		if size, err := s.Size(t.Context(), k); size != 0 || err != nil {
			rt.Fatalf("%d bytes are left, %v", size, err)
		}
	})
}

// A reader that is far into a long log does not read what is before it.
func TestAFarOffsetIsSought(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	s := opened(t, js)
	whole := noise(400 * 4096)
	k := logstore.Key{Token: "a", Epoch: 1, Counter: 1}
	for i := range 400 {
		s.Put(k, int64(i*4096), whole[i*4096:(i+1)*4096])
		s.Put(logstore.Key{Token: "b", Epoch: 1, Counter: 1}, int64(i), []byte{1})
	}
	before := js.Conn().Stats()
	offset := int64(360 * 4096)
	got := 0
	err := s.Read(t.Context(), k, offset, func() (int64, bool) { return offset + 10, true }, plain(func(at int64, data []byte) error {
		got += len(data)
		if !bytes.Equal(data, whole[at:at+int64(len(data))]) {
			return errors.New("other bytes")
		}
		return nil
	}))
	if err != nil || got < 10 {
		t.Errorf("%d bytes, %v", got, err)
	}
	if n := js.Conn().Stats().InMsgs - before.InMsgs; n > 30 {
		t.Errorf("%d frames were read to find one of 400", n)
	}
}

func TestWhatWasDroppedIsNamed(t *testing.T) {
	s := opened(t, natstest.Start(t).JetStream(t))
	k := logstore.Key{Token: "a", Epoch: 1, Counter: 1}
	s.Put(k, 100, make([]byte, 50))
	read := func(from, to int64) (n int, missing *logstore.MissingError) {
		err := s.Read(t.Context(), k, from, func() (int64, bool) { return to, true }, plain(func(_ int64, data []byte) error { n += len(data); return nil }))
		errors.As(err, &missing)
		return n, missing
	}
	if n, missing := read(0, 150); n != 0 || missing == nil || missing.From != 0 || missing.To != 100 {
		t.Errorf("its beginning: %d bytes, %v", n, missing)
	}
	if n, missing := read(120, 150); n != 30 || missing != nil {
		t.Errorf("what is there: %d bytes, %v", n, missing)
	}
	if n, missing := read(120, 170); n != 30 || missing == nil || missing.From != 150 || missing.To != 170 {
		t.Errorf("its end: %d bytes, %v", n, missing)
	}
}

// TestARepeatMayBeTheLastFrame: where a log ends with a frame that came before, what is sought is
// found all the same.
func TestARepeatMayBeTheLastFrame(t *testing.T) {
	s := opened(t, natstest.Start(t).JetStream(t))
	whole := noise(4 << 19)
	k := logstore.Key{Token: "a", Epoch: 1, Counter: 1}
	for _, f := range [][2]int{{0, 1 << 19}, {1 << 19, 1 << 20}, {1 << 20, 3 << 19}, {3 << 19, 4 << 19}, {0, 1 << 19}, {1 << 20, 1<<20 + 7}} {
		if !s.Put(k, int64(f[0]), whole[f[0]:f[1]]) {
			t.Fatal("a frame was not stored")
		}
	}
	for _, from := range []int{1 << 20, 1<<20 + 5, 5 << 18, 4<<19 - 1} {
		var got []byte
		err := s.Read(t.Context(), k, int64(from), func() (int64, bool) { return int64(len(whole)), true }, plain(func(_ int64, data []byte) error {
			got = append(got, data...)
			return nil
		}))
		if err != nil || !bytes.Equal(got, whole[from:]) {
			t.Errorf("from byte %d: %d bytes of %d, %v", from, len(got), len(whole)-from, err)
		}
	}
}
