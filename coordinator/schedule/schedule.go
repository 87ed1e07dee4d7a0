// Package schedule decides which of the tasks that wait for the same workers is next. It
// is pure: the same calls give the same order.
//
// Tasks share the workers on four levels, each by weighted fair queueing (start-time
// fair queueing: whoever was given the least for its weight is next): classes, the
// teams of a class, the projects of a team, the runs of a project. So a run with ten
// thousand tasks takes turns with one that has five, a project with a hundred runs with one
// that has a single one, a team with a share of two is given twice what one with a share of
// one is, and a lower class waits long but never for ever. Who comes back after a pause has
// no claim to what it did not use. Within a run the task with the longest path behind it is
// next: it has the least slack.
//
// A decision costs the logarithm of how many teams, projects, runs and tasks wait, whatever
// they wait for. How many tasks may be out at once, and who holds which, is not its
// business: it is told which teams are held.
package schedule

import (
	"cmp"
	"container/heap"
	"iter"
	"maps"
	"slices"
	"strconv"

	"github.com/slipway-build/slipway/coordinator/placement"
)

// Class of tasks.
type Class int

// The classes.
const (
	Normal Class = iota
	Urgent       // what undoes, and what the platform calls so: no team is held in it
	Low
)

// ClassOf is the class of a name; one that it does not know, and none, is Normal.
func ClassOf(name string) Class {
	switch name {
	case "urgent":
		return Urgent
	case "low":
		return Low
	}
	return Normal
}

// String is the name of a class.
func (c Class) String() string {
	switch c {
	case Urgent:
		return "urgent"
	case Low:
		return "low"
	case Normal:
	}
	return "normal"
}

// Weight is how many tasks of a class are taken for one of Low, while all of them wait.
func (c Class) Weight() int64 {
	switch c {
	case Urgent:
		return 64
	case Normal:
		return 8
	case Low:
	}
	return 1
}

// Task is a task that waits.
type Task struct {
	Token   string // unique
	Team    string // whose it is; empty: all those that are nobody's are one team's
	Share   int    // of the team; below 1: 1. Of the tasks of a team the one that came last counts
	Project string
	Run     string // unique over projects
	Class   Class
	Since   uint64 // of its run; the older run goes first when both may
	Bottom  int64  // how long the rest of its run takes at least, with it: the longest path
	Index   int    // in the plan: the order of tasks with equal paths
	Needs   []placement.Need
}

// Queue is the tasks that wait for the same workers. The zero Queue is empty.
type Queue struct {
	root  node
	tasks map[string]*leaf
	held  map[string]bool // teams
}

// Len is how many tasks wait.
func (q *Queue) Len() int { return len(q.tasks) }

// Tokens are those of the tasks that wait, in no order.
func (q *Queue) Tokens() iter.Seq[string] { return maps.Keys(q.tasks) }

// Has says whether a task waits.
func (q *Queue) Has(token string) bool { _, ok := q.tasks[token]; return ok }

// Add puts a task into the queue, unless it is there.
func (q *Queue) Add(t Task) {
	if q.Has(t.Token) {
		return
	}
	if q.tasks == nil {
		q.tasks = map[string]*leaf{}
	}
	class := q.root.child(strconv.Itoa(int(t.Class)), t.Class.Weight(), 0)
	team := class.child(t.Team, 1, 0)
	team.weight = int64(min(max(1, t.Share), MaxShare))
	team.held = t.Class != Urgent && q.held[t.Team]
	run := team.child(t.Project, 1, 0).child(t.Run, 1, t.Since)
	l := &leaf{Task: t, run: run}
	q.tasks[t.Token] = l
	heap.Push(&run.leaves, l)
	run.wake()
}

// Remove takes a task out of the queue without giving it to anybody.
func (q *Queue) Remove(token string) {
	l, ok := q.tasks[token]
	if !ok {
		return
	}
	delete(q.tasks, token)
	heap.Remove(&l.run.leaves, l.at)
	l.run.rest()
}

