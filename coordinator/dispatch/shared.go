package dispatch

import (
	"maps"
	"slices"
	"time"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/share"
)

const (
	// stale is how old an answer may be for its lots to count. What it said of limits counts until
	// there is another.
	stale = 3 * time.Second
	// projects is how many projects of a lane a report names one by one.
	projects = 1000
)

// may is how many tasks of a team may be leased by this process; mu is held.
func (d *Dispatcher) may(t *team) int {
	if !d.cfg.Shared {
		return t.limit
	}
	return min(t.limit, t.may)
}

func (d *Dispatcher) quota(t *team) Quota {
	return Quota{Running: t.leased() + t.others, Limit: t.limit, May: d.may(t)}
}

// urgent asks for an answer soon: a part of a limit may be to be had elsewhere.
func (d *Dispatcher) urgent(t *team) {
	if t.may < t.limit {
		d.hurry()
	}
}

func (d *Dispatcher) hurry() {
	select {
	case d.urge <- struct{}{}:
	default:
	}
}

// Urge says when a report should not wait for its time.
func (d *Dispatcher) Urge() <-chan struct{} { return d.urge }

// Room implements partition.Dispatcher.
func (d *Dispatcher) Room(number int, name string, limit int) (Quota, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limit(name, limit)
	t := d.team(name)
	if t.leased() >= d.may(t) {
		d.urgent(t)
		return d.quota(t), false
	}
	t.lease(number, t.running[number]+1)
	return d.quota(t), true
}

// Serves implements partition.Dispatcher.
func (d *Dispatcher) Serves(number int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.serves[number] = true
	d.hurry()
}

// room is how many hints of a lane may be out: for free slots of this process's lot, and a few
// beyond. Where others have to do without, these are fewer too, but never none; mu is held.
func (d *Dispatcher) room(l *lane) int {
	slots, more := l.all(), margin
	if d.patient(l) {
		// As many as there are free slots beside what is out; and where sessions know of fewer than partitions do, for those.
		return max(len(l.out)+l.spare(), slots-l.busy)
	}
	if lot, ok := d.lot(l); ok {
		slots = min(slots, lot.Slots)
		if lot.Scarce {
			more = min(max(1, lot.Slots/4), margin)
		}
	}
	return max(0, slots-l.busy) + more
}

// lot of a lane, if there is one that counts.
func (d *Dispatcher) lot(l *lane) (share.Lot, bool) {
	return l.lot, d.cfg.Shared && d.cfg.Now().Sub(d.allotted) < stale
}

// free reports that the farm has slots of a lane that nobody uses, as far as this process knows.
func (d *Dispatcher) free(l *lane) bool {
	busy := l.busy
	if d.cfg.Shared {
		lot, ok := d.lot(l)
		if !ok {
			return false
		}
		busy = max(busy, lot.Running)
	}
	return busy < l.all()
}

// passes: the slots that become free are others' now.
func (d *Dispatcher) passes(l *lane) bool {
	lot, ok := d.lot(l)
	return ok && lot.Scarce && l.busy > lot.Slots
}

// Report is what this process has, and what waits here.
func (d *Dispatcher) Report(from string) share.Report {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reported = d.moves
	d.seq++
	r := share.Report{From: from, Life: d.life, Seq: d.seq, Moves: d.moves, Partitions: slices.Sorted(maps.Keys(d.serves)), Lanes: map[string]share.Lane{}, Teams: map[string]share.Team{}}
	waiting := map[string]int{} // by team
	for c, l := range d.lanes {
		sums := map[share.Who]*share.Demand{}
		of := func(w share.Who) *share.Demand {
			w.Share = max(1, w.Share)
			s, ok := sums[w]
			if !ok {
				s = &share.Demand{Who: w}
				sums[w] = s
			}
			return s
		}
		for _, w := range l.waiting.Sums() {
			of(share.Who{Class: w.Class, Team: w.Team, Share: w.Share, Project: w.Project}).Waiting += w.Tasks
			waiting[w.Team] += w.Tasks
		}
		for _, h := range l.out {
			of(h.who).Waiting++
			waiting[h.who.Team]++
		}
		for k, n := range l.leased {
			of(k.who).Running += n
		}
		if slots := l.all(); len(sums) > 0 || slots > 0 {
			r.Lanes[c] = share.Lane{Slots: slots, Demand: share.Few(sums, projects)}
		}
	}
	for name, t := range d.teams {
		k := share.Team{Limit: t.limit, Running: t.leased(), Waiting: waiting[name], May: t.may}
		if k.Running+k.Waiting == 0 { // what a plan said that nobody here has any more
			k.Limit = 0
		}
		if k.Limit > 0 || k.May > 0 || k.Running > 0 {
			r.Teams[name] = k
		}
	}
	return r
}

// Allot takes the answer to the last report of this process.
func (d *Dispatcher) Allot(a share.Answer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.allotted, d.alone = d.cfg.Now(), a.Alone
	for c, l := range d.lanes {
		l.lot = a.Lanes[c]
		if _, ok := a.Lanes[c]; !ok { // it was not there when the report was made
			l.lot.Slots = l.all()
		}
	}
	for name, p := range a.Teams {
		t := d.team(name)
		t.others = max(0, p.Running-t.leased())
		if d.moves == d.reported { // what has left since is not this process's any more
			t.may = p.May
		}
		d.weighAll(name)
	}
	d.signal()
}

// Unshared lets this process have all of every limit, as if there were no others.
func (d *Dispatcher) Unshared() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.allotted, d.alone = time.Time{}, false
	for name, t := range d.teams {
		if t.others = 0; t.may != t.limit {
			t.may = t.limit
			d.weighAll(name)
		}
	}
}

var _ partition.Dispatcher = (*Dispatcher)(nil)
