package dispatch_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/dispatch"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/share"
)

// TestHintsFollowTheLot: where more waits than there are slots, hints are out for what this
// coordinator may have and little more, and a slot that has more than that is passed to the
// others; an answer that is old does not count.
func TestHintsFollowTheLot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, q := runningWith(t, dispatch.Config{Shared: true})
		d.Serves(0)
		d.Allot(share.Answer{Lanes: map[string]share.Lot{}})
		d.Worker("build", "w0", 16)
		r := d.Report("me")
		if len(r.Partitions) != 1 || r.Lanes["build"].Slots != 16 {
			t.Errorf("reported: %+v", r)
		}
		d.Allot(share.Answer{Lanes: map[string]share.Lot{"build": {Slots: 4, Scarce: true, Running: 12, Waiting: 80}}})
		for i := range 50 {
			d.Ready("build", fmt.Sprint("0_a_", i), partition.Priority{Project: "shop", Run: "shop-1", Index: i})
		}
		synctest.Wait()
		if got := q.take(); len(got) != 5 {
			t.Fatalf("%d hints are out for a lot of 4, want 5", len(got))
		}
		if p := d.Place("build"); p.OthersRun != 12 || p.OthersWait != 30 {
			t.Errorf("of others: %d run, %d wait; want 12, 30", p.OthersRun, p.OthersWait)
		}
		load := partition.Load{Capability: "build", Project: "shop"}
		d.Leased(0, load, 5)
		for i := range 5 {
			d.Gone("build", fmt.Sprint("0_a_", i))
		}
		synctest.Wait()
		if got := q.take(); len(got) != 1 || got[0] != "0_a_5" {
			t.Errorf("with 5 of 4 leased, %v are published", got)
		}
		if token, ok := d.Take("build", "w0"); ok {
			t.Errorf("with 5 of 4 a slot is given %s", token)
		}
		d.Leased(0, load, 4)
		if token, ok := d.Take("build", "w0"); !ok || token != "0_a_6" {
			t.Errorf("with 4 of 4 a slot is given %q", token)
		}
		r = d.Report("me")
		want := []share.Demand{{Who: share.Who{Project: "shop", Share: 1}, Running: 4, Waiting: 45}}
		if d := cmp.Diff(want, r.Lanes["build"].Demand); d != "" {
			t.Errorf("demand (-want +got):\n%s", d)
		}
		q.take()
		time.Sleep(time.Minute) //nolint:forbidigo // the bubble's clock: nobody answers any more
		d.Leased(0, load, 0)
		synctest.Wait()
		if n := len(q.take()); n < 16 {
			t.Errorf("after a minute without an answer %d hints were out, want all 16 slots' and more", n)
		}
	})
}

const (
	parts = 4
	limit = 3
	crew  = "core"
)

// farm is coordinators that share the limit of a team, whose partitions move, and who die.
type farm struct {
	t       *testing.T
	rng     *rand.Rand
	story   []string
	members []*member
	owner   [parts]*member // nil: nobody
	leases  [parts]int
	counted [parts]bool // by the owner
	table   *share.Table
	turn    uint64
}

// member is one of them. It has one call under way at most.
type member struct {
	id      string
	d       *dispatch.Dispatcher
	alive   bool
	asked   *share.Report
	answer  *share.Answer
	late    *share.Report
	waiting int
}

func (f *farm) begin(id string) *member {
	return &member{id: id, alive: true, d: dispatch.New(dispatch.Config{Shared: true, Now: time.Now})}
}

func (f *farm) there() (out []string) {
	for _, m := range f.members {
		if m.alive {
			out = append(out, m.id)
		}
	}
	return out
}

func (f *farm) alive() *member {
	var list []*member
	for _, m := range f.members {
		if m.alive {
			list = append(list, m)
		}
	}
	if len(list) == 0 {
		return nil
	}
	m := list[f.rng.IntN(len(list))]
	f.story = append(f.story, m.id)
	return m
}

func (f *farm) leased() (n int) {
	for _, k := range f.leases {
		n += k
	}
	return n
}

// lease asks for one more in a partition.
func (f *farm) lease(p int) bool {
	m := f.owner[p]
	if m == nil {
		return false
	}
	_, ok := m.d.Room(p, crew, limit)
	if ok {
		f.leases[p]++
		m.d.Running(p, crew, f.leases[p])
		if n := f.leased(); n > limit {
			f.t.Fatalf("%d tasks of %d run, after%s", n, limit, strings.Join(f.story, " "))
		}
	}
	return ok
}

func (f *farm) end(p int) {
	if f.leases[p] > 0 && f.owner[p] != nil {
		f.leases[p]--
		f.owner[p].d.Running(p, crew, f.leases[p])
	}
}

// leave: the owner of a partition is not it any more.
func (f *farm) leave(p int) {
	if m := f.owner[p]; m != nil {
		m.d.Left(p)
		f.owner[p], f.counted[p] = nil, false
	}
}

// take makes a coordinator the owner, which inherits what is leased; all of it is counted at
// once, or later.
func (f *farm) take(p int, m *member) {
	if f.owner[p] != nil {
		return
	}
	f.owner[p] = m
	m.d.Running(p, crew, f.leases[p])
}

func (f *farm) count(p int) {
	if m := f.owner[p]; m != nil && !f.counted[p] {
		m.d.Serves(p)
		f.counted[p] = true
	}
}

