// Package placement says which worker a task is placed best on: where earlier work has left
// what it needs, and where the least was done lately. It is pure.
//
// A task never waits for a worker: only those with a free slot are compared, and when there
// is none anybody may have it. So what is decided here costs time at most, and what a worker
// says of itself need not be true.
package placement

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
)

// What a task takes longer where something is missing, in thousandths of the task. Steps that are
// carried out again are most of a build; an image that is pulled again is little of it.
const (
	whole = 1000
	most  = 700
	rest  = whole - most
	image = 100
)

// uneven is how much more than the mean a worker has to have worked lately for that to weigh as much as a task whose
// steps are all carried out again, in thousandths of what it is compared with: the mean, or that many tasks where they
// have been few. Of little work, a difference says little.
const (
	uneven = 150
	few    = 20
)

// crowded is what it weighs that all other slots of a worker are taken.
const crowded = 50

// Need is something that makes a task cheaper where earlier work has left it.
type Need struct {
	Key    uint64
	Weight int // what the task takes longer where it is not, in thousandths of the task
}

// Needs of a task, the weightiest first; none: it is placed as well anywhere.
func Needs(project string, t *plan.Task) []Need {
	b, test := work(t)
	if b == nil {
		return nil
	}
	out := make([]Need, 0, 2+len(b.Contexts)+len(b.Bases))
	if test == "" {
		out = append(out, Need{built(project, b, t.Service), whole})
	} else {
		out = append(out, Need{key("test", project, b.Platform, t.Service, test), most}, Need{built(project, b, t.Service), rest})
	}
	for _, k := range images(project, b) {
		out = append(out, Need{k, image})
	}
	return out
}

// Left are the keys of what a task leaves on the worker that has carried it out.
func Left(project string, t *plan.Task) []uint64 {
	b, test := work(t)
	if b == nil {
		return nil
	}
	out := images(project, b)
	if test == "" {
		return append(out, key("image", project, b.Platform, t.Service), built(project, b, t.Service))
	}
	return append(out, key("test", project, b.Platform, t.Service, test))
}

// work is what is built for a task, and for which test; nil: nothing.
func work(t *plan.Task) (b *plan.Build, test string) {
	switch {
	case t.Build != nil:
		return t.Build, ""
	case t.Test != nil:
		return &t.Test.Build, t.Test.Name
	case t.Scan != nil && t.Scan.Test != nil:
		return &t.Scan.Test.Build, "scan " + t.Scan.Name
	}
	return nil, ""
}

func built(project string, b *plan.Build, service string) uint64 {
	return key("build", project, b.Platform, service)
}

// images that a build stands on.
func images(project string, b *plan.Build) []uint64 {
	out := make([]uint64, 0, len(b.Contexts)+len(b.Bases)+2)
	for _, name := range slices.Sorted(maps.Keys(b.Contexts)) {
		out = append(out, key("image", project, b.Platform, b.Contexts[name]))
	}
	for _, digest := range slices.Sorted(maps.Values(b.Bases)) {
		out = append(out, key("base", digest))
	}
	return out
}

func key(words ...string) uint64 {
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	return binary.BigEndian.Uint64(sum[:])
}

// Holdings are keys of what a worker holds.
type Holdings struct{ keys []uint64 } // sorted

// Add keys.
func (h *Holdings) Add(keys ...uint64) {
	for _, k := range keys {
		if at, have := slices.BinarySearch(h.keys, k); !have {
			h.keys = slices.Insert(h.keys, at, k)
		}
	}
}

// Set the keys to these alone.
func (h *Holdings) Set(keys []uint64) {
	h.keys = slices.Clone(keys)
	slices.Sort(h.keys)
	h.keys = slices.Clip(slices.Compact(h.keys))
}

// Drop keys.
func (h *Holdings) Drop(keys ...uint64) {
	for _, k := range keys {
		if at, have := slices.BinarySearch(h.keys, k); have {
			h.keys = slices.Delete(h.keys, at, at+1)
		}
	}
}

// Len is how many there are.
func (h *Holdings) Len() int { return len(h.keys) }

// Missing is the weight of what is not there.
func (h *Holdings) Missing(needs []Need) (weight int) {
	for _, n := range needs {
		if _, have := slices.BinarySearch(h.keys, n.Key); !have {
			weight += n.Weight
		}
	}
	return weight
}

// Warm: the weightiest of the needs is there.
func (h *Holdings) Warm(needs []Need) bool {
	if len(needs) == 0 {
		return false
	}
	_, have := slices.BinarySearch(h.keys, needs[0].Key)
	return have
}

// lately is the time constant with which done work is forgotten.
const lately = 5 * time.Minute

// Load is what the slots of a worker have to do, and had lately.
type Load struct {
	Slots, Busy int

	at   time.Time
	work Work // until then
}

// Work is what was done lately: what is long ago counts less.
type Work struct {
	Seconds float64 // of all slots
	Tasks   float64 // that were begun
}

// Add up work.
func (w Work) Add(o Work) Work { return Work{w.Seconds + o.Seconds, w.Tasks + o.Tasks} }

// Set says how many slots are busy from now on.
func (l *Load) Set(slots, busy int, now time.Time) {
	l.work, l.at = l.Work(now), now
	l.work.Tasks += float64(max(0, busy-l.Busy))
	l.Slots, l.Busy = slots, busy
}

// Work that was done lately.
func (l *Load) Work(now time.Time) Work {
	past := now.Sub(l.at).Seconds()
	if l.at.IsZero() || past <= 0 {
		return l.work
	}
	kept := math.Exp(-past / lately.Seconds())
	return Work{l.work.Seconds*kept + float64(l.Busy)*lately.Seconds()*(1-kept), l.work.Tasks * kept}
}

// Start has a load begin as if its slots had worked as those of others have: a worker that has just come would be given
// everything else.
func (l *Load) Start(others Work, of, slots int, now time.Time) {
	share := float64(slots) / float64(max(1, of))
	l.work, l.at, l.Slots = Work{others.Seconds * share, others.Tasks * share}, now, slots
}

// Candidate is a worker with a free slot.
type Candidate struct {
	Name        string
	Holdings    *Holdings
	Work        Work // that it did lately
	Slots, Busy int
}

// Best answers which of the candidates a task is placed best on; done is the work of all workers of their kind, those with
// no free slot too, and slots are how many they have. There is one candidate at least.
func Best(needs []Need, all []Candidate, done Work, slots int) (best int) {
	task := done.Seconds / max(1, done.Tasks)
	least := 0.0
	for i, c := range all {
		n := float64(max(1, c.Slots))
		cost := float64(c.Holdings.Missing(needs))
		mean := done.Seconds * n / float64(max(1, slots)) // of a worker of that size
		cost += whole * (c.Work.Seconds - mean) / max(mean, few*task, 0.001) * whole / uneven
		cost += crowded * float64(c.Busy) / n
		if i == 0 || cost < least || cost == least && c.Name < all[best].Name {
			best, least = i, cost
		}
	}
	return best
}

// All keys.
func (h *Holdings) All() []uint64 { return slices.Clone(h.keys) }
