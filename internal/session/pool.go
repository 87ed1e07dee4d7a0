package session

import (
	"context"
	"sync"
)

// pool is the slots of one capability.
type pool struct {
	slots chan struct{} // one element per occupied slot

	mu   sync.Mutex
	lent int // of the occupied ones, those that wait for what the queue has
}

func newPool(n int) *pool { return &pool{slots: make(chan struct{}, n)} }

// take waits for a slot and takes it with all others that are free, at most limit.
func (p *pool) take(ctx context.Context, limit int) (int, bool) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return 0, false
	}
	n := 1
	for n < limit {
		select {
		case p.slots <- struct{}{}:
			n++
		default:
			return n, true
		}
	}
	return n, true
}

func (p *pool) free(n int) {
	for range n {
		<-p.slots
	}
}

// lend says of slots that were taken that they wait for what the queue has.
func (p *pool) lend(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lent += n
}

// claim takes one of the slots that wait for something that the queue had; not ok: none does any more.
func (p *pool) claim() (ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lent == 0 {
		return false
	}
	p.lent--
	return true
}

// settle frees the slots that waited in vain.
func (p *pool) settle() {
	p.mu.Lock()
	n := p.lent
	p.lent = 0
	p.mu.Unlock()
	p.free(n)
}

// borrow takes a free slot, or one that waits for the queue; not ok: there is none. It does not wait.
func (p *pool) borrow() (ok bool) {
	select {
	case p.slots <- struct{}{}:
		return true
	default:
		return p.claim()
	}
}

// unused is how many slots nothing is done with.
func (p *pool) unused() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return cap(p.slots) - len(p.slots) + p.lent
}
