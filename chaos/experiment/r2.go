package experiment

import (
	"context"
	"time"

	"github.com/slipway-build/slipway/chaos/farm"
	"github.com/slipway-build/slipway/chaos/node"
	"github.com/slipway-build/slipway/chaos/witness"
)

// r2: kill -9 of workers. What they worked at is done by others, once.
func r2() Experiment {
	return Experiment{
		Name: "R2", What: "workers killed", Counts: [3]int{8, 60, 2000}, PerFarm: 400,
		Run: func(ctx context.Context, e *Env, n int) (*Outcome, error) {
			cfg := config(e, "R2")
			cfg.Workers = 6
			return killWorkers(ctx, e, cfg, n)
		},
		Mistake: "workers that go on when their lease is lost, and a sink that compares no fences",
		Control: func(ctx context.Context, e *Env) (*Outcome, error) {
			cfg := config(e, "R2-control")
			cfg.Gullible = true
			cfg.Worker = node.Worker{Slots: 6, Hold: 300 * time.Millisecond, Deaf: true}
			cfg.Blind = cfg.Workers
			return pauseWorkers(ctx, e, cfg, 6)
		},
	}
}

func killWorkers(ctx context.Context, e *Env, cfg farm.Config, n int) (*Outcome, error) {
	t, err := begin(ctx, e, cfg, 12)
	if err != nil {
		return nil, err
	}
	defer t.Stop()
	var deaths []death
	for range n {
		w, objects, err := t.busy(ctx)
		if err != nil {
			return nil, err
		}
		w.Kill()
		deaths = append(deaths, death{witness.Now(), objects})
		if err := w.Start(); err != nil {
			return nil, err
		}
		if err := wait(ctx, e.between(20*time.Millisecond, 200*time.Millisecond)); err != nil {
			return nil, err
		}
	}
	return t.endWith(ctx, "redispatch", deaths)
}

// endWith is end, with how long it took until others began what was at work in deaths.
func (t *trial) endWith(ctx context.Context, name string, deaths []death) (*Outcome, error) {
	o, err := t.end(ctx, map[string]any{})
	if err != nil {
		return nil, err
	}
	again := &times{}
	again.redispatched(t.Book.Entries(), deaths)
	o.times[name] = again
	return o, nil
}

// busy answers a worker that works at something, and what that is.
func (t *trial) busy(ctx context.Context) (*farm.Proc, []string, error) {
	for {
		more := t.Book.More()
		for _, i := range t.env.Rand.Perm(len(t.Workers)) {
			w := t.Workers[i]
			if objects := t.Book.Works(w.PID()); len(objects) > 0 && w.Running() && !t.resting(w) {
				return w, objects, nil
			}
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}

// nextBegin waits until some attempt begins.
func (t *trial) nextBegin(ctx context.Context) error {
	seen := len(t.Book.Entries())
	for {
		more := t.Book.More()
		for _, e := range t.Book.Entries()[seen:] {
			if e.Kind == witness.Begin && e.Done {
				return nil
			}
		}
		select {
		case <-more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
