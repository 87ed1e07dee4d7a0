package logstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/internal/logblock"
	"github.com/slipway-build/slipway/internal/queue"
)

const (
	// near is how far into a log a reader goes through all frames before what it wants.
	near = 1 << 20
	// poll is how often a reader looks for frames that nobody told it of, and soon how long
	// after it was told of one that was not stored yet.
	poll = 250 * time.Millisecond
	soon = 20 * time.Millisecond
	// patience is how often it looks for bytes that must be there.
	patience = 8
)

// MissingError: bytes of a log are not there any more.
type MissingError struct {
	Log      string // which
	From, To int64
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("read log %s: bytes %d to %d were dropped by the limit of the log stream", e.Log, e.From, e.To)
}

// Read calls each for the blocks of a log from an offset on, in order. It ends after the
// size that end answers with ok, or with the context; without ok there may be more. Bytes
// that are gone are a MissingError.
func (s *Store) Read(ctx context.Context, k Key, offset int64, end func() (size int64, ok bool), each func(offset int64, b logblock.Block) error) error {
	var live *follower
	if _, ended := end(); !ended {
		var err error
		if live, err = s.follow(k); err != nil {
			return err
		}
	}
	defer live.stop()
	seq, err := s.seek(ctx, k, offset)
	if err != nil {
		return err
	}
	r := &reading{s: s, k: k, live: live, offset: offset, seq: seq, sought: seq > 0}
	for {
		size, ended := end()
		if ended && r.offset >= size {
			return nil
		}
		f, ok, err := r.frame(ctx, ended, size)
		if err != nil {
			return err
		}
		if ok {
			if r.offset, err = f.each(r.offset, each); err != nil {
				return fmt.Errorf("read log %s: %w", k.Token, err)
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// reading is where a reader of a log is.
type reading struct {
	s      *Store
	k      Key
	live   *follower // nil: nothing more is written
	offset int64     // the next byte
	seq    uint64    // of the stream: what is before it need not be looked at
	sought bool      // unless the frame that is wanted was stored out of order
	early  bool      // the last frame was written ahead: the stream did not have it yet
	jumped bool      // seq is behind a frame that came from the tail
	idle   int       // how often in a row nothing was there
}

// frame is the next one, from the tail or the stream. Not ok: it is not there yet, or does
// not have the byte that is wanted, and is to be asked for again.
func (r *reading) frame(ctx context.Context, ended bool, size int64) (found, bool, error) {
	var more <-chan struct{}
	if r.live != nil {
		f, ok, newest, next := r.live.at(r.offset)
		if ok {
			r.live.deaf()
			if r.early = f.sequence == 0; !r.early {
				r.seq = f.sequence + 1
			}
			r.idle, r.sought, r.jumped = 0, true, true
			return f, true, nil
		}
		if more = next; newest && !ended && !r.live.look {
			return found{}, false, r.live.pause(ctx, more)
		}
	}
	if r.early && r.live != nil { // by now it may: what was seen is not read again
		r.seq = max(r.seq, r.live.behind(r.offset))
	}
	f, err := r.s.next(ctx, r.k, r.seq)
	gone := errors.Is(err, jetstream.ErrMsgNotFound)
	switch {
	case err != nil && !gone:
		return found{}, false, err
	case r.sought && (err == nil && f.offset > r.offset || gone && (ended || !r.jumped)):
		r.seq, r.sought, r.jumped, r.early = 0, false, false, false // what was found may have been stored twice, and late
		return found{}, false, nil
	case gone:
		if r.idle++; ended && r.idle > patience {
			return found{}, false, &MissingError{Log: r.k.Token, From: r.offset, To: size}
		}
		return found{}, false, r.live.pause(ctx, more)
	case f.offset > r.offset:
		return found{}, false, &MissingError{Log: r.k.Token, From: r.offset, To: f.offset}
	}
	r.idle, r.seq = 0, f.sequence+1
	return f, true, r.live.elsewhere()
}

// Frames hands over what is stored of a log, in the order in which it was stored. What was
// stored twice comes twice, and what cannot be unpacked does not come.
func (s *Store) Frames(ctx context.Context, k Key, each func(offset int64, data []byte) error) error {
	for seq := uint64(0); ; {
		f, err := s.next(ctx, k, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err == nil {
			_, err = f.each(f.offset, func(offset int64, b logblock.Block) error {
				data, err := b.Bytes()
				if err != nil { // then they are missing
					s.log.ErrorContext(ctx, "a stretch of a log is lost", "token", k.Token, "offset", offset, "bytes", b.Size(), "err", err)
					return nil
				}
				return each(offset, data)
			})
		}
		if err != nil {
			return err
		}
		seq = f.sequence + 1
	}
}

// next is the first frame of a log at a sequence of the stream or behind it. It is asked of
// the leader, so that what was acknowledged is found.
func (s *Store) next(ctx context.Context, k Key, seq uint64) (found, error) {
	return s.frame(ctx, k, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return s.stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(k.subject()))
	})
}

// last is the newest frame of a log.
func (s *Store) last(ctx context.Context, k Key) (found, error) {
	return s.frame(ctx, k, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return s.stream.GetLastMsgForSubject(ctx, k.subject())
	})
}

// tries is how often NATS is asked that does not answer.
const tries = 6

func (s *Store) frame(ctx context.Context, k Key, ask func(context.Context) (*jetstream.RawStreamMsg, error)) (found, error) {
	var m *jetstream.RawStreamMsg
	var err error
	for range tries {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		m, err = ask(try)
		cancel()
		if ctx.Err() != nil {
			return found{}, context.Cause(ctx)
		}
		if !silent(err) {
			break
		}
		if err := (*follower)(nil).pause(ctx, nil); err != nil {
			return found{}, err
		}
	}
	if err != nil {
		return found{}, fmt.Errorf("read log %s: %w", k.Token, err)
	}
	offset, err := strconv.ParseInt(m.Header.Get(offsetOf), 10, 64)
	if err != nil {
		return found{}, fmt.Errorf("read log %s: bad offset: %w", k.Token, err)
	}
	blocks, err := logblock.Split(m.Data, m.Header.Get(blocksOf))
	if err != nil {
		return found{}, fmt.Errorf("read log %s: %w", k.Token, err)
	}
	return found{m.Sequence, offset, m.Data, blocks}, nil
}

// silent reports that nobody answered: a leader is chosen, or NATS starts.
func silent(err error) bool {
	return queue.Unanswered(err) || errors.Is(err, jetstream.ErrJetStreamNotEnabled)
}

// seek finds where to begin, so that an offset far into a log is reached without reading what
// is before it: by halves, for frames stand in the order of their offsets but for those that
// were stored twice. 0: at the first frame.
func (s *Store) seek(ctx context.Context, k Key, offset int64) (uint64, error) {
	if offset < near {
		return 0, nil
	}
	first, err := s.next(ctx, k, 0)
	if err == nil && first.offset > offset {
		return 0, nil
	}
	var last found
	if err == nil {
		last, err = s.last(ctx, k)
	}
	below, above := first.sequence, last.sequence+1 // of frames that begin at or below the offset, and above
	for err == nil && above-below > 1 {
		var f found
		f, err = s.next(ctx, k, below+(above-below)/2)
		switch {
		case err != nil:
		case f.offset <= offset && f.sequence < above:
			below = f.sequence
		default:
			above = below + (above-below)/2
		}
	}
	if errors.Is(err, jetstream.ErrMsgNotFound) { // it is being taken away
		return 0, nil
	}
	return below, err
}

// Size is how many bytes of a log are stored.
func (s *Store) Size(ctx context.Context, k Key) (int64, error) {
	f, err := s.last(ctx, k)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	return f.end(), err
}

// many is from how many logs on it is asked first which of them are there.
const many = 64

// Purge takes away what is stored of logs.
func (s *Store) Purge(ctx context.Context, logs ...Key) error {
	var there map[string]uint64
	if len(logs) >= many {
		info, err := s.stream.Info(ctx, jetstream.WithSubjectFilter(subjects))
		if err != nil {
			return fmt.Errorf("ask which logs are there: %w", err)
		}
		there = info.State.Subjects
	}
	for _, k := range logs {
		if _, ok := there[k.subject()]; !ok && len(logs) >= many {
			continue
		}
		if err := s.stream.Purge(ctx, jetstream.WithPurgeSubject(k.subject())); err != nil {
			return fmt.Errorf("purge log %s: %w", k.Token, err)
		}
	}
	return nil
}

// Usage is how many bytes the stream holds, of how many.
func (s *Store) Usage(ctx context.Context) (used, limit int64, err error) {
	info, err := s.stream.Info(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("ask for the size of the log stream: %w", err)
	}
	return int64(info.State.Bytes), info.Config.MaxBytes, nil
}
