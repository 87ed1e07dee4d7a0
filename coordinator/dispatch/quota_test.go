package dispatch_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/dispatch"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
)

// running is a dispatcher that runs in the bubble of a test, and what it publishes.
func running(t *testing.T) (*dispatch.Dispatcher, *hints) {
	t.Helper()
	return runningWith(t, dispatch.Config{})
}

func runningWith(t *testing.T, cfg dispatch.Config) (*dispatch.Dispatcher, *hints) {
	t.Helper()
	q := &hints{}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Now, cfg.Open = time.Now, func(context.Context) (dispatch.Queue, error) { return q, nil }
	d := dispatch.New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return d, q
}

func core(i int) partition.Priority {
	return partition.Priority{Team: "core", Share: 1, Running: 3, Project: "shop", Run: "shop-1", Index: i}
}

// TestATeamThatIsFullGetsNoHints: as many as may run are published, others pass, and each
// one that ends lets one more go.
func TestATeamThatIsFullGetsNoHints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, q := running(t)
		d.Worker("build", "w0", 8)
		for i := range 10 {
			d.Ready("build", fmt.Sprint("0_a_", i), core(i))
		}
		d.Ready("build", "0_b_0", partition.Priority{Team: "web", Share: 1, Project: "shop", Run: "shop-2"})
		synctest.Wait()
		got := q.take()
		slices.Sort(got)
		if d := cmp.Diff([]string{"0_a_0", "0_a_1", "0_a_2", "0_b_0"}, got); d != "" {
			t.Fatalf("published (-want +got):\n%s", d)
		}
		for i := range 3 { // in the order in which a partition says it
			d.Running(0, "core", i+1)
			d.Gone("build", fmt.Sprint("0_a_", i))
		}
		synctest.Wait()
		if got := q.take(); len(got) > 0 {
			t.Errorf("with three that run, %v are published", got)
		}
		place := d.Place("build")
		position := place.Position
		if d := cmp.Diff(map[string]dispatch.Quota{"core": {Running: 3, Limit: 3, May: 3}}, place.Full); d != "" {
			t.Errorf("full teams (-want +got):\n%s", d)
		}
		if position["0_b_0"] != 1 || position["0_a_3"] != 2 || position["0_a_9"] != 8 {
			t.Errorf("positions %v", position)
		}
		d.Running(0, "core", 2)
		synctest.Wait()
		if d := cmp.Diff([]string{"0_a_3"}, q.take()); d != "" {
			t.Errorf("one has ended; published (-want +got):\n%s", d)
		}
		// One that was refused waits again, and goes when the next one ends.
		d.Running(0, "core", 3)
		d.Gone("build", "0_a_3")
		d.Ready("build", "0_a_3", core(3))
		synctest.Wait()
		d.Left(0) // with all that it had leased
		d.Ready("build", "1_a_0", core(0))
		synctest.Wait()
		if d := cmp.Diff([]string{"1_a_0"}, q.take()); d != "" {
			t.Errorf("after the owner has left (-want +got):\n%s", d)
		}
	})
}

// TestHintsThatNobodyTakesUseUpNoQuota: a team whose builds find no worker may render.
func TestHintsThatNobodyTakesUseUpNoQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, q := running(t)
		for i := range 5 {
			d.Ready("build", fmt.Sprint("0_a_", i), core(i))
		}
		d.Worker("render", "w0", 2)
		d.Ready("render", "0_r_0", core(5))
		synctest.Wait()
		if got := q.take(); !slices.Contains(got, "0_r_0") || len(got) != 4 {
			t.Errorf("published: %v, want three builds and the render", got)
		}
		undo := core(9)
		undo.Class = plan.ClassUrgent
		d.Ready("render", "0_u_0", undo)
		d.Running(0, "core", 7)
		d.Ready("render", "0_u_1", undo)
		synctest.Wait()
		if got := q.take(); !slices.Contains(got, "0_u_0") || !slices.Contains(got, "0_u_1") {
			t.Errorf("published: %v, want what undoes", got)
		}
	})
}
