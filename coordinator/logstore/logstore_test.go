package logstore_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/slipway-build/slipway/coordinator/logstore"
	"github.com/slipway-build/slipway/internal/logblock"
	"github.com/slipway-build/slipway/internal/natstest"
)

func TestBytesAreReadInOrderOnceWhileTheyAreWritten(t *testing.T) {
	s, err := logstore.Open(t.Context(), natstest.Start(t).JetStream(t), 1, 0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	k := logstore.Key{Token: "0_shop-1_2", Epoch: 1, Counter: 7}
	var want []byte
	for i := range 2000 {
		want = fmt.Appendf(want, "line %d of a build that says a lot, again and again\n", i)
	}
	size := atomic.Int64{}
	size.Store(-1)
	got := make(chan []byte, 1)
	go func() {
		var b []byte
		err := s.Read(t.Context(), k, 10, func() (int64, bool) { n := size.Load(); return n, n >= 0 }, plain(func(off int64, data []byte) error {
			if off != int64(len(b))+10 {
				t.Errorf("offset %d after %d bytes", off, len(b))
			}
			b = append(b, data...)
			return nil
		}))
		if err != nil {
			t.Error(err)
		}
		got <- b
	}()
	// A writer that resends what was not acknowledged overlaps.
	for off := 0; off < len(want); off += 700 {
		from := max(0, off-300)
		if err := s.Append(k, 1, int64(from), logblock.Raw(want[from:min(len(want), off+700)]), func(int64) {}); err != nil {
			t.Fatal(err)
		}
	}
	flushed := make(chan struct{})
	if !s.Flushed(k, 1, int64(len(want)), func() { close(flushed) }) {
		<-flushed
	}
	size.Store(int64(len(want)))
	if b := <-got; !bytes.Equal(b, want[10:]) {
		t.Errorf("read %d bytes, want %d", len(b), len(want)-10)
	}
}

func TestAGapIsRefused(t *testing.T) {
	s, err := logstore.Open(t.Context(), natstest.Start(t).JetStream(t), 1, 0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	k := logstore.Key{Token: "a", Epoch: 1, Counter: 1}
	if err := s.Append(k, 1, 0, logblock.Raw([]byte("abc")), func(int64) {}); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(k, 1, 5, logblock.Raw([]byte("fgh")), func(int64) {}); err == nil {
		t.Error("a gap was taken")
	}
}

// A holder whose connection goes to another coordinator and back has been acknowledged there
// meanwhile: what this one had of the log is neither waited for nor taken for a gap.
func TestAHolderComesBackFromAnotherCoordinator(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	open := func() *logstore.Store {
		s, err := logstore.Open(t.Context(), js, 1, 0, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	here, there := open(), open()
	k := logstore.Key{Token: "0_shop-1_2", Epoch: 1, Counter: 7}
	write := func(s *logstore.Store, session uint64, offset int64, text string) {
		t.Helper()
		durable := make(chan struct{})
		err := s.Append(k, session, offset, logblock.Raw([]byte(text)), func(n int64) {
			if n == offset+int64(len(text)) {
				close(durable)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		<-durable
	}
	write(here, 1, 0, "aaaa")
	write(there, 2, 4, "bbbb")
	if !here.Flushed(k, 3, 8, func() {}) {
		t.Error("the end waits for bytes that are durable, and come to another coordinator")
	}
	write(here, 3, 8, "cc")
	if err := here.Append(k, 1, 4, logblock.Raw([]byte("late")), func(int64) { t.Error("a connection that is gone is acknowledged") }); err != nil {
		t.Errorf("what a connection said that is gone: %v", err)
	}
	if !here.Flushed(k, 3, 10, func() {}) {
		t.Error("all of it is durable")
	}
	var got []byte
	err := here.Read(t.Context(), k, 0, func() (int64, bool) { return 10, true }, plain(func(_ int64, data []byte) error { got = append(got, data...); return nil }))
	if err != nil || string(got) != "aaaabbbbcc" {
		t.Errorf("read %q, %v", got, err)
	}
}
