// Package share decides what each of several coordinators may have of what they have in
// common: the slots of workers, and the limits of teams. Each reports what it has and what
// waits; one of them keeps a Table of the reports, and answers. It is pure: reports in,
// answers out. Which coordinator decides, and how reports travel, is known elsewhere
// (package pool); in which order each has its own tasks done, in schedule.
//
// A lane is the workers of one capability. While more waits than there are slots, each
// coordinator is allotted as many as its projects would have if one coordinator had them all:
// classes, teams and projects share by weight, and what one does not need the others have.
// Nothing is taken from anybody: who has more than its lot gets no more until it has less. What
// is over is everybody's: a lot is how many hints may be out, and a hint is no lease.
//
// The limit of a team is not to be passed, whoever fails: it is dealt out, and nothing is dealt
// out again before its last holder has said that it obeys less, or that its leases are
// counted by somebody else.
package share

import (
	"cmp"
	"maps"
	"slices"

	"github.com/slipway-build/slipway/coordinator/schedule"
)

// Report is what a coordinator has and what waits there, counted in one moment.
type Report struct {
	From string // the coordinator's id
	Life string // of its process
	Seq  uint64 // of the reports of that process: one that comes late is not taken
	// Moves is how many partitions this process has ceased to serve.
	Moves int
	// Partitions whose leases are counted in it: those that it serves, and of which it knows
	// all leases.
	Partitions []int
	Lanes      map[string]Lane // by capability
	Teams      map[string]Team // those that have tasks here and a limit, or a part of one

	gone bool
}

// Lane is what a coordinator has in a lane.
type Lane struct {
	Slots  int // of the workers that it sees
	Demand []Demand
}

// Demand is the tasks of one project in a lane.
type Demand struct {
	Who     Who
	Running int // leased
	Waiting int // not leased
}

// Who tasks count for.
type Who struct {
	Class   schedule.Class
	Team    string // empty: nobody's
	Share   int    // of the team
	Project string
}

// Team is what a coordinator has of a team.
type Team struct {
	Limit   int // as the newest plan has it; 0: none
	Running int // tasks that are leased
	Waiting int // tasks that are ready, in all lanes
	May     int // how many it obeys that may be leased
}

// Answer is what a coordinator may have.
type Answer struct {
	Lanes map[string]Lot
	Teams map[string]Part // of those that the report names
	// Alone: there is no other coordinator. Only the one that decides can be told so.
	Alone bool
}

// Lot of a coordinator in a lane.
type Lot struct {
	Slots   int  // how many tasks it may have leased; more than it has, while nobody waits
	Scarce  bool // more waits than there are slots
	Running int  // in the whole farm
	Waiting int  // in the whole farm
}

// Part of a team's limit.
type Part struct {
	May     int // how many tasks it may have leased
	Running int // in the whole farm
}

// Table is the reports of all coordinators. It decides for a farm with so many partitions.
type Table struct {
	partitions int
	reports    map[string]Report
	dealt      map[string]map[string]int // by coordinator and team: what was answered since its report
	// since is how often each has reported since a partition was last left, by a coordinator that
	// went on or by one that is gone: a report may be older than that, the one after it is not.
	since map[string]int
}

// NewTable makes an empty one.
func NewTable(partitions int) *Table {
	return &Table{partitions: partitions, reports: map[string]Report{}, dealt: map[string]map[string]int{}, since: map[string]int{}}
}

// Take notes a report and answers it. there are the coordinators that are alive, by id. turn
// moves on with time: what cannot be divided goes to one after the other.
func (t *Table) Take(r Report, there []string, turn uint64) Answer {
	was, ok := t.reports[r.From]
	if ok && was.Life == r.Life && r.Seq < was.Seq {
		return Answer{} // nobody waits for it
	}
	if ok && (was.Life != r.Life || was.Moves != r.Moves) {
		clear(t.since)
	}
	t.reports[r.From], t.dealt[r.From] = r, map[string]int{}
	t.since[r.From]++
	complete := t.forget(there)
	a := Answer{Lanes: map[string]Lot{}, Teams: map[string]Part{}}
	for name := range r.Teams {
		p := t.part(r.From, name, complete, turn)
		a.Teams[name] = p
		t.dealt[r.From][name] = p.May
	}
	for c := range r.Lanes {
		a.Lanes[c] = t.lot(r.From, c, turn)
	}
	return a
}

