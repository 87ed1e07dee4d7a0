package dispatch_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-build/slipway/coordinator/dispatch"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/share"
)

// alone is a dispatcher as that of the only coordinator of a farm is: it shares, and is told that there is nobody else.
func alone(t *testing.T) (d *dispatch.Dispatcher, q *hints, o *offers) {
	t.Helper()
	return direct(t, true, func(ctx context.Context, d *dispatch.Dispatcher) {
		table := share.NewTable(1)
		for ctx.Err() == nil {
			a := table.Take(d.Report("me"), []string{"me"}, 0)
			a.Alone = true
			d.Allot(a)
			select {
			case <-time.After(250 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
}

// TestTheOnlyCoordinatorKeepsWhatNobodyHasASlotFor, so that a slot that becomes free is given what it is warm for.
func TestTheOnlyCoordinatorKeepsWhatNobodyHasASlotFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, q, o := alone(t)
		leased(d, "a", "x", 1)
		leased(d, "b", "y", 2)
		for i := range 10 {
			d.Ready("build", fmt.Sprint("0_x_", i), needs(uint64(100+i)))
		}
		d.Ready("build", "0_x_warm", needs(2))
		time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock
		settle()
		if offered, published := o.take(), q.take(); len(offered)+len(published) != 0 {
			t.Errorf("while nobody is free, offered: %v, published: %v", offered, published)
		}
		if token, _ := d.Take("build", "b"); token != "0_x_warm" {
			t.Errorf("b is given %s, want what it is warm for", token)
		}
	})
}

// TestAWorkerThatIsAsideTakesNoRoom: what it carries out, or has left when it died, keeps nothing from those that are free.
func TestAWorkerThatIsAsideTakesNoRoom(t *testing.T) {
	for name, then := range map[string]func(*dispatch.Dispatcher){
		"cordoned": func(*dispatch.Dispatcher) {},
		"gone":     func(d *dispatch.Dispatcher) { d.Forget("a") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _, o := alone(t)
				leased(d, "a", "0_x_0", 1)
				d.Worker("build", "a", 0)
				then(d)
				d.Ready("build", "0_x_1", needs(9))
				settle()
				if got := o.take(); len(got) != 1 || got[0] != "b:0_x_1" {
					t.Errorf("offered: %v", got)
				}
			})
		})
	}
}

// TestLittleIsOutForASlot that sessions and partitions do not agree about, or that declines what it is offered.
func TestLittleIsOutForASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, q, o := alone(t)
		d.Free("build", "a", 0, 1)
		d.Free("build", "b", 0, 1)
		d.Leased(0, partition.Load{Capability: "build"}, 1) // of two
		for i := range 200 {
			d.Ready("build", fmt.Sprint("0_x_", i), needs(9))
		}
		for range 250 {
			d.Worker("build", "a", 1) // wakes it
			settle()
		}
		if offered, published := len(o.take()), len(q.take()); offered != 0 || published != 1 {
			t.Errorf("%d offered and %d published, for one slot", offered, published)
		}
		d.Free("build", "b", 1, 1)
		for range 250 {
			settle()
			for _, m := range o.take() {
				d.Declined(m[2:])
			}
		}
		if published := len(q.take()); published != 1 {
			t.Errorf("%d more are published, for a worker that declines", published)
		}
	})
}
