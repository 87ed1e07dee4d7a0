package logstore

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// tails bounds the frames that are kept in memory for followers, of all logs together. The newest
// always of each log there are in any case; beyond them the largest tail gives way.
const (
	tails  = 64 << 20
	always = 2
)

// deep is how many frames of one log are kept at most: they are looked through.
const deep = 256

// tail is the newest frames that were stored of a log here, kept while somebody follows it:
// they need not be fetched from where they have just been stored. Who falls behind them
// reads from the stream, and no writer waits for anybody.
type tail struct {
	followers int
	frames    []found // oldest first
	size      int
	end       int64         // behind the last byte of them
	stored    stored        // the newest of them that is in the stream
	more      chan struct{} // closed and made anew with each
}

// stored says of a frame where it is in the stream, and where in the log it ends.
type stored struct {
	sequence uint64
	end      int64
}

// keep a frame that is durable for those who follow its log, and let go of old ones beyond what is kept; mu is held.
func (s *Store) keep(t *tail, f found) {
	defer t.changed()
	if f.sequence > 0 {
		t.stored = stored{f.sequence, f.end()}
	}
	if f.end() <= t.end { // it was written ahead
		return
	}
	t.end = f.end()
	t.frames, t.size, s.held = append(t.frames, f), t.size+len(f.data), s.held+len(f.data)
	for len(t.frames) > deep {
		s.drop(t)
	}
	for s.held > s.kept {
		var largest *tail
		for _, t := range s.tails {
			if len(t.frames) > always && (largest == nil || t.size > largest.size) {
				largest = t
			}
		}
		if largest == nil {
			break
		}
		for s.held > s.kept && len(largest.frames) > always {
			s.drop(largest)
		}
	}
}

// changed wakes who waits; mu is held.
func (t *tail) changed() {
	close(t.more)
	t.more = make(chan struct{})
}

// drop the oldest frame of a tail; mu is held.
func (s *Store) drop(t *tail) {
	n := len(t.frames[0].data)
	t.frames[0] = found{}
	t.frames, t.size, s.held = t.frames[1:], t.size-n, s.held-n
}

// follower reads a log while it is written.
type follower struct {
	s    *Store
	k    Key
	tail *tail
	// sub tells of frames that other coordinators write; nil: this one writes.
	sub   *nats.Subscription
	woken chan struct{}
	told  bool // of a frame that may not be stored yet
	look  bool // nothing has come for a while: the stream may have what others wrote
}

func (s *Store) follow(k Key) (*follower, error) {
	f := &follower{s: s, k: k, woken: make(chan struct{}, 1)}
	s.mu.Lock()
	w := s.writers[k]
	f.tail = s.tails[k]
	if f.tail == nil {
		f.tail = &tail{more: make(chan struct{})}
		s.tails[k] = f.tail
		if w != nil && w.ahead > w.base { // for who followed it before
			s.keep(f.tail, w.below(w.ahead))
		}
	}
	f.tail.followers++
	if w != nil {
		s.early(k, w) // it is followed now
		w.hurried()
	}
	s.mu.Unlock()
	if w != nil {
		return f, nil
	}
	if err := f.listen(); err != nil {
		f.stop()
		return nil, err
	}
	return f, nil
}

// stop is called when the log is not followed any more; nil is not followed.
func (f *follower) stop() {
	if f == nil {
		return
	}
	f.deaf()
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if f.tail.followers--; f.tail.followers == 0 {
		f.s.held -= f.tail.size
		delete(f.s.tails, f.k)
	}
}

// listen has NATS tell of frames that are published, which may not be stored yet.
func (f *follower) listen() error {
	sub, err := f.s.js.Conn().Subscribe(f.k.subject(), func(*nats.Msg) {
		select {
		case f.woken <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return fmt.Errorf("read log %s: %w", f.k.Token, err)
	}
	f.sub = sub
	return nil
}

// deaf ends that: NATS sends each frame whole to say that it is there.
func (f *follower) deaf() {
	if f.sub != nil {
		_ = f.sub.Unsubscribe()
		f.sub = nil
	}
}

// at is the frame with the byte at an offset, if it is in the tail. newest: the offset is
// where the tail ends, and nothing in it lies behind: else others wrote what is between. more is closed when there is another frame.
func (f *follower) at(offset int64) (fr found, ok, newest bool, more <-chan struct{}) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	more = f.tail.more
	beyond := false
	for i := len(f.tail.frames) - 1; i >= 0; i-- {
		fr := f.tail.frames[i]
		if end := fr.end(); fr.offset <= offset && offset < end {
			return fr, true, false, more
		} else if end > offset {
			beyond = true
		} else if end == offset {
			newest = true
		}
	}
	return found{}, false, newest && !beyond, more
}

// behind is the sequence behind the newest frame that was stored here, if all of it lies before an offset; else 0.
func (f *follower) behind(offset int64) uint64 {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if s := f.tail.stored; s.sequence > 0 && s.end <= offset {
		return s.sequence + 1
	}
	return 0
}

// elsewhere: a frame was read that is not in the tail, so that others may write the log.
func (f *follower) elsewhere() error {
	if f == nil || f.sub != nil {
		return nil
	}
	f.s.mu.Lock()
	behind := len(f.tail.frames) > 0
	f.s.mu.Unlock()
	if behind && !f.look {
		return nil
	}
	return f.listen()
}

// pause waits until somebody writes, or a while. A log that is not followed is waited for too.
func (f *follower) pause(ctx context.Context, more <-chan struct{}) error {
	var woken <-chan struct{}
	d := poll
	if f != nil {
		woken = f.woken
		if f.told {
			d = soon
		}
		f.told, f.look = false, false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-more:
	case <-woken:
		f.told, f.look = true, true
	case <-t.C:
		if f != nil {
			f.look = true
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}
