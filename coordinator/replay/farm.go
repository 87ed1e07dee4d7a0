package replay

import (
	"cmp"
	"container/heap"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/slipway-build/slipway/coordinator/schedule"
)

// farm is the state of a replay.
type farm struct {
	slots  Slots
	now    time.Duration
	events events
	lanes  map[string]*lane
	waited []time.Duration
	done   []Placed
}

// lane is what waits for the slots of a capability.
type lane struct {
	waiting schedule.Queue
	tasks   map[string]*task // by token
	free    int
}

// event is something that happens: tasks become ready, or one ends.
type event struct {
	at    time.Duration
	order int // of those at the same time
	ready []*task
	ends  *task
}

// begin has the tasks of a run that need no other become ready when it is accepted.
func (f *farm) begin(r *Run, tasks []*task) {
	var first []*task
	for _, t := range tasks {
		if t.waits == 0 {
			first = append(first, t)
		}
	}
	f.at(event{at: r.At, ready: first})
}

func (f *farm) at(e event) {
	e.order = f.events.next
	f.events.next++
	heap.Push(&f.events, e)
}

// carryOut goes from one moment to the next until nothing happens any more. What is ready
// in a moment is given slots after all that ends in it.
func (f *farm) carryOut() {
	for f.events.Len() > 0 {
		f.now = f.events.list[0].at
		for f.events.Len() > 0 && f.events.list[0].at == f.now {
			f.happen(f.events.pop())
		}
		for _, c := range slices.Sorted(maps.Keys(f.lanes)) {
			f.give(f.lanes[c])
		}
	}
}

func (f *farm) happen(e event) {
	for _, t := range e.ready {
		f.ready(t)
	}
	if t := e.ends; t != nil {
		if t.pooled() {
			f.lane(t.spec.Can).free++
		}
		for _, k := range t.kids {
			if k.waits--; k.waits == 0 {
				f.ready(k)
			}
		}
	}
}

// ready lets a task wait for a slot, or begins it if it needs none.
func (f *farm) ready(t *task) {
	t.ready = f.now
	if !t.pooled() {
		f.start(t)
		return
	}
	l := f.lane(t.spec.Can)
	token := t.run.ID + " " + strconv.Itoa(t.index)
	l.tasks[token] = t
	quota := t.run.Plan.Quota(t.spec.Team)
	l.waiting.Add(schedule.Task{
		Token: token, Team: quota.Name, Share: quota.Share, Project: t.run.Plan.Project, Run: t.run.ID, Class: schedule.ClassOf(t.run.Plan.ClassOf(t.spec)),
		Since: uint64(t.run.At), Bottom: int64(t.bottom), Index: t.index,
	})
}

func (f *farm) lane(capability string) *lane {
	l, ok := f.lanes[capability]
	if !ok {
		l = &lane{tasks: map[string]*task{}, free: f.slots(capability)}
		if l.free <= 0 {
			l.free = 1 << 40
		}
		f.lanes[capability] = l
	}
	return l
}

// give begins what is next while there are slots.
func (f *farm) give(l *lane) {
	for l.free > 0 {
		next, ok := l.waiting.Next()
		if !ok {
			return
		}
		t := l.tasks[next.Token]
		delete(l.tasks, next.Token)
		l.free--
		f.waited = append(f.waited, f.now-t.ready)
		f.start(t)
	}
}

func (f *farm) start(t *task) {
	end := f.now + t.took
	f.done = append(f.done, Placed{Run: t.run.ID, Task: t.spec.ID, Capability: t.spec.Can, Ready: t.ready, Start: f.now, End: end})
	f.at(event{at: end, ends: t})
}

// events is a heap by time, then in the order in which they were said.
type events struct {
	list []event
	next int
}

func (h *events) pop() event { e, _ := heap.Pop(h).(event); return e }

// Len is of heap.Interface.
func (h *events) Len() int { return len(h.list) }

// Less is of heap.Interface.
func (h *events) Less(i, j int) bool {
	a, b := h.list[i], h.list[j]
	return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.order, b.order)) < 0
}

// Swap is of heap.Interface.
func (h *events) Swap(i, j int) { h.list[i], h.list[j] = h.list[j], h.list[i] }

// Push is of heap.Interface.
func (h *events) Push(x any) {
	e, _ := x.(event)
	h.list = append(h.list, e)
}

// Pop is of heap.Interface.
func (h *events) Pop() any {
	last := len(h.list) - 1
	e := h.list[last]
	h.list[last] = event{}
	h.list = h.list[:last]
	return e
}
