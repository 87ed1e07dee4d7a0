package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-build/slipway/deploy/cluster"
)

// asker counts requests, each of which takes a second.
type asker struct {
	mu    sync.Mutex
	asked [][]string
}

func (a *asker) read(_ context.Context, about []string) (string, error) {
	a.mu.Lock()
	slices.Sort(about)
	a.asked = append(a.asked, about)
	n := len(a.asked)
	a.mu.Unlock()
	<-time.After(time.Second)
	return fmt.Sprint(n), nil
}

// TestReadIsShared: who asks together is answered together, and nobody by a request that began before.
func TestReadIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s cluster.Shared
		a := &asker{}
		ask := func(about string, since time.Time, want string) {
			got, err := cluster.ReadAbout(t.Context(), &s, "key", about, since, a.read)
			if err != nil || got != want {
				t.Errorf("asked about %s: %q, %v; want answer %s", about, got, err, want)
			}
		}
		var all sync.WaitGroup
		all.Go(func() { ask("a", time.Now(), "1") })
		all.Go(func() { ask("b", time.Now(), "1") })
		<-time.After(500 * time.Millisecond) // the first is on its way
		all.Go(func() { ask("a", time.Now(), "2") })
		all.Go(func() { ask("c", time.Now(), "2") })
		all.Go(func() { ask("b", time.Now().Add(-time.Second), "1") }) // for which the first is good enough
		all.Wait()
		ask("c", time.Now().Add(-time.Minute), "2") // which is kept
		ask("a", time.Now(), "3")
		want := [][]string{{"a", "b"}, {"a", "c"}, {"a"}}
		if !slices.EqualFunc(a.asked, want, slices.Equal) {
			t.Errorf("requests about %v, want %v", a.asked, want)
		}
	})
}

// TestReadForgets: what may have changed is asked for again, also when an answer is on its way.
func TestReadForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s cluster.Shared
		a := &asker{}
		long := func() string {
			v, err := cluster.ReadAbout(t.Context(), &s, "key", "", time.Now().Add(-time.Hour), a.read)
			if err != nil {
				t.Error(err)
			}
			return v
		}
		long()
		if again := long(); again != "1" {
			t.Errorf("asked again: %s", again)
		}
		s.Forget(func(key any) bool { return key == "other" })
		if again := long(); again != "1" {
			t.Errorf("asked again after something else was forgotten: %s", again)
		}
		s.Forget(func(key any) bool { return key == "key" })
		var all sync.WaitGroup
		all.Go(func() { long() })
		<-time.After(500 * time.Millisecond)
		s.Forget(func(any) bool { return true })
		if v := long(); v != "3" {
			t.Errorf("answer %s, which was on its way as it was forgotten", v)
		}
		all.Wait()
	})
}

// TestReadFails: an error is of those who asked, and not kept; who gives up is not waited for.
func TestReadFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s cluster.Shared
		broken := errors.New("broken")
		n := 0
		read := func(context.Context) (int, error) {
			<-time.After(time.Minute)
			if n++; n == 1 {
				return 0, broken
			}
			return n, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := cluster.Read(ctx, &s, "key", time.Now(), read); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("gave up: %v", err)
		}
		if _, err := cluster.Read(t.Context(), &s, "key", time.Now().Add(-time.Hour), read); !errors.Is(err, broken) {
			t.Errorf("the first request: %v", err)
		}
		if v, err := cluster.Read(t.Context(), &s, "key", time.Now().Add(-time.Hour), read); err != nil || v != 2 {
			t.Errorf("the second request: %d, %v", v, err)
		}
	})
}

type thing struct{ broken, closed atomic.Bool }

func (t *thing) Broken() bool { return t.broken.Load() }
func (t *thing) Close()       { t.closed.Store(true) }

// TestPool: one thing is lent to all, closed a minute after the last gave it back, and replaced when it is broken.
func TestPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p cluster.Pool
		borrow := func() (*thing, func()) {
			lent, back := p.Borrow("key", func() cluster.Lent { return &thing{} })
			return lent.(*thing), back
		}
		a, backA := borrow()
		b, backB := borrow()
		if a != b {
			t.Error("two things for one key")
		}
		backA()
		backB()
		<-time.After(30 * time.Second)
		if c, back := borrow(); c != a || a.closed.Load() {
			t.Errorf("another thing after 30 s (closed: %v)", a.closed.Load())
		} else {
			<-time.After(10 * time.Minute)
			back()
		}
		if a.closed.Load() {
			t.Error("closed while somebody had it")
		}
		<-time.After(61 * time.Second)
		if !a.closed.Load() {
			t.Error("not closed a minute after the last")
		}
		d, backD := borrow()
		d.broken.Store(true)
		e, backE := borrow()
		if e == d || d.closed.Load() {
			t.Errorf("a broken thing is lent again, or taken from who has it (%v)", d.closed.Load())
		}
		backD()
		backE()
		if !d.closed.Load() {
			t.Error("a broken thing stays open after the last")
		}
		e.broken.Store(true)
		if f, back := borrow(); f == e || !e.closed.Load() {
			t.Errorf("a broken thing that nobody has stays (%v)", e.closed.Load())
		} else {
			back()
		}
		<-time.After(2 * time.Minute)
	})
}
