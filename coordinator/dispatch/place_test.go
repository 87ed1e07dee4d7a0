package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/dispatch"
	"github.com/slipway-build/slipway/coordinator/partition"
)

func TestPlacesAreInTheOrderOfTheQueue(t *testing.T) {
	d := dispatch.New(dispatch.Config{Now: time.Now})
	if p := d.Place("build"); len(p.Position) != 0 || p.Slots != 0 {
		t.Errorf("where nothing waits: %+v", p)
	}
	d.Worker("build", "w0", 2)
	d.Worker("build", "w1", 3)
	d.Worker("render", "w1", 1)
	for i, token := range []string{"a", "b", "c"} {
		d.Ready("build", token, partition.Priority{Project: "shop", Run: "shop-1", Index: i})
	}
	d.Ready("render", "d", partition.Priority{Project: "shop", Run: "shop-1"})
	d.Gone("build", "b")
	if d := cmp.Diff(dispatch.Place{Position: map[string]int{"a": 1, "c": 2}, Slots: 5, Full: map[string]dispatch.Quota{}}, d.Place("build")); d != "" {
		t.Errorf("places (-want +got):\n%s", d)
	}
}

// TestWhatIsSomebodyElsesTakesNoRoom: the tasks of a partition that has a new owner do not
// stand in the way of those that are still this one's.
func TestWhatIsSomebodyElsesTakesNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, q := running(t)
		d.Worker("build", "w0", 1)
		for i := range 50 {
			d.Ready("build", fmt.Sprint("3_shop-1-x_", i), partition.Priority{Project: "shop", Run: "shop-1", Index: i})
		}
		synctest.Wait()
		if len(q.take()) >= 50 {
			t.Fatal("everything was published at once")
		}
		d.Ready("build", "30_web-1-x_0", partition.Priority{Project: "web", Run: "web-1"})
		d.Left(3)
		synctest.Wait()
		if got := q.take(); !slices.Contains(got, "30_web-1-x_0") {
			t.Errorf("published: %v, want the other partition's task", got)
		}
		if depth := d.Depth()["build"]; depth != 1 {
			t.Errorf("%d wait, want 1", depth)
		}
		time.Sleep(15 * time.Second) //nolint:forbidigo // the bubble's clock: the sweeper comes by
		synctest.Wait()
		for _, token := range q.take() {
			if token != "30_web-1-x_0" {
				t.Errorf("%s is published again", token)
			}
		}
	})
}

// anew is what stands among what was published where the queue was made anew.
const anew = "(anew)"

// hints is a queue that keeps what it is told.
type hints struct {
	mu    sync.Mutex
	sent  []string
	fails string // for this capability there is no consumer
	heal  bool   // by being made anew
	made  int
}

func (h *hints) EnsureConsumer(_ context.Context, capability string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.made++
	if capability == h.fails {
		return errors.New("no consumer") //nolint:err113 // what it is does not matter
	}
	return nil
}

func (h *hints) Drop(context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent = append(h.sent, anew)
	if h.heal {
		h.fails = ""
	}
	return nil
}

func (h *hints) Publish(_ context.Context, _ string, tokens ...string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent = append(h.sent, tokens...)
	return nil
}

// ensured is how often a consumer was asked for.
func (h *hints) ensured() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.made
}

// take answers what was published since the last take.
func (h *hints) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := h.sent
	h.sent = nil
	return out
}

// TestASlotTakesWhatComesNext: in the order of the queue, and before it what was published
// and nobody has pulled.
func TestASlotTakesWhatComesNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, q := running(t)
		if token, ok := d.Take("build", "w0"); ok {
			t.Errorf("where nothing waits: %q", token)
		}
		d.Worker("build", "w0", 2)
		d.Leased(0, partition.Load{Capability: "build"}, 2) // both slots
		for i := range 20 {
			d.Ready("build", fmt.Sprintf("0_shop-1-x_%02d", i), partition.Priority{Project: "shop", Run: "shop-1", Index: i})
		}
		synctest.Wait()
		out := q.take()
		if len(out) == 0 || len(out) > 10 {
			t.Fatalf("%d of 20 were published for no free slot", len(out))
		}
		if token, ok := d.Take("build", "w0"); !ok || token != fmt.Sprintf("0_shop-1-x_%02d", len(out)) {
			t.Errorf("took %q, want the first that was not published", token)
		}
		time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock
		if token, ok := d.Take("build", "w0"); !ok || !slices.Contains(out, token) {
			t.Errorf("took %q, want one of those that were published long ago: %v", token, out)
		}
		taken := map[string]bool{}
		for range 18 {
			synctest.Wait()
			time.Sleep(100 * time.Millisecond) //nolint:forbidigo // what was published meanwhile is there for long, too
			token, ok := d.Take("build", "w0")
			if !ok || taken[token] {
				t.Errorf("took %q, %v", token, ok)
			}
			taken[token] = true
			d.Gone("build", token)
		}
	})
}
