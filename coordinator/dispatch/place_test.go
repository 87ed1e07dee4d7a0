package dispatch_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/dispatch"
	"github.com/slipway-build/slipway/coordinator/partition"
)

func TestPlacesAreInTheOrderOfTheQueue(t *testing.T) {
	d := dispatch.New(dispatch.Config{Now: time.Now})
	if got, slots := d.Place("build"); len(got) != 0 || slots != 0 {
		t.Errorf("where nothing waits: %v, %d slots", got, slots)
	}
	d.Worker("build", "w0", 2)
	d.Worker("build", "w1", 3)
	d.Worker("render", "w1", 1)
	for i, token := range []string{"a", "b", "c"} {
		d.Ready("build", token, partition.Priority{Project: "shop", Run: "shop-1", Index: i})
	}
	d.Ready("render", "d", partition.Priority{Project: "shop", Run: "shop-1"})
	d.Gone("build", "b")
	got, slots := d.Place("build")
	if d := cmp.Diff(map[string]int{"a": 1, "c": 2}, got); d != "" || slots != 5 {
		t.Errorf("%d slots, want 5; places (-want +got):\n%s", slots, d)
	}
}
