package logarchive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/artifact"
	"github.com/slipway-build/slipway/coordinator/logarchive"
	"github.com/slipway-build/slipway/coordinator/logstore"
	"github.com/slipway-build/slipway/coordinator/snapshot/snapshottest"
	"github.com/slipway-build/slipway/internal/logblock"
	"github.com/slipway-build/slipway/internal/natstest"
)

// stored are logs in memory, by key, as lists of frames.
type stored map[logstore.Key][]frame

type frame struct {
	offset int64
	data   []byte
}

func (s stored) Frames(_ context.Context, k logstore.Key, each func(int64, []byte) error) error {
	for _, f := range s[k] {
		if err := each(f.offset, f.data); err != nil {
			return err
		}
	}
	return nil
}

func (s stored) Purge(_ context.Context, logs ...logstore.Key) error {
	for _, k := range logs {
		delete(s, k)
	}
	return nil
}

// text is like what programs write: some of it compresses well, some does not.
func text(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b []byte
	for len(b) < n {
		if r.IntN(3) > 0 {
			b = fmt.Appendf(b, "step %d of %d took %dms\n", r.IntN(50), r.IntN(50), r.IntN(9000))
			continue
		}
		for range 2000 {
			b = append(b, byte(r.Uint32()))
		}
	}
	return b[:n]
}

func read(t *testing.T, a *logarchive.Archive, l logarchive.Log, from, to int64) ([]byte, error) {
	t.Helper()
	var got []byte
	err := a.Read(t.Context(), l.Task, l.Attempt, from, to, func(at int64, data []byte) error {
		if at != from+int64(len(got)) {
			return fmt.Errorf("offset %d after %d bytes from %d", at, len(got), from)
		}
		got = append(got, data...)
		return nil
	})
	return got, err
}

// TestAnArchiveIsWhatWasWritten: whatever was stored twice, and by whomever; ranges are slices;
// what was dropped before is missing, and nothing else.
func TestAnArchiveIsWhatWasWritten(t *testing.T) {
	whole := text(1_200_000)
	rapid.Check(t, func(rt *rapid.T) {
		frames, blobs := stored{}, &snapshottest.Blobs{}
		var logs []logarchive.Log
		var gone [][2]int64 // of each log: from, to
		for i := range rapid.IntRange(0, 4).Draw(rt, "logs") {
			size := rapid.SampledFrom([]int{0, 1, 700, 700, 300_000, 1_200_000}).Draw(rt, "size")
			l := logarchive.Log{Task: i, Attempt: 1 + i%2, Key: logstore.Key{Token: fmt.Sprint(i)}, Size: int64(size)}
			if rapid.Bool().Draw(rt, "lost") {
				l.Size = -1
			}
			frames[l.Key] = write(rt, whole[:size])
			missing := [2]int64{}
			if n := len(frames[l.Key]); n > 0 && rapid.IntRange(0, 3).Draw(rt, "dropped") == 0 { // the oldest
				frames[l.Key], missing = drop(frames[l.Key], rapid.IntRange(1, n).Draw(rt, "frames"), l.Size)
			}
			logs, gone = append(logs, l), append(gone, missing)
		}
		digest, missing, err := logarchive.Write(t.Context(), blobs, frames, "shop-1", logs)
		if err != nil {
			rt.Fatal(err)
		}
		a, err := logarchive.Open(t.Context(), blobs, digest)
		if err != nil {
			rt.Fatal(err)
		}
		for i, l := range logs {
			size, ok := a.Size(l.Task, l.Attempt)
			if !ok || l.Size >= 0 && size != l.Size {
				rt.Fatalf("log %d has %d bytes, %t, want %d", i, size, ok, l.Size)
			}
			var said [2]int64
			for _, m := range missing {
				if m.Log == l {
					said = [2]int64{m.From, m.To}
				}
			}
			if d := cmp.Diff(gone[i], said); d != "" {
				rt.Fatalf("missing of log %d (-is +said):\n%s", i, d)
			}
			from := rapid.Int64Range(0, size).Draw(rt, "from")
			to := rapid.Int64Range(from, size).Draw(rt, "to")
			for _, r := range [][2]int64{{0, size}, {gone[i][1], size}, {from, to}} {
				got, err := read(t, a, l, r[0], r[1])
				var lost *logstore.MissingError
				switch {
				case r[0] < min(r[1], gone[i][1]):
					if !errors.As(err, &lost) || lost.From != r[0] || lost.To != min(r[1], gone[i][1]) {
						rt.Fatalf("bytes %v of log %d, of which %v are missing: %v", r, i, gone[i], err)
					}
				case err != nil || !bytes.Equal(got, whole[r[0]:r[1]]):
					rt.Fatalf("bytes %v of log %d: %d bytes, %v", r, i, len(got), err)
				}
			}
		}
		if err := logarchive.Remove(t.Context(), blobs, digest); err != nil || len(blobs.Digests()) > 0 {
			rt.Fatalf("blobs %v are left, %v", blobs.Digests(), err)
		}
		if err := logarchive.Remove(t.Context(), blobs, digest); err != nil {
			rt.Fatalf("removed twice: %v", err)
		}
	})
}

