package session

import "context"

// pool is the slots of one capability.
type pool struct {
	slots chan struct{} // one element per occupied slot
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

func (p *pool) unused() int { return cap(p.slots) - len(p.slots) }
