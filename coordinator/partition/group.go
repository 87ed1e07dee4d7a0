package partition

import (
	"cmp"
	"container/heap"
	"fmt"
	"maps"
	"slices"

	"github.com/slipway-build/slipway/coordinator/explain"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

// group is tasks of a project of which only some are leased at once. All of them are this
// partition's: a project has one. Who may be leased is said to dispatch; who waits is not.
type group struct {
	key     string
	in      map[string]bool // by token: leased, or said to dispatch
	waiting queue
	queued  map[string]bool // by token: those that wait
}

// queue is a heap of tasks that wait: by class, and the older run first. Some may wait no more.
type queue []*waiting

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return before(q[i], q[j]) < 0 }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push is of heap.Interface.
func (q *queue) Push(x any) { *q = append(*q, x.(*waiting)) } //nolint:forcetypeassert // heap.Push is called with these only

// Pop is of heap.Interface.
func (q *queue) Pop() any {
	last := len(*q) - 1
	w := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return w
}

func before(a, b *waiting) int {
	return cmp.Or(cmp.Compare(rank(a), rank(b)), a.r.AcceptedAt.Compare(b.r.AcceptedAt), cmp.Compare(a.r.Number, b.r.Number), cmp.Compare(a.t.Index, b.t.Index))
}

// rank of a class: urgent first.
func rank(w *waiting) int {
	switch w.r.Plan.ClassOf(w.t.Spec) {
	case plan.ClassUrgent:
		return 0
	case plan.ClassLow:
		return 2
	}
	return 1
}

func (o *owner) group(r *run.Run, t *run.Task) *group {
	key := r.Project + "/" + t.Spec.Group
	g, ok := o.groups[key]
	if !ok {
		g = &group{key: key, in: map[string]bool{}, queued: map[string]bool{}}
		o.groups[key] = g
	}
	return g
}

// queues puts a task of a group behind those that are in it; not so: it may go on. While
// leases of the owner before may come to light, nobody new may.
func (o *owner) queues(r *run.Run, t *run.Task) bool {
	if t.Spec.Group == "" {
		return false
	}
	g, token := o.group(r, t), o.token(r, t)
	if g.in[token] {
		return false
	}
	if !g.queued[token] {
		g.queued[token] = true
		heap.Push(&g.waiting, &waiting{r, t})
		o.regroup[g] = true
	}
	return true
}

// regroups notes that a task may have made room in its group.
func (o *owner) regroups(r *run.Run, t *run.Task) {
	if t.Spec.Group != "" {
		o.regroup[o.group(r, t)] = true
	}
}

// regrouped lets those go on for whom there is room now.
func (o *owner) regrouped() {
	if len(o.regroup) == 0 || !o.counted {
		return
	}
	for g := range o.regroup {
		if o.admit(g); len(g.in)+len(g.waiting) == 0 {
			delete(o.groups, g.key)
		}
	}
	clear(o.regroup)
}

// admit lets tasks of a group go on. It costs what it lets go on, and what is in the group.
func (o *owner) admit(g *group) {
	for token := range g.in {
		if _, leased := o.leases[token]; leased {
			continue
		}
		if _, t, err := o.find(token); err != nil || t.State != run.TaskReady || o.delayed[token] != nil {
			delete(g.in, token)
		}
	}
	for len(g.waiting) > 0 {
		w := g.waiting[0]
		token := o.token(w.r, w.t)
		waits := o.waits(g, w, token)
		if waits && len(g.in) >= w.r.Plan.Room(w.t.Spec.Group) {
			return
		}
		heap.Pop(&g.waiting)
		delete(g.queued, token)
		if waits {
			g.in[token] = true
			o.release(w.r, w.t)
		}
	}
}

// waits: it was not taken since, nor ended.
func (o *owner) waits(g *group, w *waiting, token string) bool {
	return w.t.State == run.TaskReady && !g.in[token]
}

// outside is the error of a lease of a task that waits for its group.
func (o *owner) outside(r *run.Run, t *run.Task) error {
	if t.Spec.Group == "" || o.group(r, t).in[o.token(r, t)] {
		return nil
	}
	return fmt.Errorf("task %s waits for its group %s: %w", t.Spec.ID, t.Spec.Group, ErrAborted)
}

// behind is what tasks of a run that wait for their groups wait behind, by index.
func (o *owner) behind(r *run.Run) map[int]explain.InGroup {
	out := map[int]explain.InGroup{}
	seen := map[string]bool{}
	for _, t := range r.Tasks {
		key := r.Project + "/" + t.Spec.Group
		g, ok := o.groups[key]
		if t.Spec.Group == "" || !ok || seen[key] {
			continue
		}
		seen[key] = true
		in := explain.InGroup{Room: r.Plan.Room(t.Spec.Group)}
		for _, token := range slices.Sorted(maps.Keys(g.in)) {
			if r, t, err := o.find(token); err == nil {
				in.In = append(in.In, t.Spec.ID+" of "+r.ID)
			}
		}
		for _, w := range slices.SortedFunc(slices.Values(g.waiting), before) {
			if !o.waits(g, w, o.token(w.r, w.t)) {
				continue
			}
			if in.Position++; w.r.ID == r.ID {
				out[w.t.Index] = in
			}
		}
	}
	return out
}
