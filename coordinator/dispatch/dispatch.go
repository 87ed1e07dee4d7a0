// Package dispatch turns ready tasks into hints on the queue: a little more than the
// workers have free slots, in the order of schedule, and again what was lost. It keeps
// nothing that the partitions do not know; after a restart they say it again. Leases
// are not its business: a hint too many is refused there. Of a team that has as many tasks
// running as it may, no more are published until one of them has ended.
package dispatch

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/schedule"
	"github.com/slipway-build/slipway/coordinator/share"
	"github.com/slipway-build/slipway/internal/queue"
)

const (
	// margin is how many hints of a capability are out beyond its slots, so that a freed
	// slot finds the next task without a round trip through the owner.
	margin = 8
	// ripe is how long a hint may be out before it is given to a slot that asks this coordinator
	// for its next task.
	ripe = 50 * time.Millisecond
	// nobody is how long tasks may wait with no worker for them before the log says so, and says it again.
	nobody = time.Minute
)

// Queue is where hints go.
type Queue interface {
	Publish(ctx context.Context, capability string, tokens ...string) error
	EnsureConsumer(ctx context.Context, capability string) error
	// Drop forgets all hints and consumers, so that Open makes the queue anew.
	Drop(ctx context.Context) error
}

// Config of a dispatcher.
type Config struct {
	// Open makes the queue, at the start and whenever it is gone.
	Open func(ctx context.Context) (Queue, error)
	// Shared: there may be other coordinators, and what this one may have of workers and limits
	// is what Allot says. Without it everything is this one's.
	Shared bool
	// Offer offers a task to a worker that answers offers; not ok: it is not there. nil: no task is offered.
	Offer func(instance, capability, token string) (ok bool)
	Log   *slog.Logger
	Now   func() time.Time
}

// Dispatcher publishes hints while Run runs.
type Dispatcher struct {
	cfg  Config
	wake chan struct{}

	mu      sync.Mutex
	lanes   map[string]*lane
	teams   map[string]*team
	workers map[string]*worker // those that answer offers, by instance

	placements Placements
	// Of what coordinators share:
	serves   map[int]bool // partitions of which all leases are known here
	life     string       // of this process
	moves    int          // how many partitions have left, and how many had at the last report
	reported int          //
	seq      uint64
	allotted time.Time     // when Allot was last called
	alone    bool          // there was no other coordinator then
	urge     chan struct{} // something waits that an answer may free
}

// lane is one capability.
type lane struct {
	waiting  schedule.Queue
	out      map[string]hint   // published and not leased
	hints    map[string]int    // of those, by team
	slots    map[string]int    // by worker
	places   map[string]*place // of workers that answer offers
	needs    bool              // some of its tasks have needs
	aside    map[string]string // why workers that have slots take no task, by worker
	leased   map[load]int
	busy     int // of those, all
	lot      share.Lot
	patience int       // vain, or more
	failing  time.Time // since when nothing can be published, or since the queue was last made anew for that; zero: it can
	ripe     []string  // hints that were out for long when Take looked, the oldest last
	looked   time.Time // when it did
	consumer bool
	// idle is since when tasks wait and nobody can carry them out, or when that was last
	// logged; zero: it is not so.
	idle time.Time
}

// New makes a dispatcher.
func New(cfg Config) *Dispatcher {
	return &Dispatcher{
		cfg: cfg, wake: make(chan struct{}, 1), urge: make(chan struct{}, 1),
		lanes: map[string]*lane{}, teams: map[string]*team{}, workers: map[string]*worker{}, serves: map[int]bool{}, life: rand.Text(),
	}
}

// Ready says that a task may be leased.
func (d *Dispatcher) Ready(capability, token string, p partition.Priority) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lane(capability)
	if p.Team != "" {
		d.limit(p.Team, p.Running)
		if t := d.team(p.Team); t.limit > 0 && t.leased() >= d.may(t) {
			d.urgent(t)
		}
	}
	l.needs = l.needs || len(p.Needs) > 0
	if _, out := l.out[token]; !out {
		l.waiting.Add(task(token, p))
	}
	d.signal()
}

// Gone says that a task is leased, or will not run.
func (d *Dispatcher) Gone(capability, token string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lane(capability)
	l.waiting.Remove(token)
	if team := l.taken(token); team != "" {
		d.weigh(l, team)
	}
	d.signal()
}

// Worker says how many slots of a capability a worker has; 0: it is gone.
func (d *Dispatcher) Worker(capability, instance string, slots int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lane(capability)
	if slots == 0 {
		delete(l.slots, instance)
	} else {
		l.slots[instance] = slots
	}
	d.signal()
}

// Depth is how many tasks of each capability wait for a worker.
func (d *Dispatcher) Depth() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make(map[string]int, len(d.lanes))
	for c, l := range d.lanes {
		out[c] = l.waiting.Len() + len(l.out)
	}
	return out
}

// Place is what the tasks of a capability that wait here wait among.
type Place struct {
	Position map[string]int   // from 1, by token
	Slots    int              // of the workers that are connected
	Full     map[string]Quota // teams of which no more tasks may run
	// What other coordinators have of the same workers, where there are others.
	OthersRun, OthersWait int
	// HeldBack says of workers that could carry it out, and take no task, why they do not.
	HeldBack []string
}