func (f *farm) die(m *member) {
	m.alive, m.asked, m.answer = false, nil, nil
	for p, o := range f.owner {
		if o == m {
			f.owner[p], f.counted[p] = nil, false
		}
	}
}

func (m *member) ask() {
	if m.asked == nil && m.answer == nil {
		r := m.d.Report(m.id)
		m.asked = &r
	}
}

func (f *farm) decide(m *member) {
	if m.asked != nil {
		a := f.table.Take(*m.asked, f.there(), f.turn)
		m.asked, m.answer = nil, &a
	}
}

func (m *member) obey() {
	if m.answer != nil {
		m.d.Allot(*m.answer)
		m.answer = nil
	}
}

func (f *farm) step() {
	p := f.rng.IntN(parts)
	does := [...]string{
		"lease", "fill", "fill", "fill", "end", "idle", "leave", "count", "decider", "turn", "turn", "back", "back",
		"talk", "all", "ask", "decide", "obey", "ask", "decide", "obey", "lose", "late", "late", "take", "adopt", "adopt", "adopt", "die", "die", "wait", "wait", "nothing waits",
	}
	what := does[f.rng.IntN(len(does))]
	f.story = append(f.story, fmt.Sprintf("\n%s %d", what, p))
	switch what {
	case "lease":
		f.lease(p)
	case "fill":
		for f.lease(p) {
		}
	case "end":
		f.end(p)
	case "idle":
		for f.leases[p] > 0 && f.owner[p] != nil {
			f.end(p)
		}
	case "leave":
		f.leave(p)
	case "count":
		f.count(p)
	case "decider":
		f.table = share.NewTable(parts)
	case "turn":
		f.turn++
	case "back":
		i := f.rng.IntN(len(f.members))
		if !f.members[i].alive {
			f.members[i] = f.begin(f.members[i].id)
		}
	case "talk":
		if m := f.alive(); m != nil {
			f.talk(m)
		}
	case "all":
		for _, m := range f.members {
			if m.alive {
				f.talk(m)
			}
		}
	case "ask":
		if m := f.alive(); m != nil {
			m.ask()
		}
	case "decide":
		if m := f.alive(); m != nil {
			f.decide(m)
		}
	case "obey":
		if m := f.alive(); m != nil {
			m.obey()
		}
	case "lose":
		if m := f.alive(); m != nil {
			if m.asked == nil {
				m.answer = nil
				m.ask()
			}
			late := *m.asked // given up, and still on its way
			m.late = &late
			m.asked, m.answer = nil, nil
		}
	case "late":
		if m := f.alive(); m != nil && m.late != nil {
			f.table.Take(*m.late, f.there(), f.turn)
			m.late = nil
		}
	case "take":
		if m := f.alive(); m != nil {
			f.take(p, m)
		}
	case "adopt":
		if m := f.alive(); m != nil {
			f.take(p, m)
			f.count(p)
		}
	case "die":
		if m := f.alive(); m != nil {
			f.die(m)
		}
	case "wait":
		if m := f.owner[p]; m != nil {
			for range limit {
				m.ready(p)
			}
		}
	case "nothing waits":
		if m := f.alive(); m != nil {
			for ; m.waiting > 0; m.waiting-- {
				for p := range parts {
					m.d.Gone("build", fmt.Sprintf("%d_%d", p, m.waiting))
				}
			}
		}
	}
}

// ready puts one more task of a partition into the queue.
func (m *member) ready(p int) {
	m.waiting++
	m.d.Ready("build", fmt.Sprintf("%d_%d", p, m.waiting), partition.Priority{Team: crew, Share: 1, Running: limit, Project: fmt.Sprint(p), Run: fmt.Sprint(p)})
}

func (f *farm) talk(m *member) {
	m.ask()
	f.decide(m)
	m.obey()
}

// TestALimitHoldsInTheWholeFarm: whatever is lost and whoever dies or comes back, no more tasks of a
// team are leased than may; and once nothing fails, who has tasks gets all that may run.
func TestALimitHoldsInTheWholeFarm(t *testing.T) {
	for seed := range uint64(*seeds) {
		f := &farm{t: t, rng: rand.New(rand.NewPCG(seed, 0)), table: share.NewTable(parts), story: []string{fmt.Sprint("seed ", seed)}}
		for i := range 2 + f.rng.IntN(2) {
			f.members = append(f.members, f.begin(fmt.Sprint("c", i)))
		}
		f.share()
		for range 20 + f.rng.IntN(200) {
			f.step()
		}
		f.mend()
		for f.leased() < limit {
			if !slices.ContainsFunc([]int{0, 1, 2, 3}, f.lease) {
				t.Fatalf("%d of %d run, and no more may, after%s", f.leased(), limit, strings.Join(f.story, " "))
			}
		}
	}
}

var seeds = flag.Int("seeds", 3000, "how many histories TestALimitHoldsInTheWholeFarm tries")

// share gives each partition that is nobody's to somebody, with a task that waits, and lets all talk.
func (f *farm) share() {
	for p := range parts {
		f.take(p, f.members[p%len(f.members)])
		f.count(p)
		f.owner[p].ready(p)
	}
	for range 6 {
		for _, m := range f.members {
			f.talk(m)
		}
	}
}

// mend brings everybody back, and ends all that runs.
func (f *farm) mend() {
	for i, m := range f.members {
		m.asked, m.answer = nil, nil
		if !m.alive {
			f.members[i] = f.begin(m.id)
		}
	}
	f.share()
	for p := range parts {
		for f.leases[p] > 0 {
			f.end(p)
		}
	}
	f.share()
}
