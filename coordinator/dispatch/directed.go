package dispatch

import (
	"context"
	"slices"
	"time"

	"github.com/slipway-build/slipway/coordinator/placement"
	"github.com/slipway-build/slipway/coordinator/schedule"
)

// A task that is cheaper where earlier work has left what it needs is offered to the worker with a free slot that it is
// placed best on, over that worker's session, and not published. Nobody waits for a worker: where none has a free slot
// the task goes to the first that asks, and one that does not answer an offer soon is passed over.

// soon is how long an offer may be unanswered before its task is published for anybody.
const soon = 500 * time.Millisecond

// moment is how long tasks are waited for that become ready together.
const moment = time.Millisecond

// offer of a task to a worker.
type offer struct{ capability, token, instance string }

// worker is one that answers offers at once.
type worker struct{ holdings placement.Holdings }

// place is what is known of the slots that a worker has of a capability.
type place struct {
	load    placement.Load
	free    int // as it says, or its session counts
	offered int // of those, to tasks that it was offered and has not leased
}

// Holds says that a worker answers offers, and what it holds.
func (d *Dispatcher) Holds(instance string, keys []uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := &worker{}
	w.holdings.Set(keys)
	d.workers[instance] = w
}

// Held says what a worker holds since then, and does not any more.
func (d *Dispatcher) Held(instance string, added, dropped []uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if w, ok := d.workers[instance]; ok {
		w.holdings.Drop(dropped...)
		w.holdings.Add(added...)
	}
}

// Forget says that a worker is gone.
func (d *Dispatcher) Forget(instance string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.workers, instance)
	for _, l := range d.lanes {
		delete(l.places, instance)
		for token, h := range l.out {
			if h.to == instance {
				l.recall(token)
			}
		}
	}
	d.signal()
}

// Free says how many of its slots of a capability a worker has free, if it answers offers.
func (d *Dispatcher) Free(capability, instance string, slots int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.workers[instance]; !ok {
		return
	}
	l := d.lane(capability)
	p, ok := l.places[instance]
	if !ok {
		p = &place{}
		l.places[instance] = p
	}
	more := slots > p.free
	p.free = slots
	p.load.Set(l.slots[instance], max(0, l.slots[instance]-slots), d.cfg.Now())
	if more && l.waiting.Len() > 0 {
		d.signal()
	}
}

// Declined says that a worker does not take what it was offered.
func (d *Dispatcher) Declined(token string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.lanes {
		if l.recall(token) {
			d.placements.Declined++
		}
	}
	d.signal()
}

// recall lets a hint that was offered be published; not ok: it was not.
func (l *lane) recall(token string) (ok bool) {
	h, ok := l.out[token]
	if !ok || h.to == "" {
		return false
	}
	l.answered(h.to)
	l.out[token] = hint{who: h.who}
	return true
}

// answered notes that an offer stands no more.
func (l *lane) answered(instance string) {
	if p, ok := l.places[instance]; ok {
		p.offered--
	}
}

// gather waits a moment where a task may be placed: what becomes ready with it is placed with it.
func (d *Dispatcher) gather(ctx context.Context) {
	d.mu.Lock()
	some := false
	for _, l := range d.lanes {
		some = some || l.needs && l.waiting.Len() > 0 && len(l.places) > 0
	}
	d.mu.Unlock()
	if !some {
		return
	}
	select {
	case <-time.After(moment):
	case <-ctx.Done():
	}
}

// Placements counts what became of tasks that are cheaper on some workers than on others.
type Placements struct {
	Warm, Cold           uint64 // offered or given to a worker that held what they need most, and to one that did not
	Unplaced             uint64 // published: no worker that answers offers had a free slot
	Declined, Unanswered uint64 // of the offers, those that were published after all
}

// Placements so far.
func (d *Dispatcher) Placements() Placements {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.placements
}

// batch is how many tasks are placed in one go, while everything else waits.
const batch = 256

