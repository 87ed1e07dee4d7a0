package cluster

import (
	"sync"
	"time"
)

// linger is how long something borrowed is kept when nobody has it: the next rollout to the same place comes soon, or not at all.
const linger = time.Minute

// Lent is something that several rollouts use side by side.
type Lent interface {
	// Broken reports that nobody is to borrow it any more; who has it goes on.
	Broken() bool
	Close()
}

// Pool lends what is worth keeping between rollouts. Its zero value is ready.
type Pool struct {
	mu  sync.Mutex
	all map[any]*loan
}

type loan struct {
	what  Lent
	users int
	idle  *time.Timer
}

// Borrow answers what is lent under the key, which is opened when there is none. It is to be given back, once.
func (p *Pool) Borrow(key any, open func() Lent) (what Lent, back func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.all[key]
	if l != nil && l.what.Broken() {
		delete(p.all, key)
		if l.users == 0 {
			l.end()
		}
		l = nil
	}
	if l == nil {
		l = &loan{what: open()}
		if p.all == nil {
			p.all = map[any]*loan{}
		}
		p.all[key] = l
	}
	if l.users++; l.idle != nil {
		l.idle.Stop()
		l.idle = nil
	}
	return l.what, func() { p.back(key, l) }
}

func (p *Pool) back(key any, l *loan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.users--; l.users > 0 {
		return
	}
	if p.all[key] != l { // replaced meanwhile
		l.end()
		return
	}
	l.idle = time.AfterFunc(linger, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if l.users == 0 && p.all[key] == l {
			delete(p.all, key)
			l.end()
		}
	})
}

// end closes it. Nobody has it, nor will.
func (l *loan) end() {
	if l.idle != nil {
		l.idle.Stop()
	}
	l.what.Close()
}