// forget drops the reports of coordinators that are gone once others count all that those had,
// and says whether all that is leased is counted by those who are there.
func (t *Table) forget(there []string) (complete bool) {
	for id, r := range t.reports {
		if !slices.Contains(there, id) && !r.gone {
			t.reports[id] = r.buried()
			clear(t.since)
		}
	}
	if complete = t.complete(there); complete {
		for id, r := range t.reports {
			if r.gone {
				delete(t.reports, id)
				delete(t.dealt, id)
			}
		}
	}
	return complete
}

// complete: every partition is in a report of somebody who is there, made after any was left.
func (t *Table) complete(there []string) bool {
	counted := make([]bool, t.partitions)
	for _, id := range there {
		if t.since[id] < 2 {
			return false
		}
		for _, n := range t.reports[id].Partitions {
			if n >= 0 && n < t.partitions {
				counted[n] = true
			}
		}
	}
	return !slices.Contains(counted, false)
}

// buried is what a coordinator that is gone may have left: leases, and nothing that waits.
func (r Report) buried() Report {
	teams := make(map[string]Team, len(r.Teams))
	for name, k := range r.Teams {
		k.Waiting = 0
		teams[name] = k
	}
	return Report{From: r.From, Life: r.Life, Seq: r.Seq, Moves: r.Moves, Teams: teams, gone: true}
}

// ids of those who have reported, sorted.
func (t *Table) ids() []string { return slices.Sorted(maps.Keys(t.reports)) }

// part of a team's limit for a coordinator whose report is in the table. Unless all that is leased
// is known, it is no more than the coordinator has.
func (t *Table) part(from, name string, complete bool, turn uint64) Part {
	own := t.reports[from].Teams[name]
	limit, running, others := 0, 0, 0
	ids := t.ids()
	wants, weights := make([]float64, len(ids)), make([]int64, len(ids))
	sum := 0.0
	for i, id := range ids {
		k := t.reports[id].Teams[name]
		if k.Limit > 0 && (limit == 0 || k.Limit < limit) {
			limit = k.Limit
		}
		running += k.Running
		if id != from {
			others += max(k.Running, k.May, t.dealt[id][name])
		}
		wants[i], weights[i] = float64(k.Running+k.Waiting), 1
		sum += wants[i]
	}
	if limit == 0 {
		return Part{May: own.May, Running: running}
	}
	if over := float64(limit) - sum; over > 0 { // whoever comes first finds some there
		for i := range wants {
			wants[i] += over / float64(len(ids))
		}
	}
	me := slices.Index(ids, from)
	want := whole(fill(float64(limit), wants, weights), turn)[me]
	top := limit - others
	if !complete {
		top = min(top, max(own.Running, own.May))
	}
	return Part{May: max(0, min(want, top)), Running: running}
}

// lot of a coordinator in a lane.
func (t *Table) lot(from, capability string, turn uint64) Lot {
	ids := t.ids()
	var all []entry
	slots, l := 0, Lot{}
	for i, id := range ids {
		lane := t.reports[id].Lanes[capability]
		slots = max(slots, lane.Slots)
		for _, d := range lane.Demand {
			l.Running += d.Running
			l.Waiting += d.Waiting
			all = append(all, entry{d.Who, i, d.Running + d.Waiting})
		}
	}
	shares := make([]float64, len(ids))
	divide(float64(slots), all, shares)
	l.Slots = whole(shares, turn)[slices.Index(ids, from)]
	if over := slots - l.Running - l.Waiting; over >= 0 {
		l.Slots += over
	} else {
		l.Scarce = true
	}
	return l
}

// Few are demands in order, at most so many: those of the projects that want the least are one.
func Few(all map[Who]*Demand, most int) []Demand {
	out := make([]Demand, 0, len(all))
	for _, d := range all {
		out = append(out, *d)
	}
	slices.SortFunc(out, func(a, b Demand) int {
		return cmp.Or(cmp.Compare(b.Running+b.Waiting, a.Running+a.Waiting), cmp.Compare(a.Who.Class, b.Who.Class), cmp.Compare(a.Who.Team, b.Who.Team), cmp.Compare(a.Who.Project, b.Who.Project))
	})
	if len(out) <= most {
		return out
	}
	rest := map[Who]*Demand{}
	for _, d := range out[most:] {
		w := d.Who
		w.Project = ""
		if rest[w] == nil {
			rest[w] = &Demand{Who: w}
		}
		rest[w].Running += d.Running
		rest[w].Waiting += d.Waiting
	}
	return append(out[:most:most], Few(rest, len(rest))...)
}
