package session

import (
	"context"
	"sync"
)

// link says whether a stream is open, and lets others wait until it is or no longer is.
type link struct {
	mu   sync.Mutex
	up   chan struct{} // closed while a stream is open
	down chan struct{} // closed while none is
}

func newLink() *link {
	l := &link{up: make(chan struct{}), down: make(chan struct{})}
	close(l.down)
	return l
}

// open is told that a stream is open, and lost that it no longer is, by turns.
func (l *link) open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.up)
	l.down = make(chan struct{})
}

func (l *link) lost() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.down)
	l.up = make(chan struct{})
}

func (l *link) states() (up, down <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up, l.down
}

// wait until a stream is open; false: ctx ended first.
func (l *link) wait(ctx context.Context) bool {
	up, _ := l.states()
	select {
	case <-up:
		return true
	case <-ctx.Done():
		return false
	}
}
