package partition

import (
	"cmp"
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
	waiting []*waiting
}

func (o *owner) group(r *run.Run, t *run.Task) *group {
	name := r.Project + "/" + t.Spec.Group
	g, ok := o.groups[name]
	if !ok {
		g = &group{key: name, in: map[string]bool{}}
		o.groups[name] = g
	}
	return g
}

// queues puts a task of a group behind those that are in it; not so: it may go on. While
// leases of the owner before may come to light, nobody new may.
func (o *owner) queues(r *run.Run, t *run.Task) bool {
	if t.Spec.Group == "" {
		return false
	}
	g := o.group(r, t)
	if g.in[o.token(r, t)] {
		return false
	}
	if !slices.ContainsFunc(g.waiting, func(w *waiting) bool { return w.t == t }) {
		g.waiting = append(g.waiting, &waiting{r, t})
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

// admit lets tasks of a group go on: by class, and the older run first.
func (o *owner) admit(g *group) {
	for token := range g.in {
		if _, leased := o.leases[token]; leased {
			continue
		}
		if _, t, err := o.find(token); err != nil || t.State != run.TaskReady || o.delayed[token] != nil {
			delete(g.in, token)
		}
	}
	g.waiting = slices.DeleteFunc(g.waiting, func(w *waiting) bool {
		return w.t.State != run.TaskReady || g.in[o.token(w.r, w.t)]
	})
	slices.SortStableFunc(g.waiting, func(a, b *waiting) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), a.r.AcceptedAt.Compare(b.r.AcceptedAt), cmp.Compare(a.r.Number, b.r.Number), cmp.Compare(a.t.Index, b.t.Index))
	})
	for len(g.waiting) > 0 {
		w := g.waiting[0]
		if len(g.in) >= w.r.Plan.Room(w.t.Spec.Group) {
			return
		}
		g.waiting = g.waiting[1:]
		g.in[o.token(w.r, w.t)] = true
		o.release(w.r, w.t)
	}
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

// outside is the error of a lease of a task that waits for its group.
func (o *owner) outside(r *run.Run, t *run.Task) error {
	if t.Spec.Group == "" || o.group(r, t).in[o.token(r, t)] {
		return nil
	}
	return fmt.Errorf("task %s waits for its group %s: %w", t.Spec.ID, t.Spec.Group, ErrAborted)
}

// before is what a task that waits for its group waits behind.
func (o *owner) before(r *run.Run, t *run.Task) (explain.InGroup, bool) {
	g, ok := o.groups[r.Project+"/"+t.Spec.Group]
	if !ok || t.Spec.Group == "" {
		return explain.InGroup{}, false
	}
	at := slices.IndexFunc(g.waiting, func(w *waiting) bool { return w.r.ID == r.ID && w.t.Index == t.Index })
	if at < 0 {
		return explain.InGroup{}, false
	}
	out := explain.InGroup{Room: r.Plan.Room(t.Spec.Group), Position: at + 1}
	for _, token := range slices.Sorted(maps.Keys(g.in)) {
		if r, t, err := o.find(token); err == nil {
			out.In = append(out.In, t.Spec.ID+" of "+r.ID)
		}
	}
	return out, true
}