// write cuts a log into frames: some overlap, some come twice.
func write(t *rapid.T, log []byte) (out []frame) {
	for end := 0; end < len(log); {
		from := max(0, end-rapid.SampledFrom([]int{0, 0, 3, 40_000}).Draw(t, "overlap"))
		to := min(len(log), end+rapid.SampledFrom([]int{1, 300, 150_000, 256 << 10, 700_000}).Draw(t, "more"))
		out = append(out, frame{int64(from), log[from:to]})
		if rapid.IntRange(0, 5).Draw(t, "again") == 0 {
			out = append(out, rapid.SampledFrom(out).Draw(t, "which"))
		}
		end = to
	}
	return out
}

// drop takes the first frames away, and whatever of the rest repeats them or is behind a gap
// that they left.
func drop(frames []frame, n int, size int64) (left []frame, missing [2]int64) {
	end := int64(0)
	for _, f := range frames[:n] {
		end = max(end, f.offset+int64(len(f.data)))
	}
	for _, f := range frames[n:] {
		if f.offset >= end {
			left = append(left, f)
			end = max(end, f.offset+int64(len(f.data)))
		} else if to := f.offset + int64(len(f.data)); to > end {
			left = append(left, frame{end, f.data[end-f.offset:]})
			end = to
		}
	}
	switch {
	case len(left) > 0:
		missing[1] = left[0].offset
	case size > 0:
		missing[1] = size
	}
	return left, missing
}

// TestNoTwoRunsShareABlob: that of one may be removed.
func TestNoTwoRunsShareABlob(t *testing.T) {
	k := logstore.Key{Token: "a"}
	frames, blobs := stored{k: {{0, []byte("ok\n")}}}, &snapshottest.Blobs{}
	logs := []logarchive.Log{{Task: 1, Attempt: 1, Key: k, Size: 3}}
	var names []string
	for _, run := range []string{"shop-1", "shop-2"} {
		name, _, err := logarchive.Write(t.Context(), blobs, frames, run, logs)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if err := logarchive.Remove(t.Context(), blobs, names[0]); err != nil {
		t.Fatal(err)
	}
	a, err := logarchive.Open(t.Context(), blobs, names[1])
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, a, logs[0], 0, 3); err != nil || string(got) != "ok\n" {
		t.Errorf("%q, %v", got, err)
	}
	if _, ok := a.Size(2, 1); ok {
		t.Error("a log is there that was never written")
	}
}

