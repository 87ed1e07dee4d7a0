// Package logstore keeps what attempts write: frames with byte offsets on a JetStream
// stream, one subject per attempt. A writer is told when bytes are durable; a reader
// gets them by offset, without gap or repeat, while they are written or later. Whose
// log it is, when it ends, and that it was moved elsewhere, is known to the callers.
package logstore

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/slipway-build/slipway/internal/failpoint"
	"github.com/slipway-build/slipway/internal/logblock"
)

const (
	stream = "SLIPWAY_LOGS"
	// frame is how much is stored at once at most, and flush how long it is gathered for if nothing
	// else is said.
	frame = 256 << 10
	flush = 150 * time.Millisecond
	// A log that is written fast and that somebody follows here is gathered for rests times as long as its last frame took
	// to be stored, within least and most: seen soon, and yet the stream is not kept busy with
	// small frames, each of which is synced on its own.
	rests    = 3
	least    = time.Millisecond
	most     = 15 * time.Millisecond
	offsetOf = "Slipway-Offset"
	blocksOf = logblock.Header
	// sizeOf is how many bytes of a header say how large a block is, at most, and parts how many
	// pieces one frame has: NATS refuses messages with more than 64 KiB of headers.
	sizeOf, parts = len("262144/262144 "), 3000
	subjects      = "logs.*.*"
)

// Key names the log of one attempt: the task's token and its lease's fence.
type Key struct {
	Token   string
	Epoch   uint64
	Counter uint64
}

func (k Key) subject() string {
	return "logs." + k.Token + "." + strconv.FormatUint(k.Epoch, 10) + "-" + strconv.FormatUint(k.Counter, 10)
}

// parseKey is the inverse of subject.
func parseKey(subject string) (k Key, err error) {
	words := strings.Split(subject, ".")
	if len(words) != 3 || words[0] != "logs" {
		return k, fmt.Errorf("%q names no log", subject)
	}
	epoch, counter, _ := strings.Cut(words[2], "-")
	k.Token = words[1]
	if k.Epoch, err = strconv.ParseUint(epoch, 10, 64); err == nil {
		k.Counter, err = strconv.ParseUint(counter, 10, 64)
	}
	if err != nil {
		return k, fmt.Errorf("%q names no log: %w", subject, err)
	}
	return k, nil
}

// Store reads and writes logs. Close ends it.
type Store struct {
	js     jetstream.JetStream
	stream jetstream.Stream
	log    *slog.Logger
	ctx    context.Context //nolint:containedctx // of the writers
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	writers map[Key]*writer
	tails   map[Key]*tail // of the logs that are followed
	held    int           // bytes of all of them
	kept    int           // how many those may be
	flush   time.Duration // how long frames are gathered for
	ahead   ahead
}

// writer gathers frames of one log. One goroutine stores them while there are any.
type writer struct {
	session uint64           // of its holder
	pieces  []logblock.Block // as they came, each at most a frame
	size    int              // bytes of the log in all of them
	stores  int              // bytes that they are stored as
	base    int64            // offset of the first byte of them; everything below is durable
	running bool
	hurry   chan struct{} // there is a reason to gather no longer
	notify  func(int64)   // told of every durable offset
	after   []waiter
	stored  time.Time     // when a frame was stored last
	took    time.Duration // how long that took
	fast    bool          // that frame was full: the next will be soon
	ahead   int64         // everything below was written ahead
}

type waiter struct {
	offset int64
	f      func()
}

// Open makes the streams if they are not there. The oldest frames are dropped beyond so many
// bytes; zero is as many as NATS has room for, MaxBytes at most.
func Open(ctx context.Context, js jetstream.JetStream, replicas int, maxBytes int64, log *slog.Logger) (*Store, error) {
	early, err := makeStream(ctx, js, jetstream.StreamConfig{
		Name: aheadStream, Description: "What is in no frame of its log yet, and was seen", Subjects: []string{aheadSubjects}, Storage: jetstream.FileStorage, Replicas: max(1, replicas),
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, MaxBytes: min(aheadBytes, cmp.Or(maxBytes, aheadBytes)), MaxMsgSize: 1 << 20, Duplicates: time.Second,
	}, log)
	if err != nil {
		return nil, opening(err)
	}
	s, err := makeStream(ctx, js, jetstream.StreamConfig{
		Name: stream, Description: "What attempts wrote", Subjects: []string{subjects}, Storage: jetstream.FileStorage, Replicas: max(1, replicas),
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, MaxBytes: maxBytes, MaxMsgSize: 1 << 20, Duplicates: time.Second,
	}, log)
	if err != nil {
		return nil, opening(err)
	}
	sctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	out := &Store{
		js: js, stream: s, log: log, ctx: sctx, cancel: cancel, writers: map[Key]*writer{}, tails: map[Key]*tail{}, kept: tails, flush: flush,
		ahead: ahead{stream: early, subject: strings.Replace(aheadSubjects, "*", nuid.Next(), 1), dirty: map[Key]*writer{}, wake: make(chan struct{}, 1)},
	}
	out.wg.Go(out.writeAhead)
	out.wg.Go(out.adopt)
	return out, nil
}

