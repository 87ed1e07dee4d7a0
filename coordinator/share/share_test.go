package share_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/schedule"
	"github.com/slipway-build/slipway/coordinator/share"
)

// lots are what each of some coordinators is allotted in one lane, on the mean of many turns.
func lots(t *testing.T, slots int, demand map[string][]share.Demand) map[string]float64 {
	t.Helper()
	table := share.NewTable(0)
	var there []string
	for id := range demand {
		there = append(there, id)
	}
	slices.Sort(there)
	const turns = 600
	out := map[string]float64{}
	for turn := range uint64(turns) {
		sum := 0
		for _, id := range there {
			a := table.Take(share.Report{From: id, Lanes: map[string]share.Lane{"build": {Slots: slots, Demand: demand[id]}}}, there, turn)
			out[id] += float64(a.Lanes["build"].Slots) / turns
			sum += a.Lanes["build"].Slots
		}
		if turn > 0 && sum != slots && len(there) > 1 {
			t.Fatalf("turn %d: %d of %d slots are allotted", turn, sum, slots)
		}
	}
	return out
}

func wants(project string, n int) share.Demand {
	return share.Demand{Who: share.Who{Project: project, Share: 1}, Waiting: n}
}

// TestCoordinatorsShareAsOneWould: what a coordinator may have follows from its projects, not from
// how many coordinators there are.
func TestCoordinatorsShareAsOneWould(t *testing.T) {
	team := func(d share.Demand, name string, weight int) share.Demand {
		d.Who.Team, d.Who.Share = name, weight
		return d
	}
	class := func(d share.Demand, c schedule.Class) share.Demand {
		d.Who.Class = c
		return d
	}
	for name, c := range map[string]struct {
		slots  int
		demand map[string][]share.Demand
		want   map[string]float64
	}{
		"one project here, three there": {
			8, map[string][]share.Demand{"a": {wants("p", 1000)}, "b": {wants("q", 50), wants("r", 50), wants("s", 50)}}, map[string]float64{"a": 2, "b": 6},
		},
		"who needs little leaves the rest": {
			10, map[string][]share.Demand{"a": {wants("p", 2)}, "b": {wants("q", 50)}}, map[string]float64{"a": 2, "b": 8},
		},
		"a team with a share of three": {
			8, map[string][]share.Demand{"a": {team(wants("p", 50), "core", 3)}, "b": {team(wants("q", 50), "web", 1)}}, map[string]float64{"a": 6, "b": 2},
		},
		"a team's projects share what it has": {
			9, map[string][]share.Demand{"a": {team(wants("p", 50), "core", 2), team(wants("q", 50), "web", 1)}, "b": {team(wants("r", 50), "core", 2)}},
			map[string]float64{"a": 6, "b": 3},
		},
		"urgent before the rest": {
			65, map[string][]share.Demand{"a": {class(wants("p", 500), schedule.Urgent)}, "b": {class(wants("q", 500), schedule.Low)}}, map[string]float64{"a": 64, "b": 1},
		},
		"one slot, in turn": {
			1, map[string][]share.Demand{"a": {wants("p", 9)}, "b": {wants("q", 9)}, "c": {wants("r", 9), wants("s", 9)}}, map[string]float64{"a": 0.25, "b": 0.25, "c": 0.5},
		},
		"one project on its way from one to the other": {
			8, map[string][]share.Demand{"a": {wants("p", 100)}, "b": {wants("p", 100), wants("q", 100)}}, map[string]float64{"a": 2, "b": 6},
		},
	} {
		got := lots(t, c.slots, c.demand)
		for id, want := range c.want {
			if d := got[id] - want; d < -0.02 || d > 0.02 {
				t.Errorf("%s: %s has %.3f slots in the mean, want %v", name, id, got[id], want)
			}
		}
	}
}

// TestWhatIsOverIsEverybodys: while nothing waits in vain, no coordinator is held back.
func TestWhatIsOverIsEverybodys(t *testing.T) {
	table := share.NewTable(0)
	there := []string{"a", "b"}
	report := func(id string, n int) share.Report {
		return share.Report{From: id, Lanes: map[string]share.Lane{"build": {Slots: 10, Demand: []share.Demand{wants("p"+id, n)}}}}
	}
	table.Take(report("a", 3), there, 0)
	lot := table.Take(report("b", 0), there, 0).Lanes["build"]
	if lot.Slots != 7 || lot.Scarce || lot.Waiting != 3 {
		t.Errorf("who wants nothing of ten slots, of which three are wanted: %+v", lot)
	}
	if lot := table.Take(report("a", 4), there, 0).Lanes["build"]; lot.Slots != 10 || lot.Scarce {
		t.Errorf("who wants four: %+v", lot)
	}
}

