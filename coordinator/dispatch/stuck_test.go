package dispatch_test

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-build/slipway/coordinator/dispatch"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/share"
)

// TestAQueueThatGivesNothingIsMadeAnew: slots are free and a hint is published again and again,
// and nobody asks for it. Where no slot is free that is as it should be.
func TestAQueueThatGivesNothingIsMadeAnew(t *testing.T) {
	one := partition.Priority{Project: "shop", Run: "shop-1"}
	after := func(t *testing.T, q *hints, wait time.Duration, want int) {
		t.Helper()
		time.Sleep(wait) //nolint:forbidigo // the bubble's clock
		synctest.Wait()
		got := q.take()
		n := 0
		for _, what := range got {
			if what == anew {
				n++
			}
		}
		if n != want || n > 0 && got[len(got)-1] == anew {
			t.Errorf("after %s more: %v, want it made anew %d times, and the task published after it", wait, got, want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		var log lines
		d, q := runningWith(t, dispatch.Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
		d.Ready("build", "0_shop-1-x_0", one)
		after(t, q, time.Minute, 0) // there is no worker
		d.Worker("build", "w0", 1)
		d.Leased(0, partition.Load{Capability: "build"}, 1)
		after(t, q, time.Minute, 0) // its slot is taken
		d.Leased(0, partition.Load{Capability: "build"}, 0)
		made := q.ensured()
		after(t, q, 19*time.Second, 0)
		if q.ensured() == made {
			t.Error("a consumer that may be lost is not made again")
		}
		after(t, q, 6*time.Second, 1)
		if want := `msg="the task queue is made anew" why="slots are free, and no worker asks for a task that was published again and again; can the workers reach NATS?" capability=build`; !strings.Contains(log.String(), want) {
			t.Errorf("no %s in the log:\n%s", want, log.String())
		}
		after(t, q, 35*time.Second, 0) // not as soon again
		after(t, q, 15*time.Second, 1)
		d.Gone("build", "0_shop-1-x_0")
		d.Ready("build", "0_shop-1-x_1", one)
		after(t, q, 26*time.Second, 1)
		d.Gone("build", "0_shop-1-x_1")
		after(t, q, 5*time.Minute, 0) // nothing waits
	})
	// Of slots that others use, or may use, nothing is known but by their answers.
	synctest.Test(t, func(t *testing.T) {
		d, q := runningWith(t, dispatch.Config{Shared: true})
		d.Ready("build", "0_shop-1-x_0", one)
		d.Worker("build", "w0", 2)
		after(t, q, time.Minute, 0)
		for _, running := range []int{2, 1} {
			for range 25 {
				d.Allot(share.Answer{Lanes: map[string]share.Lot{"build": {Slots: 1, Running: running, Waiting: 1}}})
				time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock
			}
			after(t, q, 0, 2-running)
		}
	})
}

// TestOneCapabilityDoesNotStandInTheWayOfOthers when its consumer cannot be made.
func TestOneCapabilityDoesNotStandInTheWayOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, q := running(t)
		q.fails, q.heal = "render", true
		d.Worker("render", "w0", 1)
		for i, can := range []string{"build", "render", "deploy_dev", "deploy_prod"} {
			d.Ready(can, "0_shop-1-x_"+can, partition.Priority{Project: "shop", Run: "shop-1", Index: i})
		}
		synctest.Wait()
		got := q.take()
		slices.Sort(got)
		if want := []string{"0_shop-1-x_build", "0_shop-1-x_deploy_dev", "0_shop-1-x_deploy_prod"}; !slices.Equal(slices.Compact(got), want) {
			t.Errorf("published at once: %v, want %v", got, want)
		}
		for range 9 { // the others are taken
			for _, can := range []string{"build", "deploy_dev", "deploy_prod"} {
				d.Gone(can, "0_shop-1-x_"+can)
			}
			time.Sleep(3 * time.Second) //nolint:forbidigo // the bubble's clock
			synctest.Wait()
			if got := q.take(); len(got) > 0 {
				t.Errorf("while there is no consumer: %v", got)
			}
		}
		// What fails for long is made anew.
		time.Sleep(10 * time.Second) //nolint:forbidigo // the bubble's clock
		synctest.Wait()
		if got := q.take(); len(got) < 2 || got[0] != anew || got[1] != "0_shop-1-x_render" {
			t.Errorf("when it has failed for long: %v", got)
		}
	})
}
