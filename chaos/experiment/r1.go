package experiment

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/chaos/farm"
	"github.com/slipway-build/slipway/chaos/witness"
	"github.com/slipway-build/slipway/internal/failpoint"
	"github.com/slipway-build/slipway/internal/planted"
)

// r1: kill -9 of coordinators while runs go on, at random, and between the steps whose
// order matters.
func r1() Experiment {
	return Experiment{
		Name: "R1", What: "coordinators killed", Counts: [3]int{4, 42, 1050},
		Run: func(ctx context.Context, e *Env, n int) (*Outcome, error) {
			cfg, err := killable(ctx, e, "R1")
			if err != nil {
				return nil, err
			}
			return killCoordinators(ctx, e, cfg, n)
		},
		PerFarm: 42,
		Mistake: "a coordinator that answers before what it says is durable",
		Control: func(ctx context.Context, e *Env) (*Outcome, error) {
			cfg, err := killable(ctx, e, "R1-control")
			if err != nil {
				return nil, err
			}
			cfg.Worker.LogLines = 0 // the end of an attempt would wait for its log
			cfg.Env = []string{fmt.Sprintf("SLIPWAY_PLANTED=%d", planted.AnswerBeforeDurable)}
			return forget(ctx, e, cfg, 3)
		},
	}
}

// killable is a farm whose coordinators can be killed at failpoints.
func killable(ctx context.Context, e *Env, name string) (cfg farm.Config, err error) {
	cfg = config(e, name)
	cfg.OwnerTTL = cfg.TTL / 2 // the least that peers.ttl may be
	cfg.Program, err = e.Broken(ctx)
	return cfg, err
}

// runs that go on at a time in an experiment of coordinators.
func (e *Env) runs() int { return [...]int{12, 24, 300}[e.Form] }

// killCoordinators kills ten at random for each eleven at failpoints.
func killCoordinators(ctx context.Context, e *Env, cfg farm.Config, n int) (*Outcome, error) {
	t, err := begin(ctx, e, cfg, e.runs())
	if err != nil {
		return nil, err
	}
	defer t.Stop()
	points := failpoint.Coordinator()
	e.Rand.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
	figures := map[string]any{}
	random, at := 0, 0
	var hurt []outage
	for range n {
		i := e.Rand.IntN(len(t.Coordinators))
		if random <= at*10/11 {
			random++
			hurt = append(hurt, t.outage(ctx, i))
			t.Coordinators[i].Kill()
		} else {
			p := points[at%len(points)]
			at++
			outages, ok, err := t.killAt(ctx, i, p)
			if err != nil {
				return nil, err
			}
			if ok {
				count(figures, "killed_at_failpoints")
			} else {
				count(figures, "killed_on_the_way_to_"+string(p))
			}
			hurt = append(hurt, outages...)
		}
		if e.Rand.IntN(2) == 0 { // others take over
			if err := wait(ctx, e.between(0, 3*cfg.TTL)); err != nil {
				return nil, err
			}
		}
		if err := t.Coordinators[i].Start(); err != nil {
			return nil, err
		}
		if err := wait(ctx, e.between(0, 2*cfg.TTL)); err != nil {
			return nil, err
		}
	}
	figures["killed_at_random"] = random
	o, err := t.end(ctx, figures)
	if err != nil {
		return nil, err
	}
	o.times["next_dispatch"], o.times["next_dispatch_last"] = next(t.Book.Entries(), hurt)
	return o, nil
}

// killAt has a coordinator started anew, and killed when it comes by a point. Not ok: it does
// not come by, and is killed all the same.
func (t *trial) killAt(ctx context.Context, i int, p failpoint.Point) (both []outage, ok bool, err error) {
	c := t.Coordinators[i]
	both = []outage{t.outage(ctx, i), {}}
	o := &both[1]
	c.Kill()
	times := 1 + t.env.Rand.IntN(3)
	if strings.HasPrefix(string(p), "owner.") { // of which there may be no second
		times = 1
	}
	if err := c.Start(fmt.Sprintf("SLIPWAY_FAILPOINT=%s:%d", p, times)); err != nil {
		return nil, false, err
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	late := time.After(10 * time.Second)
	for {
		select {
		case <-c.Ended():
			o.at = witness.Now()
			o.owned = t.outage(ctx, i).owned // what nobody else could have since
			return both, true, nil
		case <-tick.C:
			// Somebody has to lose a lease, or to come to this coordinator with its log.
			if err := t.killWorker(ctx); err != nil {
				return nil, false, err
			}
		case <-late:
			*o = t.outage(ctx, i)
			c.Kill()
			return both, false, nil
		case <-ctx.Done():
			return nil, false, context.Cause(ctx)
		}
	}
}

func (t *trial) killWorker(ctx context.Context) error {
	w, _, err := t.busy(ctx)
	if err != nil {
		return err
	}
	w.Kill()
	return w.Start()
}

// outage of a coordinator: since when, and whose tasks it leased.
type outage struct {
	at    int64
	owned []string // projects
}

// outage begins now.
func (t *trial) outage(ctx context.Context, coordinator int) outage {
	return outage{witness.Now(), t.Owned(ctx, coordinator)}
}

// next is how long it took after each outage until a task of each project was begun: all of
// them, and apart those after the last of several deaths, each of an owner of the project
// that had begun nothing of it since the one before.
func next(entries []witness.Entry, hurt []outage) (all, last *times) {
	all, last = &times{}, &times{}
	for _, o := range hurt {
		for _, project := range o.owned {
			for _, e := range entries {
				if e.Kind == witness.Begin && e.Done && e.Call > o.at && strings.HasPrefix(e.Attempt.Run, project+"-") {
					all.add(time.Duration(e.Call - o.at))
					if !slices.ContainsFunc(hurt, func(h outage) bool {
						return h.at > o.at && h.at < e.Call && slices.Contains(h.owned, project)
					}) {
						last.add(time.Duration(e.Call - o.at))
					}
					break
				}
			}
		}
	}
	return all, last
}

// forget kills NATS, so that nothing becomes durable, and every coordinator a moment later.
func forget(ctx context.Context, e *Env, cfg farm.Config, n int) (*Outcome, error) {
	t, err := begin(ctx, e, cfg, 12)
	if err != nil {
		return nil, err
	}
	defer t.Stop()
	for range n {
		t.NATS[0].Kill()
		err := wait(ctx, cfg.TTL/2)
		for _, c := range t.Coordinators {
			c.Kill()
		}
		if serr := t.NATS[0].Start(); serr != nil {
			return nil, serr
		}
		for _, c := range t.Coordinators {
			if serr := c.Start(); serr != nil {
				return nil, serr
			}
		}
		if err != nil {
			return nil, err
		}
		if _, _, err := t.busy(ctx); err != nil {
			return nil, err
		}
	}
	return t.end(ctx, map[string]any{})
}
