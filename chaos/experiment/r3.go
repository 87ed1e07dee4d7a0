package experiment

import (
	"context"
	"sync"

	"github.com/slipway-build/slipway/chaos/farm"
	"github.com/slipway-build/slipway/chaos/witness"
)

// r3: a worker is stopped for three times the time of a lease, in the middle of its work,
// and goes on. Every second worker is one that does not notice by itself.
func r3() Experiment {
	return Experiment{
		Name: "R3", What: "workers stopped", Counts: [3]int{6, 30, 500}, PerFarm: 100,
		Run: func(ctx context.Context, e *Env, n int) (*Outcome, error) {
			cfg := config(e, "R3")
			cfg.Workers, cfg.Blind, cfg.Projects = 8, 4, 1 // deployers too
			return pauseWorkers(ctx, e, cfg, n)
		},
		Mistake: "a sink that compares no fences",
		Control: func(ctx context.Context, e *Env) (*Outcome, error) {
			cfg := config(e, "R3-control")
			cfg.Workers, cfg.Blind, cfg.Gullible = 6, 6, true
			return pauseWorkers(ctx, e, cfg, 12)
		},
	}
}

func pauseWorkers(ctx context.Context, e *Env, cfg farm.Config, n int) (*Outcome, error) {
	t, err := begin(ctx, e, cfg, 12)
	if err != nil {
		return nil, err
	}
	defer t.Stop()
	var deaths []death
	var stopped sync.WaitGroup
	defer stopped.Wait()
	free := make(chan struct{}, max(1, cfg.Workers/2)) // so many at a time
	for range n {
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		w, objects, err := t.busy(ctx)
		if err != nil {
			return nil, err
		}
		t.rest(w, true)
		w.Pause()
		deaths = append(deaths, death{witness.Now(), objects})
		stopped.Go(func() {
			_ = wait(ctx, 3*cfg.TTL)
			w.Resume()
			_ = wait(ctx, cfg.TTL/2) // for what it does late
			t.rest(w, false)
			<-free
		})
	}
	stopped.Wait()
	o, err := t.endWith(ctx, "redispatch", deaths)
	if err != nil {
		return nil, err
	}
	for _, e := range t.Book.Entries() {
		switch {
		case e.Kind == witness.Left:
			count(o.Figures, "stopped_by_themselves")
		case e.Kind == witness.Effect && !e.Done:
			count(o.Figures, "late_effects_refused")
		}
	}
	return o, nil
}

func count(figures map[string]any, name string) {
	n, _ := figures[name].(int)
	figures[name] = n + 1
}

// rest notes that a worker is stopped, or no longer.
func (t *trial) rest(w *farm.Proc, stopped bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped[w] = stopped
}

func (t *trial) resting(w *farm.Proc) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stopped[w]
}
