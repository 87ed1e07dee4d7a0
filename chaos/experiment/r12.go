package experiment

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/slipway-build/slipway/chaos/farm"
	"github.com/slipway-build/slipway/chaos/load"
)

// r12: the connections of workers and readers are reset while attempts write their logs, and
// some readers are slow. Soon after the end of a run its logs are archived and taken out of the
// stream. Each log that is read is what was written, line by line.
func r12() Experiment {
	return Experiment{
		Name: "R12", What: "resets of every connection of a coordinator", Counts: [3]int{8, 60, 1000}, PerFarm: 100,
		Run: func(ctx context.Context, e *Env, n int) (*Outcome, error) {
			cfg := written(e, "R12")
			cfg.LogsAfter = time.Second
			return resets(ctx, e, cfg, n, false)
		},
		Mistake: "a reader that does not trim what was stored twice",
		Control: func(ctx context.Context, e *Env) (*Outcome, error) {
			cfg := written(e, "R12-control")
			cfg.LogsAfter = 24 * time.Hour // frames are read as they are stored
			return resets(ctx, e, cfg, 20, true)
		},
	}
}

// written is a farm whose attempts write much.
func written(e *Env, name string) farm.Config {
	cfg := proxied(e, name)
	cfg.Worker.LogLines, cfg.Worker.Hold = 4000, 600*time.Millisecond
	return cfg
}

func resets(ctx context.Context, e *Env, cfg farm.Config, n int, untrimmed bool) (*Outcome, error) {
	t, err := begin(ctx, e, cfg, 6)
	if err != nil {
		return nil, err
	}
	defer t.Stop()
	fctx, stop := context.WithCancel(ctx)
	defer stop()
	var followers sync.WaitGroup
	followed := &load.Logs{Lines: cfg.Worker.LogLines}
	for i := range 4 {
		slow := time.Duration(i%2) * 100 * time.Millisecond
		followers.Go(func() { t.load.Follow(fctx, followed, slow) })
	}
	for range n {
		c := e.Rand.IntN(len(t.Coordinators))
		if err := t.Net.Reset(c, farm.ToFront); err != nil {
			return nil, err
		}
		err := wait(ctx, e.between(10*time.Millisecond, 100*time.Millisecond))
		t.Net.Heal(c, farm.ToFront)
		if err == nil {
			err = wait(ctx, e.between(100*time.Millisecond, 400*time.Millisecond))
		}
		if err != nil {
			return nil, err
		}
	}
	t.before = func(ctx context.Context) []string {
		stop()
		followers.Wait()
		raw := ""
		if untrimmed {
			raw = t.NATSURL(-1)
		}
		return t.load.ReadLogs(ctx, followed, raw)
	}
	o, err := t.end(ctx, map[string]any{})
	if err != nil {
		return nil, err
	}
	if followed.Read == 0 {
		return nil, fmt.Errorf("no log was read: %w", errIdle)
	}
	o.Figures["logs_followed"], o.Figures["logs_read_at_the_end"], o.Figures["readers_cut_off"] = followed.Followed, followed.Read, followed.Again
	return o, nil
}
