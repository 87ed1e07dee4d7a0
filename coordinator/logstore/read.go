package logstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

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

// Read calls each for the bytes of a log from an offset on, in order. It ends after the
// size that end answers with ok, or with the context; without ok there may be more. Bytes
// that are gone are a MissingError.
func (s *Store) Read(ctx context.Context, k Key, offset int64, end func() (size int64, ok bool), each func(offset int64, data []byte) error) error {
	var woken <-chan struct{}
	if _, ended := end(); !ended {
		some, stop, err := s.wake(k)
		if err != nil {
			return err
		}
		defer stop()
		woken = some
	}
	seq, err := s.seek(ctx, k, offset)
	if err != nil {
		return err
	}
	sought, told, idle := seq > 0, false, 0
	for {
		size, ended := end()
		if ended && offset >= size {
			return nil
		}
		f, err := s.next(ctx, k, seq)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound) && sought: // what was found may have been stored twice, and late
			seq, sought = 0, false
			continue
		case errors.Is(err, jetstream.ErrMsgNotFound):
			if idle++; ended && idle > patience {
				return &MissingError{Log: k.Token, From: offset, To: size}
			}
			if told, err = pause(ctx, woken, told); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		case f.offset > offset && sought: // what was stored twice may stand behind what it repeats
			seq, sought = 0, false
			continue
		case f.offset > offset:
			return &MissingError{Log: k.Token, From: offset, To: f.offset}
		}
		idle, seq = 0, f.sequence+1
		if skip := offset - f.offset; skip < int64(len(f.data)) {
			if err := each(offset, f.data[skip:]); err != nil {
				return err
			}
			offset = f.offset + int64(len(f.data))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// pause waits until somebody writes, or a while; told answers that somebody does.
func pause(ctx context.Context, woken <-chan struct{}, told bool) (bool, error) {
	d := poll
	if told {
		d = soon
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-woken:
		return true, nil
	case <-t.C:
		return false, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

// wake tells of frames that are written, which may not be stored yet.
func (s *Store) wake(k Key) (woken <-chan struct{}, stop func(), err error) {
	some := make(chan struct{}, 1)
	sub, err := s.js.Conn().Subscribe(k.subject(), func(*nats.Msg) {
		select {
		case some <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read log %s: %w", k.Token, err)
	}
	return some, func() { _ = sub.Unsubscribe() }, nil
}

// Frames hands over what is stored of a log, in the order in which it was stored. What was
// stored twice comes twice.
func (s *Store) Frames(ctx context.Context, k Key, each func(offset int64, data []byte) error) error {
	for seq := uint64(0); ; {
		f, err := s.next(ctx, k, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err == nil {
			err = each(f.offset, f.data)
		}
		if err != nil {
			return err
		}
		seq = f.sequence + 1
	}
}

// found is a frame as it is stored.
type found struct {
	sequence uint64
	offset   int64
	data     []byte
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
		if _, err := pause(ctx, nil, false); err != nil {
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
	return found{m.Sequence, offset, m.Data}, nil
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
	return f.offset + int64(len(f.data)), err
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
