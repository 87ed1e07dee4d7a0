package dispatch

import (
	"cmp"
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

// mostKeys is how many keys of a worker are kept.
const mostKeys = 4000

// moment is how long tasks are waited for that become ready together.
const moment = time.Millisecond

// offer of a task to a worker.
type offer struct{ capability, token, instance string }

// worker is one that answers offers at once.
type worker struct{ holdings placement.Holdings }

// place is what is known of the slots that a worker has of a capability.
type place struct {
	worker  *worker
	load    placement.Load
	free    int // as it says, or its session counts
	offered int // of those, to tasks that it was offered and has not leased
}

// Holds says that a worker answers offers, and what it holds.
func (d *Dispatcher) Holds(instance string, keys []uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w, ok := d.workers[instance]
	if !ok {
		w = &worker{}
		d.workers[instance] = w
	}
	w.holdings.Set(keys[max(0, len(keys)-mostKeys):])
}

// Held says what a worker holds since then, and does not any more.
func (d *Dispatcher) Held(instance string, added, dropped []uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if w, ok := d.workers[instance]; ok {
		w.holdings.Drop(dropped...)
		w.holdings.Add(added[:min(len(added), max(0, mostKeys-w.holdings.Len()))]...)
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
func (d *Dispatcher) Free(capability, instance string, free, slots int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w, ok := d.workers[instance]
	if !ok {
		return
	}
	l, now := d.lane(capability), d.cfg.Now()
	p, ok := l.places[instance]
	if !ok {
		p = &place{worker: w}
		done, all := l.work(now)
		p.load.Start(done, all, slots, now)
		l.places[instance] = p
	}
	more := free > p.free
	p.worker, p.free = w, free
	p.load.Set(slots, max(0, slots-free), now)
	if more && l.waiting.Len() > 0 {
		d.signal()
	}
}

// work that the workers of a lane did lately, and how many slots they have.
func (l *lane) work(now time.Time) (done placement.Work, slots int) {
	for name, p := range l.places {
		if n := l.slots[name]; n > 0 {
			done, slots = done.Add(p.load.Work(now)), slots+n
		}
	}
	return done, slots
}

// Declined says that a worker does not take what it was offered. It is offered nothing more until it says again what it
// has free.
func (d *Dispatcher) Declined(token string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.lanes {
		to := l.out[token].to
		if !l.recall(token) {
			continue
		}
		d.placements.Declined++
		if p, ok := l.places[to]; ok {
			p.free = min(p.free, p.offered)
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

const (
	// batch is how many tasks are placed in one go, while everything else waits.
	batch = 16
	// idlest is how many workers are looked at for a task that nobody is warm for: those that did least lately.
	idlest = 64
)

// round is one go: the workers with free slots as they are then, those that did least first.
type round struct {
	free   []placement.Candidate
	places []*place // of free
	done   placement.Work
	slots  int
}

func (l *lane) round(now time.Time) *round {
	r := &round{}
	r.done, r.slots = l.work(now)
	for name, p := range l.places {
		if n := l.slots[name]; n > 0 && p.free > p.offered {
			r.free = append(r.free, placement.Candidate{Name: name, Holdings: &p.worker.holdings, Work: p.load.Work(now), Slots: n, Busy: n - p.free + p.offered})
		}
	}
	slices.SortFunc(r.free, func(a, b placement.Candidate) int {
		return cmp.Or(cmp.Compare(a.Work.Seconds/float64(a.Slots), b.Work.Seconds/float64(b.Slots)), cmp.Compare(a.Name, b.Name))
	})
	for _, c := range r.free {
		r.places = append(r.places, l.places[c.Name])
	}
	return r
}

// best answers the worker that a task is placed best on, and whether it is warm; below 0: there is none.
func (r *round) best(needs []placement.Need) (at int, warm bool) {
	var list []placement.Candidate
	var where []int
	for i, c := range r.free {
		if i < idlest || c.Holdings.Warm(needs) {
			list, where = append(list, c), append(where, i)
		}
	}
	if len(list) == 0 {
		return -1, false
	}
	at = where[placement.Best(needs, list, r.done, r.slots)]
	return at, r.free[at].Holdings.Warm(needs)
}

// warm: a worker with a free slot is warm for a task.
func (r *round) warm(t schedule.Task) bool {
	return len(t.Needs) == 0 || slices.ContainsFunc(r.free, func(c placement.Candidate) bool { return c.Holdings.Warm(t.Needs) })
}

// take notes that a slot of a worker is given away.
func (r *round) take(at int) (instance string) {
	instance = r.free[at].Name
	r.places[at].offered++
	if r.free[at].Busy++; r.places[at].free <= r.places[at].offered {
		r.free, r.places = slices.Delete(r.free, at, at+1), slices.Delete(r.places, at, at+1)
	}
	return instance
}

// placed takes the tasks that come next out of those that wait, as many as there is room for: offers for workers that
// they are placed best on, and what is published for anybody. What is warm somewhere is placed first, or what comes
// before it in the order might take that slot for nothing; mu is held.
func (d *Dispatcher) placed(capability string, l *lane, now time.Time) (offers []offer, tokens []string) {
	room := d.room(l)
	if len(l.out) >= room || l.waiting.Len() == 0 {
		return nil, nil
	}
	var cold []schedule.Task
	r := &round{}
	if d.cfg.Offer != nil && l.needs {
		r = l.round(now)
	}
	give := func(t schedule.Task, at int) {
		to := r.take(at)
		h := l.out[t.Token]
		h.to = to
		l.out[t.Token] = h
		offers = append(offers, offer{capability, t.Token, to})
	}
	for n := 0; len(l.out) < room; n++ {
		if n >= batch && len(r.free) > 0 { // each costs a look at all of them
			d.signal() // to go on
			break
		}
		t, ok := l.first(r)
		if !ok {
			break
		}
		d.out(l, t, now)
		if len(t.Needs) == 0 || d.cfg.Offer == nil {
			tokens = append(tokens, t.Token)
		} else if at, warm := r.best(t.Needs); warm {
			d.placements.Warm++
			give(t, at)
		} else {
			cold = append(cold, t)
		}
	}
	for _, t := range cold {
		if at, _ := r.best(t.Needs); at >= 0 {
			d.placements.Cold++
			give(t, at)
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
// free slot is warm for, if the order allows.
func (l *lane) first(r *round) (schedule.Task, bool) {
	if len(r.free) == 0 || len(r.free) > choosy || l.waiting.Len() <= len(r.free) {
		return l.waiting.Next()
	}
	return l.waiting.NextFitting(r.warm)
}

// patient: every worker of a lane answers offers, and no other coordinator gives them tasks. Then a task that has needs
// is better not published before a slot is free.
func (d *Dispatcher) patient(l *lane) bool {
	if !l.needs || d.cfg.Offer == nil || len(l.slots) == 0 || d.cfg.Shared && (!d.alone || d.cfg.Now().Sub(d.allotted) >= stale) {
		return false
	}
	for name := range l.slots {
		if _, ok := l.places[name]; !ok {
			return false
		}
	}
	return true
}

// spare is how many slots are free, and offered to nobody.
func (l *lane) spare() (n int) {
	for name, p := range l.places {
		if l.slots[name] > 0 {
			n += max(0, p.free-p.offered)
		}
	}
	return n
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
