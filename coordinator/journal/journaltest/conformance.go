package journaltest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/slipway-build/slipway/coordinator/journal"
)

// Conformance is what every journal.Stream must do. fresh begins an empty stream; open
// opens one more handle of it.
func Conformance(t *testing.T, fresh func(t *testing.T) (open func() journal.Stream)) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, func() journal.Stream){
		"frames are read as they were appended": appended, "an append behind another record stores nothing": behind,
		"of appends in the same place one wins": race, "reading ends with the first error": ends, "a call of somebody who has gone fails": gone,
		"what is purged is gone, and nothing else": purged,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

func fill(t *testing.T, s journal.Stream, n uint64) {
	t.Helper()
	for i := range n {
		if got, err := s.Append(t.Context(), i, fmt.Appendf(nil, "frame %d", i+1)); err != nil || got != i+1 {
			t.Fatalf("append behind %d: record %d, %v", i, got, err)
		}
	}
}

// read answers the numbers of the frames from one on.
func read(t *testing.T, s journal.Stream, from uint64) []uint64 {
	t.Helper()
	var got []uint64
	err := s.Read(t.Context(), from, func(n uint64, frame []byte) error {
		if want := fmt.Sprintf("frame %d", n); string(frame) != want {
			t.Errorf("record %d is %q, want %q", n, frame, want)
		}
		got = append(got, n)
		return nil
	})
	if err != nil {
		t.Errorf("read from %d: %v", from, err)
	}
	return got
}

func appended(t *testing.T, open func() journal.Stream) {
	t.Helper()
	s := open()
	if got := read(t, s, 1); len(got) != 0 {
		t.Errorf("an empty stream has records %v", got)
	}
	if _, err := s.Get(t.Context(), 1); !errors.Is(err, journal.ErrNoRecord) {
		t.Errorf("get of what was never stored: %v, want ErrNoRecord", err)
	}
	fill(t, s, 3)
	for from, want := range map[uint64]string{1: "[1 2 3]", 3: "[3]", 4: "[]"} {
		if got := fmt.Sprint(read(t, open(), from)); got != want {
			t.Errorf("read from %d: %s, want %s", from, got, want)
		}
	}
	if frame, err := open().Get(t.Context(), 2); err != nil || string(frame) != "frame 2" {
		t.Errorf("get: %q, %v", frame, err)
	}
	if _, err := s.Get(t.Context(), 4); !errors.Is(err, journal.ErrNoRecord) {
		t.Errorf("get behind the end: %v, want ErrNoRecord", err)
	}
}

func behind(t *testing.T, open func() journal.Stream) {
	t.Helper()
	s := open()
	fill(t, s, 2)
	for _, last := range []uint64{0, 1, 3, 7} {
		if _, err := open().Append(t.Context(), last, []byte("frame 2")); !errors.Is(err, journal.ErrBehind) {
			t.Errorf("append behind %d of 2: %v, want ErrBehind", last, err)
		}
	}
	if got := fmt.Sprint(read(t, s, 1)); got != "[1 2]" {
		t.Errorf("records after refused appends: %s", got)
	}
}

func race(t *testing.T, open func() journal.Stream) {
	t.Helper()
	s := open()
	fill(t, s, 1)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 8 {
		mine := open()
		wg.Go(func() {
			_, err := mine.Append(t.Context(), 1, []byte("frame 2"))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case !errors.Is(err, journal.ErrBehind):
				t.Errorf("append: %v, want ErrBehind", err)
			}
		})
	}
	wg.Wait()
	if got := fmt.Sprint(read(t, s, 1)); won != 1 || got != "[1 2]" {
		t.Errorf("%d of 8 appends won, records %s", won, got)
	}
}

func ends(t *testing.T, open func() journal.Stream) {
	t.Helper()
	s := open()
	fill(t, s, 3)
	stop := errors.New("enough")
	seen := 0
	if err := s.Read(t.Context(), 1, func(uint64, []byte) error { seen++; return stop }); !errors.Is(err, stop) || seen != 1 {
		t.Errorf("read: %v after %d records, want %v after one", err, seen, stop)
	}
}

func gone(t *testing.T, open func() journal.Stream) {
	t.Helper()
	s := open()
	fill(t, s, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Append(ctx, 1, []byte("frame 2")); err == nil || errors.Is(err, journal.ErrBehind) {
		t.Errorf("append of somebody who has gone: %v", err)
	}
	if _, err := s.Get(ctx, 1); err == nil || errors.Is(err, journal.ErrNoRecord) {
		t.Errorf("get of somebody who has gone: %v", err)
	}
	if err := s.Read(ctx, 1, func(uint64, []byte) error { return nil }); err == nil {
		t.Error("read of somebody who has gone succeeds")
	}
}

func purged(t *testing.T, open func() journal.Stream) {
	t.Helper()
	s := open()
	bounds := func(want string) {
		t.Helper()
		first, last, err := open().Bounds(t.Context())
		if got := fmt.Sprint(first, last); err != nil || got != want {
			t.Errorf("bounds %s, %v, want %s", got, err, want)
		}
	}
	if _, last, err := s.Bounds(t.Context()); err != nil || last != 0 {
		t.Errorf("an empty stream ends with %d, %v", last, err)
	}
	if err := s.Purge(t.Context(), 3); err != nil {
		t.Errorf("purge of an empty stream: %v", err)
	}
	fill(t, s, 5)
	for _, before := range []uint64{0, 1, 3, 2, 3} { // one that comes late takes nothing back
		if err := open().Purge(t.Context(), before); err != nil {
			t.Errorf("purge before %d: %v", before, err)
		}
	}
	bounds("3 5")
	if got := fmt.Sprint(read(t, open(), 3)); got != "[3 4 5]" {
		t.Errorf("what is left: %s", got)
	}
	if _, err := s.Get(t.Context(), 2); !errors.Is(err, journal.ErrNoRecord) {
		t.Errorf("get of what was purged: %v, want ErrNoRecord", err)
	}
	if err := s.Read(t.Context(), 2, func(uint64, []byte) error { return nil }); !errors.Is(err, journal.ErrPurged) {
		t.Errorf("read from what was purged: %v, want ErrPurged", err)
	}
	if got, err := s.Append(t.Context(), 5, []byte("frame 6")); err != nil || got != 6 {
		t.Errorf("append after a purge: record %d, %v", got, err)
	}
	if err := s.Purge(t.Context(), 100); err != nil {
		t.Errorf("purge of everything: %v", err)
	}
	bounds("6 6")
}
