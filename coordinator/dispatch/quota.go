package dispatch

import (
	"slices"
	"time"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/schedule"
	"github.com/slipway-build/slipway/coordinator/share"
)

// Quota is how much of its limit a team uses, and what this process may have of it.
type Quota = partition.Room

// team is what is known of a team: its limit as the newest word of a partition has it, and
// how many of its tasks each partition has leased.
type team struct {
	limit   int // 0: none
	running map[int]int
	sum     int // of running
	may     int // of the limit, where it is shared
	others  int // how many of its tasks others have leased, as far as is known
}

func (t *team) leased() int { return t.sum }

// lease notes how many tasks a partition has leased.
func (t *team) lease(number, n int) {
	t.sum += n - t.running[number]
	if n == 0 {
		delete(t.running, number)
	} else {
		t.running[number] = n
	}
}

// hint is a task that was published and is not leased.
type hint struct {
	at   time.Time
	who  share.Who
	vain int    // how often it was published again while slots were free
	to   string // the worker that it was offered to; empty: it was published
}

// Running says how many tasks of a team a partition has leased.
func (d *Dispatcher) Running(number int, name string, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.team(name)
	t.lease(number, n)
	if t.limit > 0 {
		d.weighAll(name)
	}
}

// Left says that a partition is not this process's any more: its next owner publishes its
// tasks and counts its leases. Hints that are out stay on the queue, and lead to that one.
func (d *Dispatcher) Left(number int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	of := func(token string) bool {
		home, err := partition.Home(token)
		return err == nil && home == number
	}
	delete(d.serves, number)
	d.moves++
	for _, l := range d.lanes {
		for k, n := range l.leased {
			if k.number == number {
				l.busy -= n
				delete(l.leased, k)
			}
		}
		for _, token := range slices.Collect(l.waiting.Tokens()) {
			if of(token) {
				l.waiting.Remove(token)
			}
		}
		for token := range l.out {
			if of(token) {
				l.taken(token)
			}
		}
	}
	for name, t := range d.teams {
		if t.may = max(0, t.may-t.running[number]); len(d.serves) == 0 { // they go with the partition
			t.may = 0
		}
		t.lease(number, 0)
		d.weighAll(name)
	}
	d.signal()
}

func (d *Dispatcher) team(name string) *team {
	t, ok := d.teams[name]
	if !ok {
		t = &team{running: map[int]int{}}
		d.teams[name] = t
	}
	return t
}

// limit notes what a partition says that a team may have.
func (d *Dispatcher) limit(name string, n int) {
	if t := d.team(name); t.limit != n {
		t.limit = n
		d.weighAll(name)
	}
}

// weighAll holds or frees a team wherever it waits.
func (d *Dispatcher) weighAll(name string) {
	for _, l := range d.lanes {
		d.weigh(l, name)
	}
	d.signal()
}

// weigh holds a team in a lane when those of its tasks that run, and those that a worker of
// this lane is about to take, are as many as may run. Hints of other lanes do not count: for
// all that is known, nobody is there to take them. So in a moment there may be more hints
// than may become leases; the partition refuses those, and says of them that they wait.
func (d *Dispatcher) weigh(l *lane, name string) {
	t, ok := d.teams[name]
	if ok && t.limit > 0 && t.leased()+l.hints[name] >= d.may(t) {
		l.waiting.Hold(name)
	} else {
		l.waiting.Free(name)
	}
}

// full are the teams that have as many tasks running as they may.
func (d *Dispatcher) full() map[string]Quota {
	out := map[string]Quota{}
	for name, t := range d.teams {
		if n := t.leased(); t.limit > 0 && n >= d.may(t) {
			out[name] = d.quota(t)
		}
	}
	return out
}

// put notes that a hint is out.
func (l *lane) put(t schedule.Task, now time.Time) {
	l.out[t.Token] = hint{at: now, who: share.Who{Class: t.Class, Team: t.Team, Share: t.Share, Project: t.Project}}
	if t.Team != "" {
		l.hints[t.Team]++
	}
}

// taken notes that a hint is out no more, and answers whose it was.
func (l *lane) taken(token string) (team string) {
	h, ok := l.out[token]
	if !ok {
		return ""
	}
	delete(l.out, token)
	if h.to != "" {
		l.answered(h.to)
	}
	l.patience = vain
	if h.who.Team != "" {
		l.hints[h.who.Team]--
	}
	return h.who.Team
}