func TestAStoreThatChangesWhatItHoldsIsNotBelieved(t *testing.T) {
	k := logstore.Key{Token: "a"}
	frames, blobs := stored{k: {{0, []byte("ok\n")}}}, &snapshottest.Blobs{}
	harmed := false
	blobs.Wait = func(_ context.Context, call, digest string) error {
		if call == "get" && !harmed {
			harmed = true
			for _, d := range blobs.Digests() {
				if d != digest {
					blobs.Change(d, func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
				}
			}
		}
		return nil
	}
	if _, _, err := logarchive.Write(t.Context(), blobs, frames, "shop-1", []logarchive.Log{{Task: 1, Attempt: 1, Key: k, Size: 3}}); !errors.Is(err, artifact.ErrCorrupt) {
		t.Errorf("it was stored: %v", err)
	}
}

// TestALogMovesFromTheStreamIntoTheArchive, both on a real NATS.
func TestALogMovesFromTheStreamIntoTheArchive(t *testing.T) {
	js, log := natstest.Start(t).JetStream(t), slog.New(slog.DiscardHandler)
	blobs, err := artifact.Open(t.Context(), js, 1)
	if err != nil {
		t.Fatal(err)
	}
	s, err := logstore.Open(t.Context(), js, 1, 0, log)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := text(2_500_000)
	l := logarchive.Log{Task: 3, Attempt: 1, Key: logstore.Key{Token: "0_shop-1_3", Epoch: 1, Counter: 4}, Size: int64(len(want))}
	for at := 0; at < len(want); at += 100_000 {
		from := max(0, at-30_000)
		if err := s.Append(l.Key, 1, int64(from), logblock.Raw(want[from:at+100_000]), func(int64) {}); err != nil {
			t.Fatal(err)
		}
	}
	flushed := make(chan struct{})
	if !s.Flushed(l.Key, 1, l.Size, func() { close(flushed) }) {
		<-flushed
	}
	lost := int64(0)
	archiver := logarchive.New(logarchive.Config{Blobs: blobs, Frames: s, Log: log, Lost: func(n int64) { lost += n }})
	empty := logarchive.Log{Task: 4, Attempt: 1, Key: logstore.Key{Token: "0_shop-1_4", Epoch: 1, Counter: 5}, Size: -1}
	digest, err := archiver.Archive(t.Context(), "shop-1", []logarchive.Log{l, empty})
	if err != nil || lost != 0 {
		t.Fatalf("%v, %d bytes are lost", err, lost)
	}
	if err := archiver.Purge(t.Context(), []logarchive.Log{l, empty}); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Size(t.Context(), l.Key); n != 0 || err != nil {
		t.Errorf("the stream still has %d bytes, %v", n, err)
	}
	a, err := logarchive.Open(t.Context(), blobs, digest)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range [][2]int64{{0, l.Size}, {1_234_567, 1_234_600}, {l.Size - 10, l.Size}} {
		if got, err := read(t, a, l, r[0], r[1]); err != nil || !bytes.Equal(got, want[r[0]:r[1]]) {
			t.Errorf("bytes %v: %d bytes, %v", r, len(got), err)
		}
	}
	// Frames that are gone are said, and missing.
	again, err := archiver.Archive(t.Context(), "shop-1", []logarchive.Log{l})
	if err != nil || lost != l.Size {
		t.Fatalf("%v, %d bytes are lost, want %d", err, lost, l.Size)
	}
	if a, err = logarchive.Open(t.Context(), blobs, again); err != nil {
		t.Fatal(err)
	}
	var missing *logstore.MissingError
	if _, err := read(t, a, l, 10, 20); !errors.As(err, &missing) || missing.From != 10 || missing.To != 20 {
		t.Errorf("what is missing is read: %v", err)
	}
}

// TestWhatTheLimitDroppedIsNamed: the stream is too small for what is written, so that the
// archive has the newest of it, and says what it lacks.
func TestWhatTheLimitDroppedIsNamed(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	s, err := logstore.Open(t.Context(), js, 1, 1<<20, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := text(2 << 20)
	l := logarchive.Log{Task: 1, Attempt: 1, Key: logstore.Key{Token: "a"}, Size: int64(len(want))}
	if err := s.Append(l.Key, 1, 0, logblock.Raw(want), func(int64) {}); err != nil {
		t.Fatal(err)
	}
	flushed := make(chan struct{})
	if !s.Flushed(l.Key, 1, l.Size, func() { close(flushed) }) {
		<-flushed
	}
	if used, limit, err := s.Usage(t.Context()); err != nil || limit != 1<<20 || used > limit || used < limit/2 {
		t.Errorf("%d bytes of %d are used, %v", used, limit, err)
	}
	blobs := &snapshottest.Blobs{}
	digest, missing, err := logarchive.Write(t.Context(), blobs, s, "shop-1", []logarchive.Log{l})
	if err != nil || len(missing) != 1 || missing[0].From != 0 || missing[0].To <= 1<<20 || missing[0].To >= l.Size {
		t.Fatalf("missing is %v, %v", missing, err)
	}
	a, err := logarchive.Open(t.Context(), blobs, digest)
	if err != nil {
		t.Fatal(err)
	}
	from := missing[0].To
	if got, err := read(t, a, l, from, l.Size); err != nil || !bytes.Equal(got, want[from:]) {
		t.Errorf("%d bytes from %d, %v", len(got), from, err)
	}
	var lost *logstore.MissingError
	if _, err := read(t, a, l, 0, l.Size); !errors.As(err, &lost) || lost.From != 0 || lost.To != from {
		t.Errorf("the whole of it: %v", err)
	}
}
