package dispatch_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/dispatch"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/placement"
)

// offers keeps what was offered, as worker:token.
type offers struct {
	mu   sync.Mutex
	made []string
	gone string // a worker that has no session
}

func (o *offers) offer(instance, _, token string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.made = append(o.made, instance+":"+token)
	return instance != o.gone
}

func (o *offers) take() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := o.made
	o.made = nil
	return out
}

// directing is a dispatcher with two workers of a slot each that answer offers: a, which holds 1, and b, which holds 2.
func directing(t *testing.T) (d *dispatch.Dispatcher, q *hints, o *offers) {
	t.Helper()
	return direct(t, false, func(ctx context.Context, _ *dispatch.Dispatcher) { <-ctx.Done() })
}

// direct has something run beside the dispatcher. shared: there may be other coordinators.
func direct(t *testing.T, shared bool, beside func(context.Context, *dispatch.Dispatcher)) (d *dispatch.Dispatcher, q *hints, o *offers) {
	t.Helper()
	o, q = &offers{}, &hints{}
	d = dispatch.New(dispatch.Config{
		Shared: shared, Open: func(context.Context) (dispatch.Queue, error) { return q, nil },
		Offer: o.offer, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	for i, name := range []string{"a", "b"} {
		d.Holds(name, []uint64{uint64(i + 1)})
		d.Worker("build", name, 1)
		d.Free("build", name, 1, 1)
	}
	d.Serves(0)
	var running sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	running.Go(func() { _ = d.Run(ctx) })
	running.Go(func() { beside(ctx, d) })
	t.Cleanup(func() { stop(); running.Wait() })
	settle()
	return d, q, o
}

func needs(key uint64) partition.Priority {
	return partition.Priority{Project: "shop", Run: "shop-1", Needs: []placement.Need{{Key: key, Weight: 1000}}}
}

// leased is what a session and a partition say when a worker has taken a task.
func leased(d *dispatch.Dispatcher, worker, token string, n int) {
	d.Free("build", worker, 0, 1)
	d.Leased(0, partition.Load{Capability: "build"}, n)
	d.Gone("build", token)
}

// TestAWarmWorkerIsAskedFirst where it has a free slot; else the task is the first one's that can.
func TestAWarmWorkerIsAskedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, q, o := directing(t)
		d.Ready("build", "0_x_1", needs(2))
		settle()
		if got := o.take(); !slices.Equal(got, []string{"b:0_x_1"}) || len(q.take()) != 0 {
			t.Fatalf("offered: %v", got)
		}
		leased(d, "b", "0_x_1", 1)
		d.Ready("build", "0_x_2", needs(2))
		settle()
		if got := o.take(); !slices.Equal(got, []string{"a:0_x_2"}) {
			t.Fatalf("while the warm one is busy, offered: %v", got)
		}
		leased(d, "a", "0_x_2", 2)
		d.Ready("build", "0_x_3", needs(1))
		d.Ready("build", "0_x_4", needs(2))
		settle()
		if offered, published := o.take(), q.take(); len(offered)+len(published) != 0 {
			t.Fatalf("while nobody is free, offered: %v, published: %v", offered, published)
		}
		if token, ok := d.Take("build", "b"); !ok || token != "0_x_4" {
			t.Errorf("the slot of b that became free is given %q, want what it is warm for", token)
		}
	})
}

// TestAnOfferThatNobodyTakesIsPublished: at once where it is declined, soon where it is not answered.
func TestAnOfferThatNobodyTakesIsPublished(t *testing.T) {
	for name, c := range map[string]struct {
		then func(*dispatch.Dispatcher, *offers)
		wait time.Duration
	}{
		"declined":     {func(d *dispatch.Dispatcher, _ *offers) { d.Declined("0_x_1") }, 0},
		"not answered": {func(*dispatch.Dispatcher, *offers) {}, 501 * time.Millisecond},
		"gone":         {func(d *dispatch.Dispatcher, _ *offers) { d.Worker("build", "a", 0); d.Forget("a") }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, q, o := directing(t)
				d.Ready("build", "0_x_1", needs(1))
				settle()
				if got := o.take(); !slices.Equal(got, []string{"a:0_x_1"}) {
					t.Fatalf("offered: %v", got)
				}
				c.then(d, o)
				time.Sleep(c.wait) //nolint:forbidigo // the bubble's clock
				settle()
				if got := q.take(); !slices.Equal(got, []string{"0_x_1"}) {
					t.Errorf("published: %v", got)
				}
				if got := o.take(); len(got) != 0 {
					t.Errorf("offered again: %v", got)
				}
			})
		})
	}
	t.Run("no session", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d, q, o := directing(t)
			o.gone = "a"
			d.Ready("build", "0_x_1", needs(1))
			settle()
			if got := q.take(); !slices.Equal(got, []string{"0_x_1"}) {
				t.Errorf("published: %v", got)
			}
		})
	})
}

// TestWhatHasNoNeedsIsPublished, and so is what workers would have that answer no offers.
func TestWhatHasNoNeedsIsPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, q, o := directing(t)
		d.Ready("build", "0_x_1", partition.Priority{Project: "shop", Run: "shop-1"})
		settle()
		if got := q.take(); !slices.Equal(got, []string{"0_x_1"}) || len(o.take()) != 0 {
			t.Errorf("published: %v", got)
		}
		leased(d, "a", "0_x_1", 1)
		d.Free("build", "b", 0, 1)
		d.Worker("build", "old", 1)
		d.Ready("build", "0_x_2", needs(1))
		settle()
		if got := q.take(); !slices.Equal(got, []string{"0_x_2"}) {
			t.Errorf("published for a worker that answers no offers: %v", got)
		}
	})
}

// TestAColdTaskGoesToWhoDidLess lately, so that work stays even.
func TestAColdTaskGoesToWhoDidLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, o := directing(t)
		given := map[string]int{}
		for i := range 40 {
			token := fmt.Sprint("0_x_", i)
			d.Ready("build", token, needs(uint64(100+i)))
			settle()
			got := o.take()
			if len(got) != 1 {
				t.Fatalf("offered: %v", got)
			}
			worker := got[0][:1]
			leased(d, worker, token, 1)
			time.Sleep(10 * time.Second) //nolint:forbidigo // the bubble's clock
			d.Leased(0, partition.Load{Capability: "build"}, 0)
			d.Free("build", worker, 1, 1)
			given[worker]++
		}
		if diff := cmp.Diff(map[string]int{"a": 20, "b": 20}, given); diff != "" {
			t.Errorf("tasks (-want +got):\n%s", diff)
		}
	})
}

// TestHoldingsChange with what a worker says, and go with it.
func TestHoldingsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, o := directing(t)
		d.Held("a", []uint64{2}, nil)
		d.Held("b", nil, []uint64{2})
		d.Ready("build", "0_x_1", needs(2))
		settle()
		if got := o.take(); !slices.Equal(got, []string{"a:0_x_1"}) {
			t.Errorf("offered: %v", got)
		}
		d.Declined("0_x_1")
		d.Gone("build", "0_x_1")
		d.Forget("a")
		d.Worker("build", "a", 0)
		d.Free("build", "a", 1, 1) // late: its session has ended
		d.Ready("build", "0_x_2", needs(2))
		settle()
		if got := o.take(); !slices.Equal(got, []string{"b:0_x_2"}) {
			t.Errorf("offered: %v", got)
		}
	})
}

// settle waits until what became ready is placed: the dispatcher waits a moment for what comes with it.
func settle() {
	time.Sleep(2 * time.Millisecond) //nolint:forbidigo // the bubble's clock
	synctest.Wait()
}
