package dispatch_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/slipway-build/slipway/coordinator/dispatch"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/share"
)

func talkAll(table *share.Table, there []string, turn uint64, ds map[string]*dispatch.Dispatcher) {
	for _, id := range there {
		ds[id].Allot(table.Take(ds[id].Report(id), there, turn))
	}
}

// A limit that was raised is to hold although one coordinator's last word of the team is old.
func TestARaisedLimit(t *testing.T) {
	ds := map[string]*dispatch.Dispatcher{}
	there := []string{"a", "b"}
	for i, id := range there {
		ds[id] = dispatch.New(dispatch.Config{Shared: true, Now: time.Now})
		ds[id].Serves(i)
	}
	table := share.NewTable(2)
	// b had one task of the team under the old limit of 1, long ago; it has nothing of the team now.
	ds["b"].Ready("build", "1_x_0", partition.Priority{Team: "core", Share: 1, Running: 1, Project: "q", Run: "x"})
	ds["b"].Gone("build", "1_x_0")
	for i := range 20 {
		ds["a"].Ready("build", "0_y_"+fmt.Sprint(i), partition.Priority{Team: "core", Share: 1, Running: 10, Project: "p", Run: "y"})
	}
	for turn := range uint64(50) {
		talkAll(table, there, turn, ds)
	}
	n := 0
	for range 20 {
		if _, ok := ds["a"].Room(0, "core", 10); ok {
			n++
		}
	}
	if n != 10 {
		t.Errorf("of a limit that was raised to 10, %d may run", n)
	}
}

// A report that comes late, behind a newer one of the same process.
func TestALateReport(t *testing.T) {
	const limit = 4
	ds := map[string]*dispatch.Dispatcher{}
	there := []string{"a", "b"}
	for i, id := range there {
		ds[id] = dispatch.New(dispatch.Config{Shared: true, Now: time.Now})
		ds[id].Serves(i)
		ds[id].Room(i, "core", limit) // they know of the limit
	}
	table := share.NewTable(2)
	late := ds["a"].Report("a") // given up after 2 s by its sender, and still on its way
	for i := range 2 * limit {
		ds["a"].Ready("build", "0_y_"+fmt.Sprint(i), partition.Priority{Team: "core", Share: 1, Running: limit, Project: "p", Run: "y"})
	}
	for turn := range uint64(4) {
		talkAll(table, there, turn, ds)
	}
	n := 0
	table.Take(late, there, 5) // arrives; nobody hears the answer
	for i := range 2 * limit {
		ds["b"].Ready("build", "1_z_"+fmt.Sprint(i), partition.Priority{Team: "core", Share: 1, Running: limit, Project: "q", Run: "z"})
	}
	ds["b"].Allot(table.Take(ds["b"].Report("b"), there, 6))
	for range 2 * limit {
		if _, ok := ds["b"].Room(1, "core", limit); ok {
			n++
		}
		if _, ok := ds["a"].Room(0, "core", limit); ok {
			n++
		}
	}
	if n > limit {
		t.Errorf("%d tasks of a limit of %d run", n, limit)
	}
}

// TestWhoServesNothingHasNoPart: while it served nothing, others were given what it had.
func TestWhoServesNothingHasNoPart(t *testing.T) {
	d := dispatch.New(dispatch.Config{Shared: true, Now: time.Now})
	d.Serves(0)
	d.Ready("build", "0_x_0", partition.Priority{Team: "core", Share: 1, Running: 3, Project: "p", Run: "x"})
	d.Report("a")
	d.Allot(share.Answer{Teams: map[string]share.Part{"core": {May: 3}}})
	if k := d.Report("a").Teams["core"]; k.May != 3 {
		t.Fatalf("it obeys %d, want 3", k.May)
	}
	d.Left(0)
	d.Serves(1)
	if _, ok := d.Room(1, "core", 3); ok {
		t.Error("it leases by what it was answered before it served nothing")
	}
}
