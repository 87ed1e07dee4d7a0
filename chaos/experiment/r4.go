package experiment

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/slipway-build/slipway/chaos/farm"
)

// r4: kill -9 of NATS servers of a cluster of three, one at a time, and all three at once.
func r4() Experiment {
	return Experiment{
		Name: "R4", What: "kills of NATS, every sixth of all three servers", Counts: [3]int{2, 18, 600}, PerFarm: 30,
		Run: func(ctx context.Context, e *Env, n int) (*Outcome, error) {
			return killNATS(ctx, e, clustered(e, "R4"), n, false)
		},
		Mistake: "servers whose disks forget everything",
		Control: func(ctx context.Context, e *Env) (*Outcome, error) {
			return killNATS(ctx, e, clustered(e, "R4-control"), 1, true)
		},
	}
}

func clustered(e *Env, name string) farm.Config {
	cfg := config(e, name)
	cfg.NATS, cfg.Coordinators, cfg.Kept, cfg.TTL = 3, 2, true, 2*time.Second // elections of NATS take a second or two
	return cfg
}

func killNATS(ctx context.Context, e *Env, cfg farm.Config, n int, forgets bool) (*Outcome, error) {
	t, err := begin(ctx, e, cfg, 12)
	if err != nil {
		return nil, err
	}
	defer t.Stop()
	if forgets { // it never does its work again
		t.patience = 15 * time.Second
	}
	figures := map[string]any{}
	idle := &times{}
	for k := range n {
		victims := []int{e.Rand.IntN(len(t.NATS))}
		if k%6 == 1 || forgets {
			victims = []int{0, 1, 2}
			count(figures, "all_three")
		} else {
			count(figures, "single")
		}
		for _, i := range victims {
			t.NATS[i].Kill()
		}
		if forgets {
			for i := range t.NATS {
				if err := os.RemoveAll(t.Store(i)); err != nil {
					return nil, fmt.Errorf("forget: %w", err)
				}
			}
		}
		since := time.Now()
		if err := wait(ctx, e.between(0, 2*time.Second)); err != nil {
			return nil, err
		}
		for _, i := range victims {
			if err := t.NATS[i].Start(); err != nil {
				return nil, err
			}
		}
		if forgets {
			continue
		}
		if _, _, err := t.busy(ctx); err != nil {
			return nil, err
		}
		if err := t.nextBegin(ctx); err != nil {
			return nil, err
		}
		idle.add(time.Since(since))
	}
	o, err := t.end(ctx, figures)
	if err != nil {
		return nil, err
	}
	o.times["next_dispatch"] = idle
	return o, nil
}
