package project

import (
	"cmp"
	"slices"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

// maxItems of a test are remembered, as many as one may list.
const maxItems = 20_000

// learnItems notes how long the items of a test took whose shards have all succeeded. They are
// learned together, and not of a test that failed: when it is tried again, it is split as it
// was, and its shards that succeeded stand. What the list does not name any more is forgotten, unless
// a shard was reused, which does not say what it was given.
func (p *Project) learnItems(r *run.Run, gather *run.Task, at time.Time) {
	took, all := map[string]int64{}, true
	for _, id := range gather.Spec.Needs {
		shard, ok := r.Find(id)
		if !ok || shard.State != run.TaskSucceeded || shard.Result.Tests == nil {
			all = false
			continue
		}
		for _, i := range shard.Result.Tests.Items {
			took[i.Name] = i.Millis
		}
		shard.Result = withoutItems(shard.Result) // they are the test's from now on
	}
	if len(took) == 0 {
		return
	}
	for _, was := range p.times[gather.Spec.ID].Items {
		now, ok := took[was.Name]
		switch {
		case ok:
			took[was.Name] = (was.Millis + now + 1) / 2
		case !all:
			took[was.Name] = was.Millis
		}
	}
	items := make([]plan.Item, 0, len(took))
	for name, millis := range took {
		items = append(items, plan.Item{Name: name, Millis: millis})
	}
	slices.SortFunc(items, func(a, b plan.Item) int { return cmp.Compare(a.Name, b.Name) })
	items = items[:min(len(items), maxItems)]
	u := p.times[gather.Spec.ID]
	u.Items, u.At = items, at
	p.times[gather.Spec.ID] = u
}
