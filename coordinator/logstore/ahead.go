package logstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/internal/failpoint"
	"github.com/slipway-build/slipway/internal/logblock"
)

// NATS syncs each message on its own, so small frames of many logs would stand in line for the
// disk. What somebody follows is therefore written ahead: all that has come of all such logs is
// one message, and is durable with it, so that followers may see it. The frames of each log are
// stored as those of the others are, gathered for longer; who reads a log reads those alone. What
// was written ahead is looked at once more only when its writer has died before it stored them.
const (
	aheadStream   = "SLIPWAY_LOGS_AHEAD"
	aheadSubjects = "logsahead.*"
	logOf         = "Slipway-Log"
	// aheadMost bounds one message, aheadBytes all of them.
	aheadMost, aheadBytes = 512 << 10, 256 << 20
	// aheadHeaders bounds the headers of one message: NATS refuses more than 64 KiB of them.
	aheadHeaders = 48 << 10
	// trims is how often what is stored in its frames by now is taken away.
	trims = time.Second
	// orphaned is how old it is when its writer has died; searches how often that is looked for.
	orphaned, searches = 15 * time.Second, 15 * time.Second
)

// ahead is what a Store writes ahead. Store.mu guards it.
type ahead struct {
	stream  jetstream.Stream
	subject string
	dirty   map[Key]*writer // of which something has come
	wake    chan struct{}
	kept    []promise // oldest first
}

// promise is a message that is needed until the frames of its logs are stored.
type promise struct {
	sequence uint64
	of       []owed
}

// owed is what a writer is yet to store: everything below an offset.
type owed struct {
	w   *writer
	end int64
}

// stretch is what a message has of one log.
type stretch struct {
	k Key
	w *writer
	found
}

// early has what came of a log written ahead, if somebody follows it and it is not written so
// fast that its frames are full soon; mu is held.
func (s *Store) early(k Key, w *writer) {
	if s.tails[k] == nil || w.fast || len(w.after) > 0 || w.size == 0 {
		return
	}
	s.ahead.dirty[k] = w
	select {
	case s.ahead.wake <- struct{}{}:
	default:
	}
}

// writeAhead does so until the store is closed.
func (s *Store) writeAhead() {
	rest := time.NewTicker(trims)
	defer rest.Stop()
	for {
		select {
		case <-s.ahead.wake:
		case <-rest.C:
			s.trim()
			continue
		case <-s.ctx.Done():
			return
		}
		some, more := s.come()
		if len(some) > 0 {
			sequence, ok := s.publish(message(s.ahead.subject, some), "what was written ahead")
			if !ok {
				return
			}
			failpoint.Hit(failpoint.LogAhead)
			s.promised(sequence, some)
		}
		if !more {
			t := time.NewTimer(least) // for more to come
			select {
			case <-t.C:
			case <-s.ctx.Done():
				t.Stop()
				return
			}
		}
	}
}

// come is what has come and was not written ahead. more: a message is full.
func (s *Store) come() (out []stretch, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	room, headers := aheadMost, aheadHeaders
	for k, w := range s.ahead.dirty {
		x, whole := w.since(k, room, headers)
		if len(x.blocks) > 0 {
			out = append(out, x)
			room, headers = room-len(x.data), headers-x.header()
		}
		if whole {
			delete(s.ahead.dirty, k)
		}
		more = more || !whole
	}
	if more {
		select {
		case s.ahead.wake <- struct{}{}:
		default:
		}
	}
	return out, more
}

// header is how many bytes of headers a stretch takes at most.
func (x *stretch) header() int { return len(x.k.subject()) + 64 + sizeOf*len(x.blocks) }

// since is what of a log was neither stored nor written ahead, in at most so many bytes, with at most so many of headers.
func (w *writer) since(k Key, room, headers int) (x stretch, whole bool) {
	x.k, x.w, x.offset = k, w, max(w.base, w.ahead)
	at := w.base
	for _, p := range w.pieces {
		if at >= x.offset {
			if len(x.data)+len(p.Data) > room || x.header()+sizeOf > headers {
				return x, false
			}
			x.add(p)
		}
		at += int64(p.Size())
	}
	return x, true
}

// below is what is not in a frame yet, below an offset.
func (w *writer) below(offset int64) (f found) {
	f.offset = w.base
	at := w.base
	for _, p := range w.pieces {
		if at += int64(p.Size()); at > offset {
			break
		}
		f.add(p)
	}
	return f
}

// message has what was written ahead: the stretches behind each other, and of each in a header
// the subject of its log, its offset, its bytes, and the sizes of its blocks.
func message(subject string, some []stretch) *nats.Msg {
	m := &nats.Msg{Subject: subject, Header: nats.Header{}}
	for _, x := range some {
		m.Header[logOf] = append(m.Header[logOf], fmt.Sprintf("%s %d %d %s", x.k.subject(), x.offset, len(x.data), logblock.Sizes(x.blocks)))
		m.Data = append(m.Data, x.data...)
	}
	return m
}

