package logstore_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/coordinator/logstore"
	"github.com/slipway-build/slipway/internal/logblock"
	"github.com/slipway-build/slipway/internal/natstest"
)

// early is what is written ahead now.
func early(t *testing.T, js jetstream.JetStream) jetstream.StreamState {
	t.Helper()
	s, err := js.Stream(t.Context(), "SLIPWAY_LOGS_AHEAD")
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State
}

// seen follows a log until so many bytes of it were seen, and then leaves.
func seen(t *testing.T, s *logstore.Store, k logstore.Key, g *growing, bytes int) {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	next := 0
	err := s.Read(ctx, k, 0, g.end, plain(func(at int64, data []byte) error {
		if at != int64(next) || string(data) != string(g.whole[at:at+int64(len(data))]) {
			return fmt.Errorf("other bytes at %d, where those at %d were expected", at, next)
		}
		if next += len(data); next >= bytes {
			leave()
		}
		return nil
	}))
	if next < bytes {
		t.Errorf("%d bytes of %d were seen: %v", next, bytes, err)
	}
}

// Many logs that are followed are durable together, long before the frame of each is stored;
// what was written ahead is taken away once they are.
func TestLogsThatAreFollowedAreWrittenAheadTogether(t *testing.T) {
	const logs = 60
	js := natstest.Start(t).JetStream(t)
	s := opened(t, js)
	s.Gather(time.Hour)
	var all sync.WaitGroup
	flushed := make(chan struct{}, logs)
	for i := range logs {
		k := logstore.Key{Token: fmt.Sprint("t", i), Epoch: 1, Counter: uint64(i)}
		g := &growing{whole: noise(5_000 + i)}
		if err := s.Append(k, 1, 0, g.block(0, 2000), func(int64) {}); err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			seen(t, s, k, g, 2000)
			rest := g.block(2000, len(g.whole))
			var more sync.WaitGroup
			more.Go(func() { seen(t, s, k, g, len(g.whole)) })
			if err := s.Append(k, 1, 2000, rest, func(int64) {}); err != nil {
				t.Error(err)
			}
			more.Wait()
			if n, err := s.Size(t.Context(), k); err != nil || n > 2000 {
				t.Errorf("a frame with %d bytes is stored, %v: nobody asked for it", n, err)
			}
			if s.Flushed(k, 1, int64(len(g.whole)), func() { flushed <- struct{}{} }) {
				flushed <- struct{}{}
			}
		})
	}
	all.Wait()
	for range logs {
		<-flushed
	}
	if n := early(t, js).LastSeq; n == 0 || n > logs {
		t.Errorf("%d logs were written ahead, twice each, in %d messages", logs, n)
	}
	for early(t, js).Msgs > 0 { // until it is trimmed
		if t.Context().Err() != nil {
			t.Fatal("what is stored is still written ahead")
		}
	}
}

// A coordinator dies that has shown bytes which are in no frame: another stores them, once they
// are old enough, and nothing of logs that it does not join.
func TestWhatADeadWriterHasShownIsNotLost(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	dead, heir := opened(t, js), opened(t, js)
	dead.Gather(time.Hour)
	g := &growing{whole: noise(30_000)}
	keys := make([]logstore.Key, 3)
	for i := range keys {
		keys[i] = logstore.Key{Token: fmt.Sprint("t", i), Epoch: 2, Counter: uint64(i + 1)}
		var follower sync.WaitGroup
		follower.Go(func() { seen(t, dead, keys[i], g, len(g.whole)) })
		for at := 0; at < len(g.whole); at += 10_000 {
			if err := dead.Append(keys[i], 1, int64(at), g.block(at, at+10_000), func(int64) {}); err != nil {
				t.Fatal(err)
			}
			if at == 0 && i > 0 { // its first part is in a frame
				stored := make(chan struct{})
				if !dead.Flushed(keys[i], 1, 10_000, func() { close(stored) }) {
					<-stored
				}
			}
		}
		follower.Wait()
	}
	dead.Close()
	size := func(k logstore.Key) int64 {
		n, err := heir.Size(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := heir.Adopt(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if a, b := size(keys[0]), size(keys[1]); a != 0 || b != 10_000 || early(t, js).Msgs == 0 {
		t.Fatalf("%d and %d bytes are in frames; it was not old enough", a, b)
	}
	if err := heir.Purge(t.Context(), keys[2]); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := heir.Adopt(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	g.ended.Store(true)
	for _, k := range keys[:2] {
		if err := g.follow(t, heir, k, 0, func(int) {}); err != nil {
			t.Error(err)
		}
	}
	if n := size(keys[2]); n != 0 {
		t.Errorf("%d bytes of a log that was purged are back", n)
	}
	if n := early(t, js).Msgs; n != 0 {
		t.Errorf("%d messages are kept that were stored", n)
	}
}

// Of a message that cannot be read nothing is stored, and the others behind it are.
func TestWhatWasWrittenAheadAndCannotBeRead(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	s := opened(t, js)
	good := logstore.Early("logsahead.dead", logstore.Key{Token: "a", Epoch: 1, Counter: 1}, 0, logblock.Raw([]byte("abc")))
	for _, h := range []string{"", "x", "logs.a.1-1 0 4 ", "logs.a.1-1 -x 3 ", "logs.a.1-1 0 -1 ", "logs.a.1-1 0 3 9", "logs.a 0 3 ", "logs.a.1-x 0 3 ", "journal.a.1-1 0 3 "} {
		bad := *good
		bad.Header = map[string][]string{"Slipway-Log": {h}}
		if _, err := js.PublishMsg(t.Context(), &bad); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.PublishMsg(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	if err := s.Adopt(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Size(t.Context(), logstore.Key{Token: "a", Epoch: 1, Counter: 1}); n != 3 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// A follower that was shown everything from memory does not read it from the stream as well when the log is quiet.
func TestAQuietLogIsNotReadAgain(t *testing.T) {
	const frames = 20
	js := natstest.Start(t).JetStream(t)
	s := opened(t, js)
	g, k := &growing{whole: noise(frames * 100)}, logstore.Key{Token: "t", Epoch: 1, Counter: 1}
	g.append(t, s, k, 1, 0, 100)
	ctx, leave := context.WithCancel(t.Context())
	came := make(chan int, 2*frames)
	var follower sync.WaitGroup
	follower.Go(func() {
		_ = s.Read(ctx, k, 0, g.end, plain(func(at int64, data []byte) error { came <- int(at) + len(data); return nil }))
	})
	defer follower.Wait()
	defer leave()
	until := func(n int) {
		for <-came < n {
		}
	}
	until(100)
	s.Gather(time.Hour) // so that it is shown before it is stored
	for at := 100; at < len(g.whole); at += 100 {
		stored := make(chan struct{})
		if err := s.Append(k, 1, int64(at), g.block(at, at+100), func(int64) {}); err != nil {
			t.Fatal(err)
		}
		until(at + 100)
		if s.Flushed(k, 1, int64(at+100), func() { close(stored) }) {
			t.Fatal("nothing was to be stored")
		}
		<-stored
	}
	asked, err := js.Conn().SubscribeSync("$JS.API.STREAM.MSG.GET.SLIPWAY_LOGS")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		m, err := asked.NextMsgWithContext(t.Context())
		var what struct{ Seq uint64 }
		if err != nil || json.Unmarshal(m.Data, &what) != nil || what.Seq <= frames {
			t.Fatalf("it reads frame %d of %d again, %v", what.Seq, frames, err)
		}
	}
}