// Place answers for a capability. It costs a copy of the queue.
func (d *Dispatcher) Place(capability string) Place {
	d.mu.Lock()
	defer d.mu.Unlock()
	l, ok := d.lanes[capability]
	if !ok {
		return Place{}
	}
	p := Place{Slots: l.all(), Full: d.full(), HeldBack: l.heldBack()}
	if lot, ok := d.lot(l); ok {
		p.OthersRun, p.OthersWait = max(0, lot.Running-l.busy), max(0, lot.Waiting-l.waiting.Len()-len(l.out))
	}
	out := slices.SortedFunc(maps.Keys(l.out), func(a, b string) int { return cmp.Or(l.out[a].at.Compare(l.out[b].at), cmp.Compare(a, b)) })
	p.Position = make(map[string]int, len(out)+l.waiting.Len())
	for _, t := range append(out, l.waiting.Order()...) {
		p.Position[t] = len(p.Position) + 1
	}
	return p
}

func (d *Dispatcher) lane(capability string) *lane {
	l, ok := d.lanes[capability]
	if !ok {
		l = &lane{out: map[string]hint{}, hints: map[string]int{}, slots: map[string]int{}, places: map[string]*place{}, aside: map[string]string{}, leased: map[load]int{}, patience: vain}
		d.lanes[capability] = l
		for name := range d.teams {
			d.weigh(l, name)
		}
	}
	return l
}

func (d *Dispatcher) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Run publishes until the context ends.
func (d *Dispatcher) Run(ctx context.Context) error {
	tick := time.NewTicker(sweep / 2)
	defer tick.Stop()
	var q Queue
	late := time.NewTimer(time.Hour)
	defer late.Stop()
	for {
		if q == nil {
			var err error
			if q, err = d.cfg.Open(ctx); err != nil {
				d.cfg.Log.ErrorContext(ctx, "task queue cannot be opened", "err", err)
				q = nil
			} else {
				d.lost()
			}
		}
		d.unserved(ctx)
		if q != nil {
			if err := d.publish(ctx, q); errors.Is(err, queue.ErrGone) {
				q = nil
			}
		}
		if q == nil { // lost just now, or not to be had: not in a tight loop
			select {
			case <-time.After(500 * time.Millisecond):
			case <-ctx.Done():
				return nil
			}
			continue
		}
		late.Reset(d.late())
		select {
		case <-d.wake:
			d.gather(ctx)
		case <-tick.C:
		case <-late.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// out notes that the hint of a task is out; mu is held.
func (d *Dispatcher) out(l *lane, t schedule.Task, now time.Time) {
	l.put(t, now)
	if t.Team != "" {
		d.weigh(l, t.Team)
	}
}

// Take answers the task that a slot which has just become free is to ask for; not ok: none
// waits. It goes on as if its hint had been published: one that nobody leases is published.
// A hint that nobody has pulled for a while comes first, for it was first in the order, and
// those who pull have no slot. Of the tasks of a run, one that the worker is warm for may come before others.
func (d *Dispatcher) Take(capability, instance string) (token string, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l, ok := d.lanes[capability]
	if !ok {
		return "", false
	}
	now := d.cfg.Now()
	if now.Sub(l.looked) >= ripe/4 {
		l.looked, l.ripe = now, l.ripe[:0]
		for t, h := range l.out {
			if h.to == "" && now.Sub(h.at) >= ripe {
				l.ripe = append(l.ripe, t)
			}
		}
		slices.SortFunc(l.ripe, func(a, b string) int { return cmp.Or(l.out[b].at.Compare(l.out[a].at), cmp.Compare(b, a)) })
	}
	for len(l.ripe) > 0 {
		token = l.ripe[len(l.ripe)-1]
		l.ripe = l.ripe[:len(l.ripe)-1]
		if h, out := l.out[token]; out {
			h.at = now
			l.out[token] = h
			return token, true
		}
	}
	if d.passes(l) {
		return "", false
	}
	t, ok := d.fitting(l, instance)
	if ok {
		d.out(l, t, now)
	}
	return t.Token, ok
}

// all slots of the workers that are connected.
func (l *lane) all() (n int) {
	for _, k := range l.slots {
		n += k
	}
	return n
}

// load is what a partition has leased.
type load struct {
	number int
	who    share.Who
}

// Leased says how many tasks of a kind a partition has leased.
func (d *Dispatcher) Leased(number int, of partition.Load, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lane(of.Capability)
	k := load{number, share.Who{Class: schedule.ClassOf(of.Class), Team: of.Team, Share: of.Share, Project: of.Project}}
	l.busy += n - l.leased[k]
	if n == 0 {
		delete(l.leased, k)
	} else {
		l.leased[k] = n
	}
}

// task is what schedule wants to know of a task.
func task(token string, p partition.Priority) schedule.Task {
	return schedule.Task{
		Token: token, Team: p.Team, Share: p.Share, Project: p.Project, Run: p.Run, Class: schedule.ClassOf(p.Class), Since: p.Since, Bottom: int64(p.Bottom), Index: p.Index,
		Needs: p.Needs,
	}
}
