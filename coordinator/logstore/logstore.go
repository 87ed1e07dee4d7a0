// Package logstore keeps what attempts write: frames with byte offsets on a JetStream
// stream, one subject per attempt. A writer is told when bytes are durable; a reader
// gets them by offset, without gap or repeat, while they are written or later. Whose
// log it is, when it ends, and that it was moved elsewhere, is known to the callers.
package logstore

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/internal/failpoint"
)

const (
	stream = "SLIPWAY_LOGS"
	// frame is how much is gathered before it is stored, and flush how long at most.
	frame    = 256 << 10
	flush    = 150 * time.Millisecond
	offsetOf = "Slipway-Offset"
	subjects = "logs.*.*"
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
}

// writer gathers frames of one log. One goroutine stores them while there are any.
type writer struct {
	session uint64 // of its holder
	buf     []byte
	base    int64 // offset of buf[0]; everything below is durable or on its way
	durable int64
	running bool
	notify  []func(int64) // told of every durable offset
	after   []waiter
}

type waiter struct {
	offset int64
	f      func()
}

// MaxBytes is what the stream is bounded by where nothing else is said.
const MaxBytes = 8 << 30

// Open makes the stream if it is not there. The oldest frames are dropped beyond so many bytes.
func Open(ctx context.Context, js jetstream.JetStream, replicas int, maxBytes int64, log *slog.Logger) (*Store, error) {
	s, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: stream, Description: "What attempts wrote", Subjects: []string{subjects}, Storage: jetstream.FileStorage, Replicas: max(1, replicas),
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, MaxBytes: maxBytes, MaxMsgSize: 1 << 20, Duplicates: time.Second,
	})
	if err != nil {
		return nil, fmt.Errorf("open log store: %w", err)
	}
	sctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	return &Store{js: js, stream: s, log: log, ctx: sctx, cancel: cancel, writers: map[Key]*writer{}}, nil
}

// Close drops what is not stored yet: its writers were not told that it is.
func (s *Store) Close() {
	s.cancel()
	s.wg.Wait()
}

// Append takes bytes of a log from an offset on. What is known already is skipped; a gap
// is an error, for the bytes between would be lost. durable is called when more of the
// log is stored, from another goroutine, and must not block.
//
// A log is written by one session of its holder at a time, the newest. Its first bytes go
// on where the holder was acknowledged, here or by another process meanwhile; what a
// session before it left here is stored as it came, and readers skip what is there twice.
func (s *Store) Append(k Key, session uint64, offset int64, data []byte, durable func(offset int64)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.writers[k]
	switch {
	case !ok || w.session < session:
		w = &writer{session: session, base: offset, durable: offset}
		s.writers[k] = w
	case w.session > session:
		return nil // of a connection that is gone; its holder says it again on the next one
	}
	w.notify = []func(int64){durable}
	end := w.base + int64(len(w.buf))
	switch {
	case offset > end:
		return fmt.Errorf("log %s: bytes %d to %d are missing", k.Token, end, offset)
	case offset+int64(len(data)) <= end:
		durable(w.durable)
		return nil
	}
	w.buf = append(w.buf, data[end-offset:]...)
	s.start(k, w)
	return nil
}

// Flushed reports that everything below the offset is durable, or that the session appended
// nothing of this log here: then its holder was acknowledged all of it before. If it is not
// yet, f is called once it is.
func (s *Store) Flushed(k Key, session uint64, offset int64, f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.writers[k]
	if !ok || w.session < session || w.durable >= offset {
		delete(s.writers, k)
		return true
	}
	w.after = append(w.after, waiter{offset, f})
	s.start(k, w)
	return false
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
	for {
		s.mu.Lock()
		urgent := len(w.after) > 0
		full := len(w.buf) >= frame
		s.mu.Unlock()
		if !urgent && !full {
			select {
			case <-time.After(flush):
			case <-s.ctx.Done():
				return
			}
		}
		s.mu.Lock()
		data := w.buf[:min(len(w.buf), frame)]
		offset := w.base
		if len(data) == 0 {
			w.running = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		if !s.store(k, offset, data) {
			return
		}
		s.stored(k, w, len(data))
	}
}

// store publishes one frame until it is acknowledged. A frame that is stored twice is
// harmless: readers go by offsets.
func (s *Store) store(k Key, offset int64, data []byte) bool {
	m := &nats.Msg{Subject: k.subject(), Data: data, Header: nats.Header{offsetOf: {strconv.FormatInt(offset, 10)}}}
	try := func() (struct{}, error) {
		ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
		defer cancel()
		_, err := s.js.PublishMsg(ctx, m)
		if err != nil && s.ctx.Err() == nil {
			s.log.WarnContext(s.ctx, "log frame is not stored, trying again", "token", k.Token, "err", err)
		}
		return struct{}{}, err
	}
	_, err := backoff.Retry(s.ctx, try, backoff.WithMaxElapsedTime(0))
	failpoint.Hit(failpoint.LogStored)
	return err == nil
}

func (s *Store) stored(k Key, w *writer, n int) {
	s.mu.Lock()
	w.base += int64(n)
	w.durable = w.base
	w.buf = append([]byte(nil), w.buf[n:]...)
	offset, notify := w.durable, w.notify
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
	if len(due) > 0 && len(later) == 0 && len(w.buf) == 0 && s.writers[k] == w {
		delete(s.writers, k)
	}
	s.mu.Unlock()
	for _, f := range notify {
		f(offset)
	}
	for _, f := range due {
		f()
	}
}

// Valid reports that a token can stand in a subject.
func Valid(token string) bool {
	return token != "" && !strings.ContainsAny(token, ".*> \t\r\n")
}