// Close drops what is not stored yet: its writers were not told that it is.
func (s *Store) Close() {
	s.cancel()
	s.wg.Wait()
}

// Append takes a stretch of a log from an offset on, and keeps its data. A packed one is stored as it is. What is known already is
// skipped; a gap is an error, for the bytes between would be lost. durable is called when
// more of the log is stored, from another goroutine, and must not block.
//
// A log is written by one session of its holder at a time, the newest. Its first bytes go
// on where the holder was acknowledged, here or by another process meanwhile; what a
// session before it left here is stored as it came, and readers skip what is there twice.
func (s *Store) Append(k Key, session uint64, offset int64, b logblock.Block, durable func(offset int64)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.writers[k]
	switch {
	case !ok || w.session < session:
		w = &writer{session: session, base: offset, hurry: make(chan struct{}, 1)}
		s.writers[k] = w
	case w.session > session:
		return nil // of a connection that is gone; its holder says it again on the next one
	}
	w.notify = durable
	end := w.base + int64(w.size)
	switch {
	case offset > end:
		return fmt.Errorf("log %s: bytes %d to %d are missing", k.Token, end, offset)
	case offset+int64(b.Size()) <= end:
		durable(w.base)
		return nil
	}
	whole := cap(b.Data)
	b, err := b.From(int(end - offset))
	if err != nil {
		return fmt.Errorf("log %s at byte %d: %w", k.Token, offset, err)
	}
	if len(b.Data) < whole/2 {
		b.Data = bytes.Clone(b.Data) // else it keeps all of it in memory
	}
	w.gather(b)
	if w.full() {
		w.hurried()
	}
	s.early(k, w)
	s.start(k, w)
	return nil
}

// gather adds what is to be stored, in pieces that are no larger than a frame.
func (w *writer) gather(b logblock.Block) {
	w.size, w.stores = w.size+b.Size(), w.stores+len(b.Data)
	for b.Packed == 0 && len(b.Data) > frame {
		w.pieces = append(w.pieces, logblock.Raw(b.Data[:frame:frame]))
		b.Data = b.Data[frame:]
	}
	w.pieces = append(w.pieces, b)
}

// full: there is enough for a frame.
func (w *writer) full() bool { return w.stores >= frame || len(w.pieces) >= parts }

// Flushed reports that everything below the offset is durable, or that the session appended
// nothing of this log here: then its holder was acknowledged all of it before. If it is not
// yet, f is called once it is.
func (s *Store) Flushed(k Key, session uint64, offset int64, f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.writers[k]
	if !ok || w.session < session || w.base >= offset {
		delete(s.writers, k)
		return true
	}
	w.after = append(w.after, waiter{offset, f})
	w.hurried()
	s.start(k, w)
	return false
}

// hurried ends the gathering.
func (w *writer) hurried() {
	select {
	case w.hurry <- struct{}{}:
	default:
	}
}

// start stores what gathered; mu is held.
func (s *Store) start(k Key, w *writer) {
	if w.running {
		return
	}
	w.running = true
	s.wg.Go(func() { s.write(k, w) })
}