// Hold lets no task of a team be next but urgent ones, until the team is freed.
func (q *Queue) Hold(team string) {
	if q.held[team] {
		return
	}
	if q.held == nil {
		q.held = map[string]bool{}
	}
	q.held[team] = true
	q.each(team, func(n *node) {
		n.held = true
		if n.at >= 0 {
			n.leave()
		}
	})
}

// Free takes back Hold. The team has no claim to what others were given meanwhile.
func (q *Queue) Free(team string) {
	if !q.held[team] {
		return
	}
	delete(q.held, team)
	q.each(team, func(n *node) {
		n.held = false
		if !n.empty() {
			n.wake()
		}
	})
}

// each calls f with the nodes of a team that can be held.
func (q *Queue) each(team string, f func(*node)) {
	for _, class := range []Class{Normal, Low} {
		if c, ok := q.root.kids[strconv.Itoa(int(class))]; ok {
			if n, ok := c.kids[team]; ok {
				f(n)
			}
		}
	}
}

// Next takes the task out that is to be given to a worker now; false: there is none whose
// team is not held.
func (q *Queue) Next() (Task, bool) {
	return q.take(func(leaves) int { return 0 })
}

// take takes out one of the tasks of the run that is next.
func (q *Queue) take(pick func(leaves) int) (Task, bool) {
	if len(q.root.active) == 0 {
		return Task{}, false
	}
	n := &q.root
	for len(n.active) > 0 {
		n.now = n.active[0].tag
		n = n.active[0]
	}
	l, _ := heap.Remove(&n.leaves, pick(n.leaves)).(*leaf)
	delete(q.tasks, l.Token)
	for c := n; c.parent != nil; c = c.parent {
		c.tag += unit / c.weight
		heap.Fix(&c.parent.active, c.at)
	}
	n.rest()
	return l.Task, true
}

// Waiting is how many tasks of a project wait in a class.
type Waiting struct {
	Class   Class
	Team    string
	Share   int // of the team
	Project string
	Tasks   int
}

// Sums are how many tasks wait, held or not, by class, team and project, in no order. They cost
// a walk over the runs that wait.
func (q *Queue) Sums() []Waiting {
	var out []Waiting
	for _, class := range []Class{Normal, Urgent, Low} {
		c, ok := q.root.kids[strconv.Itoa(int(class))]
		if !ok {
			continue
		}
		for team, t := range c.kids {
			for project, p := range t.kids {
				w := Waiting{Class: class, Team: team, Share: int(t.weight), Project: project}
				for _, run := range p.kids {
					w.Tasks += run.leaves.Len()
				}
				if w.Tasks > 0 {
					out = append(out, w)
				}
			}
		}
	}
	return out
}

// Order is the tokens in the order in which Next would give them out now, and behind them
// those of the teams that are held. It costs a copy of the queue.
func (q *Queue) Order() []string {
	c := Queue{tasks: make(map[string]*leaf, len(q.tasks)), held: maps.Clone(q.held)}
	q.root.copy(&c.root, nil, c.tasks)
	out := make([]string, 0, len(q.tasks))
	give := func() {
		for t, ok := c.Next(); ok; t, ok = c.Next() {
			out = append(out, t.Token)
		}
	}
	give()
	for _, team := range slices.Sorted(maps.Keys(q.held)) {
		c.Free(team)
	}
	give()
	return out
}

// MaxShare is the largest share of a team.
const MaxShare = 1000

// unit is what a task costs a node of weight 1: large enough that what a division by a
// weight cuts off does not count.
const unit = 1 << 20

// node is a class, a team, a project or a run; the root has the classes.
type node struct {
	key    string
	parent *node
	weight int64
	since  uint64
	tag    int64 // what it was given so far by its weight, on its parent's clock
	at     int   // in its parent's active
	held   bool  // of a team: it is not among them, whatever waits below it

	now    int64            // of the children: the tag of who was given something last
	kids   map[string]*node // those that wait, and those whose tag is not forgotten yet
	active nodes            // those that wait
	leaves leaves           // of a run
}

