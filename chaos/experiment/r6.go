package experiment

import (
	"context"
	"time"

	"github.com/slipway-build/slipway/chaos/farm"
	"github.com/slipway-build/slipway/chaos/load"
)

// r6: partitions of the network between coordinators and NATS, and between coordinators and
// everybody else: full, of one direction, and flapping.
func r6() Experiment {
	return Experiment{
		Name: "R6", What: "partitions of the network", Counts: [3]int{6, 24, 400}, PerFarm: 24,
		Run: func(ctx context.Context, e *Env, n int) (*Outcome, error) {
			return partitions(ctx, e, proxied(e, "R6"), n, false)
		},
		Mistake: "clients that are answered from a cache",
		Control: func(ctx context.Context, e *Env) (*Outcome, error) {
			return partitions(ctx, e, proxied(e, "R6-control"), 2, true)
		},
	}
}

func proxied(e *Env, name string) farm.Config {
	cfg := config(e, name)
	cfg.Proxied, cfg.Kept = true, true
	return cfg
}

func partitions(ctx context.Context, e *Env, cfg farm.Config, n int, cached bool) (*Outcome, error) {
	t, err := beginWith(ctx, e, cfg, 12, func(l *load.Load) { l.Caches = cached })
	if err != nil {
		return nil, err
	}
	defer t.Stop()
	figures := map[string]any{}
	for k := range n {
		c, side := e.Rand.IntN(len(t.Coordinators)), farm.Side(k%2)
		kind := [...]string{"full", "one-way", "flapping"}[k/2%3]
		count(figures, kind)
		if err := t.cut(ctx, c, side, kind); err != nil {
			return nil, err
		}
		t.Net.Heal(c, side)
		if err := wait(ctx, e.between(0, cfg.TTL)); err != nil {
			return nil, err
		}
	}
	return t.end(ctx, figures)
}

// cut a side of a coordinator off, for a while.
func (t *trial) cut(ctx context.Context, c int, side farm.Side, kind string) error {
	directions := []string{"upstream", "downstream"}
	times := 1
	switch kind {
	case "one-way":
		i := t.env.Rand.IntN(2)
		directions = directions[i : i+1]
	case "flapping":
		times = 5
	}
	for range times {
		for _, d := range directions {
			if err := t.Net.Swallow(c, side, d); err != nil {
				return err
			}
		}
		if err := wait(ctx, t.env.between(t.TTL/4, 3*t.TTL)/time.Duration(times)); err != nil {
			return err
		}
		if times > 1 {
			t.Net.Heal(c, side)
			if err := wait(ctx, t.env.between(0, t.TTL/4)); err != nil {
				return err
			}
		}
	}
	return nil
}
