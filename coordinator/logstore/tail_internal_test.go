package logstore

import (
	"testing"

	"github.com/slipway-build/slipway/internal/logblock"
)

// One log after the other is written while it is followed, and then is quiet: what is kept of all of them is bounded, and
// the newest of each is there.
func TestTailsAreBoundedTogether(t *testing.T) {
	const logs = 50
	data := make([]byte, frame)
	s := &Store{tails: map[Key]*tail{}, kept: tails}
	for i := range logs {
		k := Key{Counter: uint64(i)}
		x := &tail{followers: 1, more: make(chan struct{})}
		s.tails[k] = x
		for n := range 2 * deep {
			s.keep(x, found{offset: int64(n) * frame, data: data, blocks: []logblock.Block{logblock.Raw(data)}})
		}
		if s.held > tails || x.frames[len(x.frames)-1].offset != (2*deep-1)*frame {
			t.Fatalf("%d logs: %d MiB are kept", i+1, s.held>>20)
		}
	}
	sum := 0
	for k, x := range s.tails {
		size := 0
		for _, f := range x.frames {
			size += len(f.data)
		}
		if size != x.size || len(x.frames) < always {
			t.Errorf("%d frames with %d bytes, counted as %d", len(x.frames), size, x.size)
		}
		sum += size
		(&follower{s: s, k: k, tail: x}).stop()
	}
	if sum > tails || sum < tails/2 || s.held != 0 || len(s.tails) != 0 {
		t.Errorf("%d MiB were kept, and %d bytes still are, of %d logs", sum>>20, s.held, len(s.tails))
	}
}