// child finds or begins the child of that name.
func (n *node) child(key string, weight int64, since uint64) *node {
	c, ok := n.kids[key]
	if !ok {
		if n.kids == nil {
			n.kids = map[string]*node{}
		}
		n.forget()
		c = &node{key: key, parent: n, weight: weight, since: since, tag: n.now, at: -1}
		n.kids[key] = c
	}
	return c
}

// wake notes that something waits below n, up to the root.
func (n *node) wake() {
	for ; n.parent != nil && n.at < 0 && !n.held; n = n.parent {
		n.tag = max(n.tag, n.parent.now)
		heap.Push(&n.parent.active, n)
	}
}

// rest notes that nothing waits below n any more, if so, up to the root.
func (n *node) rest() {
	if n.parent != nil && n.empty() && n.at >= 0 {
		n.leave()
	}
}

// leave takes n out of those that wait, and what nothing waits below any more then.
func (n *node) leave() {
	heap.Remove(&n.parent.active, n.at)
	n.at = -1
	if len(n.parent.active) == 0 { // nobody was passed over: all begin anew
		n.parent.now = max(n.parent.now, n.tag)
	}
	n.parent.rest()
}

func (n *node) empty() bool { return n.leaves.Len() == 0 && len(n.active) == 0 }

// forget drops children that do not wait and that would begin where new ones do: now and
// then, so that a child costs its share of it.
func (n *node) forget() {
	if len(n.kids) < 2*len(n.active)+64 {
		return
	}
	for key, c := range n.kids {
		if c.at < 0 && c.tag <= n.now && c.empty() {
			delete(n.kids, key)
		}
	}
}

// copy makes c, below parent, what n is, and notes its tasks.
func (n *node) copy(c, parent *node, tasks map[string]*leaf) {
	*c = *n
	c.parent = parent
	c.kids = make(map[string]*node, len(n.kids))
	c.active = make(nodes, len(n.active))
	for key, k := range n.kids {
		kid := &node{}
		k.copy(kid, c, tasks)
		c.kids[key] = kid
		if kid.at >= 0 {
			c.active[kid.at] = kid
		}
	}
	c.leaves = make(leaves, len(n.leaves))
	for i, l := range n.leaves {
		copied := *l
		copied.run = c
		c.leaves[i], tasks[l.Token] = &copied, &copied
	}
}

// nodes is a heap: who was given the least first, then the older run, then by name.
type nodes []*node

func (h nodes) Len() int { return len(h) }
func (h nodes) Less(i, j int) bool {
	a, b := h[i], h[j]
	return cmp.Or(cmp.Compare(a.tag, b.tag), cmp.Compare(a.since, b.since), cmp.Compare(a.key, b.key)) < 0
}
func (h nodes) Swap(i, j int) { h[i], h[j] = h[j], h[i]; h[i].at, h[j].at = i, j }

// Push is of heap.Interface.
func (h *nodes) Push(x any) {
	n := x.(*node) //nolint:forcetypeassert // heap.Push is called with nodes only
	n.at = len(*h)
	*h = append(*h, n)
}

// Pop is of heap.Interface.
func (h *nodes) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return x
}

// leaf is a task that waits.
type leaf struct {
	Task
	run       *node
	at        int
	overtaken int // how often another task of its run was taken in its place
}

// leaves is a heap: the longest path behind it first, then the order of the plan.
type leaves []*leaf

func (h leaves) Len() int { return len(h) }
func (h leaves) Less(i, j int) bool {
	a, b := h[i], h[j]
	return cmp.Or(cmp.Compare(b.Bottom, a.Bottom), cmp.Compare(a.Index, b.Index), cmp.Compare(a.Token, b.Token)) < 0
}
func (h leaves) Swap(i, j int) { h[i], h[j] = h[j], h[i]; h[i].at, h[j].at = i, j }

// Push is of heap.Interface.
func (h *leaves) Push(x any) {
	l := x.(*leaf) //nolint:forcetypeassert // heap.Push is called with leaves only
	l.at = len(*h)
	*h = append(*h, l)
}

// Pop is of heap.Interface.
func (h *leaves) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return x
}
