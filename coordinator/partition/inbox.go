package partition

import (
	"context"
	"sync"
)

// maxInbox is how many commands may wait for a partition. Whoever brings one more waits.
const maxInbox = 4096

// inbox is the commands that wait for the owner of a partition, in the order in which
// they came. Any number of senders and one taker use it.
type inbox struct {
	some chan struct{} // has an element soon after the inbox is not empty any more

	mu     sync.Mutex
	list   []command
	room   chan struct{} // closed when there is room again; nil: nobody waits for it
	closed bool

	// Of the taker:
	taken []command
	next  int
}

func newInbox() *inbox { return &inbox{some: make(chan struct{}, 1)} }

// put adds a command, unless the inbox was closed or the context ends first.
func (b *inbox) put(ctx context.Context, c command) error {
	for {
		room, err := b.try(c)
		if room == nil {
			return err
		}
		select {
		case <-room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// try adds a command if there is room for it, and answers what to wait for if not.
func (b *inbox) try(c command) (room <-chan struct{}, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return nil, ErrElsewhere
	case len(b.list) >= maxInbox:
		if b.room == nil {
			b.room = make(chan struct{})
		}
		return b.room, nil
	}
	b.list = append(b.list, c)
	if len(b.list) == 1 {
		select {
		case b.some <- struct{}{}:
		default:
		}
	}
	return nil, nil
}

// take answers the oldest command; false: there is none.
func (b *inbox) take() (command, bool) {
	if b.next == len(b.taken) {
		b.refill()
	}
	if b.next == len(b.taken) {
		return command{}, false
	}
	c := b.taken[b.next]
	b.taken[b.next] = command{}
	b.next++
	return c, true
}

// waiting reports that take has a command that was not announced by some.
func (b *inbox) waiting() bool { return b.next < len(b.taken) }

func (b *inbox) refill() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken, b.list, b.next = b.list, b.taken[:0], 0
	if b.room != nil {
		close(b.room)
		b.room = nil
	}
}

// close refuses what is in the inbox, and all that comes.
func (b *inbox) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	for c, ok := b.take(); ok; c, ok = b.take() {
		c.reply(ErrElsewhere)
	}
}
