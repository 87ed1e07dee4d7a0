// Package journaltest has what every journal.Stream must do, and a stream in memory whose
// network and disk fail as they are told. It runs inside testing/synctest, where a NATS
// server cannot.
package journaltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/slipway-build/slipway/coordinator/journal"
)

// ErrBroken is the answer of a call that Fault lets fail.
var ErrBroken = errors.New("the stream is broken")

// patience is how long a call without a deadline waits for its answer, as in JetStream.
const patience = 5 * time.Second

// Fault is what happens to one call of a Memory. The zero Fault: nothing.
type Fault struct {
	Request    time.Duration // how long the request is on its way; it arrives though its caller has gone
	Answer     time.Duration // how long the answer is
	LostBefore bool          // the request never arrives
	LostAfter  bool          // the answer never does
	Broken     bool          // an error is the answer, and nothing was done
}

// Memory is a stream that owners share, as they share a real one.
type Memory struct {
	// Fault says what happens to a call ("append", "get", "read"). nil: nothing.
	Fault func(call string) Fault

	mu     sync.Mutex
	frames [][]byte
	purged uint64 // frames that a reader does not get any more
}

// call carries out do at the other end of the network.
func (m *Memory) call(ctx context.Context, name string, do func() error) error {
	var f Fault
	if m.Fault != nil {
		f = m.Fault(name)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, context.Cause(ctx))
	}
	if _, ok := ctx.Deadline(); !ok {
		limited, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		ctx = limited
	}
	answer := make(chan error, 1)
	there := func() {
		err := ErrBroken
		if !f.Broken {
			err = do()
		}
		if !f.LostAfter {
			after(f.Answer, func() { answer <- err })
		}
	}
	if !f.LostBefore {
		after(f.Request, there)
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", name, context.Cause(ctx))
	}
}

func after(d time.Duration, do func()) {
	if d == 0 {
		do()
		return
	}
	time.AfterFunc(d, do)
}

// Append implements journal.Stream.
func (m *Memory) Append(ctx context.Context, last uint64, frame []byte) (uint64, error) {
	frame = bytes.Clone(frame)
	err := m.call(ctx, "append", func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		if end := uint64(len(m.frames)); end != last {
			return fmt.Errorf("%w: it ends with %d, not %d", journal.ErrBehind, end, last)
		}
		m.frames = append(m.frames, frame)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return last + 1, nil
}

// Get implements journal.Stream.
func (m *Memory) Get(ctx context.Context, sequence uint64) ([]byte, error) {
	var frame []byte
	var mu sync.Mutex // the answer may come when nobody waits for it
	err := m.call(ctx, "get", func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		if sequence <= m.purged || sequence > uint64(len(m.frames)) {
			return fmt.Errorf("record %d: %w", sequence, journal.ErrNoRecord)
		}
		mu.Lock()
		defer mu.Unlock()
		frame = bytes.Clone(m.frames[sequence-1])
		return nil
	})
	mu.Lock()
	defer mu.Unlock()
	return frame, err
}

// Read implements journal.Stream.
func (m *Memory) Read(ctx context.Context, from uint64, each func(uint64, []byte) error) error {
	var frames [][]byte
	var mu sync.Mutex
	err := m.call(ctx, "read", func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		mu.Lock()
		defer mu.Unlock()
		if from <= m.purged {
			return fmt.Errorf("%w: it begins with record %d", journal.ErrPurged, m.purged+1)
		}
		for i := from; i <= uint64(len(m.frames)); i++ {
			frames = append(frames, bytes.Clone(m.frames[i-1]))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, f := range frames {
		if err := each(from+uint64(i), f); err != nil {
			return err
		}
	}
	return nil
}

// Bounds implements journal.Stream.
func (m *Memory) Bounds(ctx context.Context) (uint64, uint64, error) {
	type bounds struct{ first, last uint64 }
	found := make(chan bounds, 1) // what is late is nobody's
	err := m.call(ctx, "bounds", func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		found <- bounds{m.purged + 1, uint64(len(m.frames))}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	b := <-found
	return b.first, b.last, nil
}

// Purge implements journal.Stream. Whole still has what it takes away.
func (m *Memory) Purge(ctx context.Context, before uint64) error {
	return m.call(ctx, "purge", func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		if last := uint64(len(m.frames)); min(before, last) > 0 {
			m.purged = max(m.purged, min(before, last)-1)
		}
		return nil
	})
}

// Purged is how many records were taken away.
func (m *Memory) Purged() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.purged
}

// Whole is a Copy with all records that ever were.
func (m *Memory) Whole() *Memory {
	c := m.Copy()
	c.purged = 0
	return c
}

// Len is the number of the last record.
func (m *Memory) Len() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return uint64(len(m.frames))
}

// Copy is a stream with the same records and no faults.
func (m *Memory) Copy() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := &Memory{purged: m.purged}
	for _, f := range m.frames {
		out.frames = append(out.frames, bytes.Clone(f))
	}
	return out
}

// Change puts what f makes of a record in its place, as a disk that is going bad does.
func (m *Memory) Change(sequence uint64, f func([]byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.frames[sequence-1] = f(bytes.Clone(m.frames[sequence-1]))
}

// Drop takes a record out; those behind it move up.
func (m *Memory) Drop(sequence uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.frames = append(m.frames[:sequence-1:sequence-1], m.frames[sequence:]...)
}