// TestSlotsAreDividedWhole: nobody has more than it wants while others wait, and nothing is left.
func TestSlotsAreDividedWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slots := rapid.IntRange(0, 40).Draw(t, "slots")
		n := rapid.IntRange(1, 5).Draw(t, "coordinators")
		table := share.NewTable(0)
		var there []string
		reports := map[string]share.Report{}
		all := 0
		for i := range n {
			id := fmt.Sprint("c", i)
			there = append(there, id)
			lane := share.Lane{Slots: slots}
			for k := range rapid.IntRange(0, 6).Draw(t, "projects") {
				d := share.Demand{
					Who: share.Who{
						Class:   rapid.SampledFrom([]schedule.Class{schedule.Normal, schedule.Urgent, schedule.Low}).Draw(t, "class"),
						Team:    rapid.SampledFrom([]string{"", "core", "web"}).Draw(t, "team"),
						Share:   rapid.IntRange(0, 5).Draw(t, "share"),
						Project: fmt.Sprint("p", i, k),
					},
					Running: rapid.IntRange(0, 10).Draw(t, "running"), Waiting: rapid.IntRange(0, 30).Draw(t, "waiting"),
				}
				all += d.Running + d.Waiting
				lane.Demand = append(lane.Demand, d)
			}
			reports[id] = share.Report{From: id, Lanes: map[string]share.Lane{"build": lane}}
			table.Take(reports[id], there, 0)
		}
		turn := rapid.Uint64().Draw(t, "turn")
		sum := 0
		for _, id := range there {
			lot := table.Take(reports[id], there, turn).Lanes["build"]
			sum += lot.Slots
			if lot.Slots < 0 || lot.Slots > slots {
				t.Fatalf("%s is allotted %d of %d", id, lot.Slots, slots)
			}
			if lot.Scarce != (all > slots) {
				t.Fatalf("%d want %d slots; scarce: %t", all, slots, lot.Scarce)
			}
		}
		if all >= slots && sum != slots {
			t.Fatalf("%d want %d slots, %d are allotted", all, slots, sum)
		}
	})
}

// TestALongListIsShortened: nothing that waits is forgotten.
func TestALongListIsShortened(t *testing.T) {
	all := map[share.Who]*share.Demand{}
	for i := range 30 {
		w := share.Who{Class: schedule.Class(i % 2), Project: fmt.Sprint(i)}
		all[w] = &share.Demand{Who: w, Waiting: i}
	}
	few := share.Few(all, 10)
	sum := 0
	for _, d := range few {
		sum += d.Waiting
	}
	if len(few) != 12 || sum != 29*30/2 || few[0].Waiting != 29 {
		t.Errorf("%d demands for %d tasks, %v", len(few), sum, few)
	}
}

// team is a report of a coordinator with its partitions and what it has of one team with a limit of 4.
func team(id string, moves, may, running, waiting int, partitions ...int) share.Report {
	return share.Report{
		From: id, Life: id, Moves: moves, Partitions: partitions,
		Teams: map[string]share.Team{"core": {Limit: 4, May: may, Running: running, Waiting: waiting}},
	}
}

// settled is a table that knows of a, with partitions 0 and 2, and b, with 1 and 3, all that there is.
func settled(t *testing.T, a, b share.Report, there []string) *share.Table {
	t.Helper()
	table := share.NewTable(4)
	for range 2 {
		table.Take(a, there, 0)
		table.Take(b, there, 0)
	}
	return table
}

// TestWhatWasAnsweredCounts before the next report says that it is obeyed.
func TestWhatWasAnsweredCounts(t *testing.T) {
	there := []string{"a", "b"}
	table := settled(t, team("a", 0, 0, 0, 0, 0, 2), team("b", 0, 0, 0, 0, 1, 3), there)
	if may := table.Take(team("a", 0, 0, 0, 9, 0, 2), there, 0).Teams["core"].May; may != 2 && may != 4 {
		t.Fatalf("who alone has tasks may have %d of 4", may)
	}
	table.Take(team("b", 0, 0, 0, 0, 1, 3), there, 0)
	given := table.Take(team("a", 0, 2, 0, 9, 0, 2), there, 0).Teams["core"].May
	if also := table.Take(team("b", 0, 0, 0, 9, 1, 3), there, 0).Teams["core"].May; given+also > 4 {
		t.Errorf("%d of 4 are answered to one, and %d to the other", given, also)
	}
}

// TestAReportFromBeforeAPartitionWasLeftVouchesForNothing: b took partition 2 from a, leased a task
// there, and left it; a's report that was under way still counts it.
func TestAReportFromBeforeAPartitionWasLeftVouchesForNothing(t *testing.T) {
	there := []string{"a", "b"}
	old := team("a", 0, 1, 1, 0, 0, 2)
	table := settled(t, old, team("b", 0, 3, 3, 9, 1, 3), there)
	left := team("b", 1, 2, 2, 9, 1, 3) // one lease, and the right to it, went with the partition
	for i, r := range []share.Report{left, old, left, team("a", 1, 1, 1, 0, 0), left, team("a", 1, 1, 1, 0, 0), left} {
		if may := table.Take(r, there, 0).Teams["core"].May; r.From == "b" && may > 2 {
			t.Fatalf("report %d: b may have %d, and nobody counts the lease that it left", i, may)
		}
	}
	found := team("a", 1, 1, 2, 0, 0, 2) // a has it again, with what is leased there
	table.Take(found, there, 0)
	if may := table.Take(left, there, 0).Teams["core"].May; may != 2 {
		t.Errorf("once it is counted b may have %d, want 2", may)
	}
}

// TestAReportFromBeforeSomebodyDiedVouchesForNothing: c took partition 2 from a, and died.
func TestAReportFromBeforeSomebodyDiedVouchesForNothing(t *testing.T) {
	all, rest := []string{"a", "b", "c"}, []string{"a", "b"}
	old, b := team("a", 0, 1, 0, 0, 0, 2), team("b", 0, 1, 1, 9, 1, 3)
	table := settled(t, old, b, all)
	for range 2 {
		table.Take(team("c", 0, 2, 2, 0), all, 0)
	}
	for i, r := range []share.Report{b, old, b, team("a", 1, 1, 0, 0, 0), b, team("a", 1, 1, 0, 0, 0), b} {
		if may := table.Take(r, rest, 0).Teams["core"].May; r.From == "b" && may > 1 {
			t.Fatalf("report %d: b may have %d, and nobody counts what c had leased", i, may)
		}
	}
}