// parse is the inverse of message.
func parse(m *jetstream.RawStreamMsg) ([]stretch, error) {
	var out []stretch
	data := m.Data
	for _, h := range m.Header[logOf] {
		words := strings.SplitN(h+" ", " ", 4) // NATS takes the space at the end away, where nothing is packed
		if len(words) != 4 {
			return nil, fmt.Errorf("a stretch of a log is %q", h)
		}
		k, err := parseKey(words[0])
		offset, err2 := strconv.ParseInt(words[1], 10, 64)
		n, err3 := strconv.Atoi(words[2])
		if err := errors.Join(err, err2, err3); err != nil || n < 0 || n > len(data) {
			return nil, fmt.Errorf("a stretch of a log is %q, of %d bytes: %w", h, len(data), err)
		}
		blocks, err := logblock.Split(data[:n:n], strings.TrimSpace(words[3]))
		if err != nil {
			return nil, fmt.Errorf("a stretch of a log is %q: %w", h, err)
		}
		out = append(out, stretch{k: k, found: found{offset: offset, data: data[:n:n], blocks: blocks}})
		data = data[n:]
	}
	return out, nil
}

// promised shows followers what is durable now.
func (s *Store) promised(sequence uint64, some []stretch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := promise{sequence: sequence}
	for _, x := range some {
		x.w.ahead = max(x.w.ahead, x.end())
		p.of = append(p.of, owed{x.w, x.end()})
		if t := s.tails[x.k]; t != nil {
			s.keep(t, x.found)
		}
	}
	s.ahead.kept = append(s.ahead.kept, p)
}

// trim takes away what is stored in its frames by now.
func (s *Store) trim() {
	s.mu.Lock()
	n := slices.IndexFunc(s.ahead.kept, func(p promise) bool {
		return slices.ContainsFunc(p.of, func(o owed) bool { return o.w.base < o.end })
	})
	if n < 0 {
		n = len(s.ahead.kept)
	}
	var last uint64
	if n > 0 {
		last = s.ahead.kept[n-1].sequence
		s.ahead.kept = slices.Delete(s.ahead.kept, 0, n)
	}
	s.mu.Unlock()
	if last == 0 {
		return
	}
	if err := s.forget(s.ctx, s.ahead.subject, last); err != nil && s.ctx.Err() == nil {
		s.log.WarnContext(s.ctx, "what was written ahead of logs is not taken away", "err", err)
	}
}

// forget takes away what one writer wrote ahead, up to a message.
func (s *Store) forget(ctx context.Context, subject string, last uint64) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := s.ahead.stream.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(last+1)); err != nil {
		return fmt.Errorf("purge %s: %w", subject, err)
	}
	return nil
}

// adopt stores, again and again, what writers that have died wrote ahead and did not store.
func (s *Store) adopt() {
	t := time.NewTicker(searches)
	defer t.Stop()
	for {
		if err := s.Adopt(s.ctx, orphaned); err != nil && s.ctx.Err() == nil {
			s.log.WarnContext(s.ctx, "what others wrote ahead of logs is not stored, trying again", "err", err)
		}
		select {
		case <-t.C:
		case <-s.ctx.Done():
			return
		}
	}
}

// Adopt stores what other writers wrote ahead and have not stored for so long. Two that do so at
// once do no harm, nor has it any where the writer lives.
func (s *Store) Adopt(ctx context.Context, after time.Duration) error {
	info, err := s.ahead.stream.Info(ctx, jetstream.WithSubjectFilter(aheadSubjects))
	if err != nil {
		return fmt.Errorf("ask what was written ahead: %w", err)
	}
	for subject := range maps.Keys(info.State.Subjects) {
		if subject == s.ahead.subject {
			continue
		}
		if err := s.adoptAll(ctx, subject, after); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) adoptAll(ctx context.Context, subject string, after time.Duration) error {
	last := uint64(0)
	for {
		m, err := s.ahead.stream.GetMsg(ctx, last+1, jetstream.WithGetMsgSubject(subject))
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return fmt.Errorf("read what was written ahead: %w", err)
		}
		if err != nil || time.Since(m.Time) < after {
			break
		}
		some, err := parse(m)
		if err != nil {
			s.log.ErrorContext(ctx, "what was written ahead cannot be read", "subject", subject, "sequence", m.Sequence, "err", err)
		}
		for _, x := range some {
			if err := s.adoptOne(ctx, x); err != nil {
				return err
			}
		}
		last = m.Sequence
	}
	if last == 0 {
		return nil
	}
	return s.forget(ctx, subject, last)
}

// adoptOne stores what a log does not have. What does not join it is of one that was purged.
func (s *Store) adoptOne(ctx context.Context, x stretch) error {
	size, err := s.Size(ctx, x.k)
	if err != nil || size < x.offset || size >= x.end() {
		return err
	}
	s.log.InfoContext(ctx, "what a writer wrote ahead before it died is stored", "token", x.k.Token, "from", size, "to", x.end())
	if _, ok := s.store(x.k, x.found); !ok {
		return context.Cause(s.ctx)
	}
	return nil
}
