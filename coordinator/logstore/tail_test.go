package logstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/slipway-build/slipway/coordinator/logstore"
	"github.com/slipway-build/slipway/internal/logblock"
	"github.com/slipway-build/slipway/internal/natstest"
)

// growing is a log whose length is known once it has ended.
type growing struct {
	whole []byte
	ended atomic.Bool
}

func (g *growing) end() (int64, bool) { return int64(len(g.whole)), g.ended.Load() }

// follow reads the log from an offset on, and says what is wrong with what comes. turn is
// called between any two frames.
func (g *growing) follow(t *testing.T, s *logstore.Store, k logstore.Key, from int, turn func(n int)) error {
	t.Helper()
	next, n := from, 0
	err := s.Read(t.Context(), k, int64(from), g.end, plain(func(at int64, data []byte) error {
		if at != int64(next) || !bytes.Equal(data, g.whole[at:at+int64(len(data))]) {
			return fmt.Errorf("other bytes at %d, where those at %d were expected", at, next)
		}
		next += len(data)
		turn(n)
		n++
		return nil
	}))
	if err == nil && next != len(g.whole) {
		return fmt.Errorf("it ends at %d of %d", next, len(g.whole))
	}
	return err
}

// block is a stretch of the log, as a worker that packs or one that does not sends it.
func (g *growing) block(from, to int) logblock.Block {
	if data := g.whole[from:to]; from%2 == 0 && len(data) <= logblock.Max {
		return logblock.Block{Data: s2.Encode(nil, data), Packed: len(data)}
	}
	return logblock.Raw(g.whole[from:to])
}

// plain unpacks.
func plain(each func(offset int64, data []byte) error) func(int64, logblock.Block) error {
	return func(offset int64, b logblock.Block) error {
		data, err := b.Bytes()
		if err != nil {
			return err
		}
		return each(offset, data)
	}
}