func (s *Store) write(k Key, w *writer) {
	for s.gathered(k, w) {
		s.mu.Lock()
		f, n := w.take()
		if n == 0 {
			w.running = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		begin := time.Now()
		var ok bool
		if f.sequence, ok = s.store(k, f); !ok {
			return
		}
		s.stored(k, w, f, n, time.Since(begin))
	}
}

// gathered waits while more is to be gathered; false: the store is closed.
func (s *Store) gathered(k Key, w *writer) bool {
	for begin := time.Now(); ; {
		s.mu.Lock()
		wait := s.gathers(k, w, begin)
		s.mu.Unlock()
		if wait <= 0 {
			return s.ctx.Err() == nil
		}
		t := time.NewTimer(wait)
		select {
		case <-w.hurry: // which says to look again
			t.Stop()
		case <-t.C:
			return true
		case <-s.ctx.Done():
			t.Stop()
			return false
		}
	}
}

// gathers is for how long more of a log is gathered, since when it is; mu is held.
func (s *Store) gathers(k Key, w *writer, begin time.Time) time.Duration {
	switch {
	case len(w.after) > 0 || w.full() || w.size == 0:
		return 0
	case s.tails[k] == nil, !w.fast:
		return s.flush - time.Since(begin)
	}
	return min(most, max(least, rests*w.took)) - time.Since(w.stored)
}

// take is the beginning of what gathered, as one frame of n pieces. They stay where they are until it is stored.
func (w *writer) take() (f found, n int) {
	f.offset = w.base
	stores := 0
	for n < min(len(w.pieces), parts) && (n == 0 || stores+len(w.pieces[n].Data) <= frame) {
		stores += len(w.pieces[n].Data)
		n++
	}
	if n == 1 { // not copied
		f.data, f.blocks = w.pieces[0].Data, []logblock.Block{w.pieces[0]}
		return f, n
	}
	f.data = make([]byte, 0, stores)
	for _, p := range w.pieces[:n] {
		f.add(p)
	}
	return f, n
}

// drop lets go of the first n pieces, which a frame has.
func (w *writer) drop(n int, f found) {
	w.base, w.size, w.stores = w.base+int64(f.size()), w.size-f.size(), w.stores-len(f.data)
	w.pieces = slices.Delete(w.pieces, 0, n)
}

// store publishes one frame until it is acknowledged. A frame that is stored twice is
// harmless: readers go by offsets.
func (s *Store) store(k Key, f found) (sequence uint64, ok bool) {
	m := &nats.Msg{Subject: k.subject(), Data: f.data, Header: nats.Header{offsetOf: {strconv.FormatInt(f.offset, 10)}}}
	if blocks := logblock.Sizes(f.blocks); blocks != "" {
		m.Header[blocksOf] = []string{blocks}
	}
	sequence, ok = s.publish(m, k.Token)
	failpoint.Hit(failpoint.LogStored)
	return sequence, ok
}

// publish until it is acknowledged. Not ok: the store is closed.
func (s *Store) publish(m *nats.Msg, of string) (sequence uint64, ok bool) {
	try := func() (*jetstream.PubAck, error) {
		ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
		defer cancel()
		ack, err := s.js.PublishMsg(ctx, m)
		if err != nil && s.ctx.Err() == nil {
			s.log.WarnContext(s.ctx, "log frame is not stored, trying again", "token", of, "err", err)
		}
		return ack, err
	}
	pauses := backoff.NewExponentialBackOff()
	pauses.MaxInterval = 2 * time.Second // completions wait for it
	ack, err := backoff.Retry(s.ctx, try, backoff.WithBackOff(pauses), backoff.WithMaxElapsedTime(0))
	if err != nil {
		return 0, false
	}
	return ack.Sequence, true
}

func (s *Store) stored(k Key, w *writer, f found, n int, took time.Duration) {
	s.mu.Lock()
	w.drop(n, f)
	w.stored, w.took, w.fast = time.Now(), took, len(f.data) >= frame/2
	if t := s.tails[k]; t != nil {
		s.keep(t, f)
	}
	offset, notify := w.base, w.notify
	var due []func()
	var later []waiter
	for _, a := range w.after {
		if a.offset <= offset {
			due = append(due, a.f)
		} else {
			later = append(later, a)
		}
	}
	w.after = later
	if len(due) > 0 && len(later) == 0 && w.size == 0 && s.writers[k] == w {
		delete(s.writers, k)
	}
	s.mu.Unlock()
	notify(offset)
	for _, f := range due {
		f()
	}
}

// Valid reports that a token can stand in a subject.
func Valid(token string) bool {
	return token != "" && !strings.ContainsAny(token, ".*> \t\r\n")
}
