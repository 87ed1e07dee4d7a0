package background_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-build/slipway/worker/background"
)

// bench is a queue whose jobs are told when to end.
type bench struct {
	*background.Queue
	registry *prometheus.Registry
	began    chan string
	end      chan error

	mu   sync.Mutex
	done []string
	held string
}

func (b *bench) hold(why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held = why
}

func (b *bench) ended(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done = append(b.done, name)
}

func newBench(t *testing.T, cfg background.Config) *bench {
	t.Helper()
	b := &bench{registry: prometheus.NewRegistry(), began: make(chan string, 100), end: make(chan error)}
	cfg.What, cfg.Registry, cfg.Log = "test", b.registry, slog.New(slog.DiscardHandler)
	cfg.Held = func() string {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.held
	}
	cfg.Count = prometheus.Opts{Name: "jobs_total", Help: "h"}
	q, err := background.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.Queue = q
	return b
}

func (b *bench) add(key, name string) {
	b.Add(background.Job{Key: key, Done: func() { b.ended(name) }, Run: func(ctx context.Context) error {
		b.began <- name
		select {
		case err := <-b.end:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}})
	synctest.Wait()
}

func (b *bench) close(t *testing.T, counts string) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	synctest.Wait()
	families, err := b.registry.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("%v: %v", families, err)
	}
	var got []string
	for _, m := range families[0].GetMetric() {
		if n := m.GetCounter().GetValue(); n > 0 {
			got = append(got, fmt.Sprintf("%s=%g", m.GetLabel()[0].GetValue(), n))
		}
	}
	if s := strings.Join(got, " "); s != counts {
		t.Errorf("counted %q, want %q", s, counts)
	}
}

func (b *bench) wantDone(t *testing.T, names string) {
	t.Helper()
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if got := strings.Join(b.done, " "); got != names {
		t.Errorf("done %q, want %q", got, names)
	}
}

func TestOneAtATimeAndTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, background.Config{Most: 2})
		b.add("api", "api1") // runs
		b.add("web", "web1")
		b.add("api", "api2")
		b.add("web", "web2") // replaces web1, in its place
		b.wantDone(t, "web1")
		b.add("db", "db1") // one too many: the oldest goes
		b.wantDone(t, "web1 web2")
		b.end <- nil
		b.end <- errors.New("no")
		b.end <- nil
		b.wantDone(t, "web1 web2 api1 api2 db1")
		close(b.began)
		var order []string
		for n := range b.began {
			order = append(order, n)
		}
		if got := strings.Join(order, " "); got != "api1 api2 db1" {
			t.Errorf("carried out %s", got)
		}
		b.close(t, "done=2 dropped=1 failed=1 replaced=1")
	})
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, background.Config{Limit: time.Minute})
		b.add("a", "long")
		begin := time.Now()
		time.Sleep(time.Hour) //nolint:forbidigo // of the fake clock
		b.wantDone(t, "long")
		b.hold("the disk is full")
		b.add("a", "not begun")
		b.wantDone(t, "long not begun")
		b.hold("")
		b.add("a", "interrupted")
		b.wantDone(t, "long not begun")
		b.hold("the disk is full")
		time.Sleep(2 * time.Second) //nolint:forbidigo // of the fake clock
		b.wantDone(t, "long not begun interrupted")
		b.hold("")
		b.Add(background.Job{Key: "a", Run: func(context.Context) error { panic("at work") }, Done: func() { b.ended("panicked") }})
		b.wantDone(t, "long not begun interrupted panicked")
		if time.Since(begin) < time.Hour {
			t.Error("the clock stands")
		}
		b.close(t, "failed=2 held=2")
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, background.Config{})
		b.add("a", "runs")
		b.add("b", "waits")
		begin := time.Now()
		b.close(t, "stopped=2")
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("it took %s", took)
		}
		b.add("c", "too late")
		b.wantDone(t, "waits runs too late")
	})
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, background.Config{})
		free := make(chan struct{})
		b.Add(background.Job{Key: "a", Done: func() {}, Run: func(context.Context) error { <-free; return nil }})
		synctest.Wait()
		begin := time.Now()
		if err := b.Close(); err != nil || time.Since(begin) > 10*time.Second {
			t.Errorf("a job that does not end: %v after %s", err, time.Since(begin))
		}
		close(free)
	})
}