// append hands over bytes of the log, and waits until they are durable.
func (g *growing) append(t *testing.T, s *logstore.Store, k logstore.Key, session uint64, from, to int) {
	t.Helper()
	done := make(chan struct{})
	var once sync.Once
	err := s.Append(k, session, int64(from), g.block(from, to), func(offset int64) {
		if offset >= int64(to) {
			once.Do(func() { close(done) })
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	<-done
}

// However far a follower is behind, wherever it begins, and whether or not what it wants is
// still kept in memory: it sees each byte once, and no writer waits for it.
func TestFollowersAreBehindByAnyDistance(t *testing.T) {
	s := opened(t, natstest.Start(t).JetStream(t))
	s.Keep(0) // two frames
	k := logstore.Key{Token: "a", Epoch: 1, Counter: 1}
	g := &growing{whole: noise(5 << 20)}
	halfway, written := make(chan struct{}), make(chan struct{})
	var followers sync.WaitGroup
	for i := range 6 {
		from := []int{0, 0, 0, 100, 2 << 20, 4 << 20}[i]
		followers.Go(func() {
			err := g.follow(t, s, k, from, func(n int) {
				switch {
				case i == 1 && n == 3:
					<-halfway // the writer is far ahead by then
				case i == 2 && n == 3:
					<-written
				}
			})
			if err != nil {
				t.Errorf("follower %d: %v", i, err)
			}
		})
	}
	r := rand.New(rand.NewPCG(1, 1))
	for at := 0; at < len(g.whole); {
		to := min(len(g.whole), at+1+r.IntN(600<<10))
		g.append(t, s, k, 1, max(0, at-r.IntN(1000)), to)
		if at < 2<<20 && to >= 2<<20 {
			close(halfway)
		}
		at = to
	}
	g.ended.Store(true)
	close(written)
	followers.Wait()
}

// A follower of a log that is written here is given what was stored, and does not fetch it.
func TestWhatIsStoredHereIsNotFetched(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	s := opened(t, js)
	k := logstore.Key{Token: "a", Epoch: 1, Counter: 1}
	g := &growing{whole: noise(8 << 20)}
	g.append(t, s, k, 1, 0, 1000)
	attached, seen := make(chan struct{}), make(chan error, 1)
	go func() {
		seen <- g.follow(t, s, k, 0, func(n int) {
			if n == 0 {
				close(attached)
			}
		})
	}()
	<-attached
	before := js.Conn().Stats().InBytes
	for at := 1000; at < len(g.whole); at += 200 << 10 {
		g.append(t, s, k, 1, at, min(len(g.whole), at+200<<10))
	}
	g.ended.Store(true)
	if err := <-seen; err != nil {
		t.Fatal(err)
	}
	if n := js.Conn().Stats().InBytes - before; n > uint64(len(g.whole))/2 {
		t.Errorf("%d bytes were fetched of %d", n, len(g.whole))
	}
}

// The holder's connection goes to another coordinator and back, by turns, while the log is
// followed at both.
func TestALogIsWrittenHereAndElsewhere(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	stores := []*logstore.Store{opened(t, js), opened(t, js)}
	k := logstore.Key{Token: "a", Epoch: 1, Counter: 1}
	g := &growing{whole: noise(3 << 20)}
	var followers sync.WaitGroup
	for i, s := range stores {
		for range 2 {
			followers.Go(func() {
				if err := g.follow(t, s, k, 0, func(int) {}); err != nil {
					t.Errorf("follower of store %d: %v", i, err)
				}
			})
		}
	}
	r := rand.New(rand.NewPCG(2, 2))
	at := 0
	for session := uint64(1); at < len(g.whole); session++ {
		for range 1 + r.IntN(4) {
			to := min(len(g.whole), at+1+r.IntN(100<<10))
			if at < to {
				g.append(t, stores[session%2], k, session, at, to)
			}
			at = to
		}
	}
	g.ended.Store(true)
	followers.Wait()
}

// The holder's connection goes to another coordinator and comes back, and what is written here then comes faster than a
// follower looks for what others wrote: it is given what the other stored all the same.
func TestWhatWasWrittenElsewhereMeanwhileIsSeenSoon(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	here, there := opened(t, js), opened(t, js)
	k := logstore.Key{Token: "a", Epoch: 1, Counter: 1}
	g := &growing{whole: noise(3000)}
	g.append(t, here, k, 1, 0, 1000)
	attached, got, seen := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		seen <- g.follow(t, here, k, 0, func(n int) {
			switch n {
			case 0:
				close(attached)
			case 6:
				close(got)
			}
		})
	}()
	<-attached
	pause := time.NewTicker(30 * time.Millisecond)
	defer pause.Stop()
	for i := 1000; i < 1050; i += 10 { // by the end it is known here who writes
		g.append(t, here, k, 1, i, i+10)
		<-pause.C
	}
	if !there.Put(k, 1050, g.whole[1050:1100]) {
		t.Fatal(errors.New("a frame was not stored"))
	}
	at, begin, late := 1100, time.Now(), false
	for ok := true; ok; { // a line each tenth of a second
		g.append(t, here, k, 3, at, at+10)
		at += 10
		select {
		case <-got:
			ok = false
		case <-time.After(100 * time.Millisecond):
			late = time.Since(begin) > 5*time.Second
			ok = !late
		}
	}
	if late {
		t.Errorf("what is durable is not given to the follower for %s", time.Since(begin))
	}
	g.append(t, here, k, 3, at, len(g.whole))
	g.ended.Store(true)
	if err := <-seen; err != nil {
		t.Error(err)
	}
}

// A frame that one coordinator stored late repeats what another has stored meanwhile, and
// stands behind it: what only the other has is found all the same.
func TestARepeatOfALateWriterHidesNothing(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	here, there := opened(t, js), opened(t, js)
	k := logstore.Key{Token: "a", Epoch: 1, Counter: 1}
	g := &growing{whole: noise(3000)}
	g.append(t, here, k, 1, 0, 1000)
	attached, seen := make(chan struct{}), make(chan error, 1)
	go func() {
		seen <- g.follow(t, here, k, 0, func(n int) {
			if n == 0 {
				close(attached)
			}
		})
	}()
	<-attached
	g.append(t, here, k, 1, 1000, 1100) // here it is known who writes
	if !there.Put(k, 1100, g.whole[1100:3000]) {
		t.Fatal(errors.New("a frame was not stored"))
	}
	g.append(t, here, k, 1, 1100, 1200)
	g.ended.Store(true)
	if err := <-seen; err != nil {
		t.Error(err)
	}
}

// A log that comes in very many pieces which pack well is stored: NATS takes no more than 64 KiB of headers.
func TestALogOfVeryManyPieces(t *testing.T) {
	s := opened(t, natstest.Start(t).JetStream(t))
	s.Gather(time.Hour)
	g := &growing{whole: bytes.Repeat([]byte{'.'}, 10_000<<10)}
	k := logstore.Key{Token: "t", Epoch: 1, Counter: 1}
	for at := 0; at < len(g.whole); at += 1 << 10 {
		if err := s.Append(k, 1, int64(at), g.block(at, at+1<<10), func(int64) {}); err != nil {
			t.Fatal(err)
		}
	}
	stored := make(chan struct{})
	if !s.Flushed(k, 1, int64(len(g.whole)), func() { close(stored) }) {
		select {
		case <-stored:
		case <-time.After(30 * time.Second):
			t.Fatal("it is not stored")
		}
	}
	g.ended.Store(true)
	if err := g.follow(t, s, k, 0, func(int) {}); err != nil {
		t.Error(err)
	}
}

// Followers that come and go do not put off that a log is stored.
func TestFollowersThatComeAndGoPutNothingOff(t *testing.T) {
	s := opened(t, natstest.Start(t).JetStream(t))
	g := &growing{whole: noise(1000)}
	k := logstore.Key{Token: "t", Epoch: 1, Counter: 1}
	stored := make(chan struct{})
	if err := s.Append(k, 1, 0, g.block(0, 1000), func(int64) { close(stored) }); err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		select {
		case <-stored:
			return
		default:
		}
		if n == 1_000_000 {
			t.Fatalf("%d followers have come, and the log is not stored", n)
		}
		seen(t, s, k, g, 1000)
	}
}
