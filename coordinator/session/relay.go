package session

import (
	"context"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/queue"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// offerWait is how long a worker may leave an offer unanswered before somebody else gets it.
const offerWait = 10 * time.Second

// relay pulls hints for a worker that has no connection to the queue, as many as it has
// free slots, and offers them on its session.
type relay struct {
	st    *stream
	mu    sync.Mutex
	slots map[string]int // free by the last heartbeat, less what was offered since
	open  map[string]offer
	wake  map[string]chan struct{}
	// held: the worker takes no task now.
	held bool
}

type offer struct {
	hint       queue.Hint
	capability string
	at         time.Time
}

func newRelay(st *stream) *relay {
	r := &relay{st: st, slots: map[string]int{}, open: map[string]offer{}, wake: map[string]chan struct{}{}}
	for _, c := range st.hello.GetCapacity() {
		r.wake[c.GetCapability()] = make(chan struct{}, 1)
	}
	return r
}

// free is told what the worker's heartbeat says.
func (r *relay) free(free []*pb.Capacity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held {
		return
	}
	clear(r.slots)
	for _, o := range r.open { // the worker does not count what it has not answered yet
		r.slots[o.capability]--
	}
	for _, c := range free {
		r.slots[c.GetCapability()] += int(c.GetSlots())
		select {
		case r.wake[c.GetCapability()] <- struct{}{}:
		default:
		}
	}
}

// hold gives back what the worker has not asked for: it takes nothing new, but may go
// on for long with what it has. When it takes tasks again, its next heartbeat says how many.
func (r *relay) hold(held bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held = held; held {
		clear(r.slots)
		r.giveBack()
	}
}

// giveBack what is open; r.mu is held.
func (r *relay) giveBack() {
	for token, o := range r.open {
		delete(r.open, token)
		_ = o.hint.Nak() // the queue gives it out again by itself otherwise
	}
}

// spend: a slot was offered a task that the relay did not pull.
func (r *relay) spend(capability string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slots[capability]--
}

// answered is told that the worker asked for the lease.
func (r *relay) answered(token string) {
	r.mu.Lock()
	o, ok := r.open[token]
	delete(r.open, token)
	r.mu.Unlock()
	if ok {
		if err := o.hint.Ack(); err != nil {
			r.st.cfg.Log.WarnContext(r.st.ctx, "acknowledge hint", "token", token, "err", err)
		}
	}
}

func (r *relay) run() {
	var lanes sync.WaitGroup
	for c, wake := range r.wake {
		lanes.Go(func() { r.lane(r.st.ctx, c, wake) })
	}
	lanes.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.giveBack()
}

func (r *relay) lane(ctx context.Context, capability string, wake <-chan struct{}) {
	puller := r.st.cfg.Puller(capability)
	for ctx.Err() == nil {
		r.stale()
		r.mu.Lock()
		n := r.slots[capability]
		r.mu.Unlock()
		if n <= 0 {
			select {
			case <-wake:
			case <-ctx.Done():
			}
			continue
		}
		err := puller.Fetch(ctx, n, 2*time.Second, func(h queue.Hint) { r.offer(capability, h) })
		if err != nil {
			select {
			case <-time.After(300 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

func (r *relay) offer(capability string, h queue.Hint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held || r.slots[capability] <= 0 { // another offer has taken the slot meanwhile
		_ = h.Nak() // the queue gives it out again by itself otherwise
		return
	}
	r.slots[capability]--
	r.open[h.Token] = offer{h, capability, time.Now()}
	r.st.later(func(m *pb.SessionResponse) {
		m.Offers = append(m.Offers, &pb.Offer{Token: h.Token, Capability: capability})
	})
}

// stale gives back offers that were not answered.
func (r *relay) stale() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for token, o := range r.open {
		if time.Since(o.at) > offerWait {
			delete(r.open, token)
			_ = o.hint.Nak() // the queue gives it out again by itself otherwise
		}
	}
}
