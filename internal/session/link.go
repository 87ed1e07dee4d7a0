package session

import (
	"context"
	"sync"
)

// link says whether a stream, or anything else, is open, and lets others wait until it is.
type link struct {
	mu sync.Mutex
	up chan struct{} // closed while it is open
}

func newLink() *link { return &link{up: make(chan struct{})} }

// open is told that it is open, and lost that it no longer is, by turns.
func (l *link) open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.up)
}

func (l *link) lost() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up = make(chan struct{})
}

// opened is closed while it is open.
func (l *link) opened() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up
}

// wait until it is open; false: ctx ended first.
func (l *link) wait(ctx context.Context) bool {
	select {
	case <-l.opened():
		return true
	case <-ctx.Done():
		return false
	}
}
