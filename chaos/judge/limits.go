package judge

import (
	"cmp"
	"maps"
	"slices"

	"github.com/slipway-build/slipway/chaos/witness"
	"github.com/slipway-build/slipway/coordinator/plan"
)

// edge is a moment at which one more task of a limit is worked at, or one less.
type edge struct {
	at   int64
	by   int
	task string
}

// limits: no more tasks of a team, or of a group of a project, are worked at in one moment than
// may. The work of an attempt is between its begin and its effect, as the witness saw both; of
// one that made none nobody knows how long it went on.
func (v *Verdict) limits(f *facts, entries []witness.Entry) {
	begun := map[witness.Attempt]int64{}
	edges, most := map[string][]edge{}, map[string]int{}
	for _, e := range entries {
		switch {
		case !e.Done:
		case e.Kind == witness.Begin:
			begun[e.Attempt] = e.Return
		case e.Kind == witness.Effect:
			from, ok := begun[e.Attempt]
			r, known := f.state[e.Attempt.Run]
			if !ok || !known {
				continue
			}
			i := slices.IndexFunc(r.Plan.Tasks, func(t plan.Task) bool { return t.ID == e.Attempt.Task })
			if i < 0 {
				continue // of a rollback
			}
			for name, room := range bounds(r.Plan, r.Project, &r.Plan.Tasks[i]) {
				most[name] = room
				edges[name] = append(edges[name], edge{from, 1, e.Attempt.Object()}, edge{e.Call, -1, e.Attempt.Object()})
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(edges)) {
		list := edges[name]
		slices.SortFunc(list, func(a, b edge) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.by, b.by)) })
		n := 0
		for _, e := range list {
			if n += e.by; n > most[name] {
				v.bad("limit: %d tasks of %s were worked at in one moment, with room for %d; the last to begin was %s", n, name, most[name], e.task)
				break
			}
		}
		v.Limited += len(list) / 2
	}
}

// bounds are the limits that a task counts for.
func bounds(p *plan.Plan, project string, t *plan.Task) map[string]int {
	out := map[string]int{}
	if q := p.Quota(t.Team); q.Running > 0 {
		out["team "+t.Team] = q.Running
	}
	if t.Group != "" {
		out["group "+t.Group+" of "+project] = p.Room(t.Group)
	}
	return out
}