// placed takes the tasks that come next out of those that wait, as many as there is room for: offers for workers that
// they are placed best on, and what is published for anybody. What is warm somewhere is placed first, or what comes
// before it in the order might take that slot for nothing; mu is held.
func (d *Dispatcher) placed(capability string, l *lane, now time.Time) (offers []offer, tokens []string) {
	var cold []schedule.Task
	give := func(t schedule.Task, to string) {
		l.direct(t.Token, to)
		offers = append(offers, offer{capability, t.Token, to})
	}
	for room, n := d.room(l), 0; len(l.out) < room; n++ {
		if n == batch {
			d.signal() // to go on
			break
		}
		t, ok := d.first(l)
		if !ok {
			break
		}
		d.out(l, t, now)
		if len(t.Needs) == 0 || d.cfg.Offer == nil {
			tokens = append(tokens, t.Token)
		} else if to, ok := d.best(l, t, now); ok && d.workers[to].holdings.Warm(t.Needs) {
			d.placements.Warm++
			give(t, to)
		} else {
			cold = append(cold, t)
		}
	}
	for _, t := range cold {
		if to, ok := d.best(l, t, now); ok {
			d.placements.Cold++
			give(t, to)
		} else {
			d.placements.Unplaced++
			tokens = append(tokens, t.Token)
		}
	}
	return offers, tokens
}

// choosy is how many workers with free slots may be asked whether they are warm for one of several tasks.
const choosy = 64

// first takes out the task that comes next. Where not all of those that wait can be placed, it is one that a worker with a
// free slot is warm for, if the order allows; mu is held.
func (d *Dispatcher) first(l *lane) (schedule.Task, bool) {
	var free []*worker
	for name, p := range l.places {
		if p.free > p.offered && l.slots[name] > 0 {
			free = append(free, d.workers[name])
		}
	}
	if len(free) == 0 || len(free) > choosy || l.waiting.Len() <= len(free) {
		return l.waiting.Next()
	}
	return l.waiting.NextFitting(func(t schedule.Task) bool {
		return len(t.Needs) == 0 || slices.ContainsFunc(free, func(w *worker) bool { return w.holdings.Warm(t.Needs) })
	})
}

// direct notes that a task whose hint is out is offered to a worker.
func (l *lane) direct(token, to string) {
	h := l.out[token]
	h.to = to
	l.out[token] = h
	l.places[to].offered++
}

// best answers the worker with a free slot that a task is placed best on; not ok: there is none. mu is held.
func (d *Dispatcher) best(l *lane, t schedule.Task, now time.Time) (instance string, ok bool) {
	var free []placement.Candidate
	var done placement.Work
	slots := 0
	for name, p := range l.places {
		if l.slots[name] == 0 {
			continue
		}
		done, slots = done.Add(p.load.Work(now)), slots+l.slots[name]
		if p.free > p.offered {
			free = append(free, placement.Candidate{Name: name, Holdings: &d.workers[name].holdings, Load: &p.load})
		}
	}
	if len(free) == 0 {
		return "", false
	}
	return free[placement.Best(t.Needs, free, done, slots, now)].Name, true
}

// published is how many hints are out that were offered to nobody. Those may be anybody's, and may be lost.
func (l *lane) published() (n int) {
	for _, h := range l.out {
		if h.to == "" {
			n++
		}
	}
	return n
}

// patient: every worker of a lane answers offers, and no other coordinator gives them tasks. Then a task that has needs
// is better not published before a slot is free.
func (d *Dispatcher) patient(l *lane) bool {
	_, shared := d.lot(l)
	return l.needs && !shared && d.cfg.Offer != nil && len(l.slots) > 0 && len(l.places) >= len(l.slots)
}

// fitting takes the next task for a slot of a certain worker; mu is held.
func (d *Dispatcher) fitting(l *lane, instance string) (schedule.Task, bool) {
	w, ok := d.workers[instance]
	if !ok || !l.needs {
		return l.waiting.Next()
	}
	t, ok := l.waiting.NextFitting(func(t schedule.Task) bool { return len(t.Needs) == 0 || w.holdings.Warm(t.Needs) })
	switch {
	case !ok || len(t.Needs) == 0:
	case w.holdings.Warm(t.Needs):
		d.placements.Warm++
	default:
		d.placements.Cold++
	}
	return t, ok
}
