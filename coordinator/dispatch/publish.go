package dispatch

import (
	"context"
	"errors"
	"time"

	"github.com/slipway-build/slipway/internal/failpoint"
	"github.com/slipway-build/slipway/internal/planted"
	"github.com/slipway-build/slipway/internal/queue"
)

const (
	// sweep is how long a hint may be out before it is published again.
	sweep = 5 * time.Second
	// vain is how often a hint is published again while slots are free, before the queue is taken
	// for broken and made anew; twice as often after each time, up to vainMost.
	vain, vainMost = 4, 64
	// mute is how long a queue may take no hint of a capability before it is made anew.
	mute = 30 * time.Second
)

// lost forgets what an earlier queue was told.
func (d *Dispatcher) lost() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.lanes {
		l.consumer = false
		for t, h := range l.out {
			if h.to == "" {
				l.out[t] = hint{who: h.who} // and nothing was in vain
			}
		}
	}
}

// publish what is due. That it fails for one capability keeps none from the others.
func (d *Dispatcher) publish(ctx context.Context, q Queue) error {
	due, offers, stuck := d.due()
	for _, o := range offers {
		if !d.cfg.Offer(o.instance, o.capability, o.token) {
			d.Declined(o.token)
		}
	}
	if stuck != "" {
		return d.anew(ctx, q, "slots are free, and no worker asks for a task that was published again and again; can the workers reach NATS?", stuck)
	}
	var failed error
	for capability, tokens := range due {
		err := d.ensure(ctx, q, capability)
		if err == nil {
			err = q.Publish(ctx, capability, tokens...)
			failpoint.Hit(failpoint.HintPublished)
		}
		if err != nil {
			d.unsent(capability, tokens)
			d.cfg.Log.WarnContext(ctx, "tasks are not published", "capability", capability, "tasks", len(tokens), "err", err)
			failed = errors.Join(failed, err)
		}
		if d.mute(capability, err != nil) {
			return d.anew(ctx, q, "no task could be published for long", capability)
		}
	}
	return failed
}

// anew drops the queue, so that Run opens another; everything that is out is published there.
func (d *Dispatcher) anew(ctx context.Context, q Queue, why, capability string) error {
	d.cfg.Log.WarnContext(ctx, "the task queue is made anew", "why", why, "capability", capability)
	if err := q.Drop(ctx); err != nil {
		d.cfg.Log.WarnContext(ctx, "task queue is not made anew", "err", err)
		d.lost()   // what was due was not published
		return err //nolint:wrapcheck // Run looks at what it is alone
	}
	return queue.ErrGone
}

// mute notes whether hints of a capability could be published, and reports that they could
// not for long.
func (d *Dispatcher) mute(capability string, failed bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	l, now := d.lane(capability), d.cfg.Now()
	switch {
	case !failed:
		l.failing = time.Time{}
	case l.failing.IsZero():
		l.failing = now
	case now.Sub(l.failing) >= mute:
		l.failing = now
		return true
	}
	return false
}

func (d *Dispatcher) ensure(ctx context.Context, q Queue, capability string) error {
	d.mu.Lock()
	have := d.lane(capability).consumer
	d.mu.Unlock()
	if have {
		return nil
	}
	if err := q.EnsureConsumer(ctx, capability); err != nil {
		return err
	}
	d.mu.Lock()
	d.lane(capability).consumer = true
	d.mu.Unlock()
	return nil
}

// due takes what must be published now, and marks it as out. A capability that has
// workers is there even with nothing to publish, so that its consumer is made. stuck is a
// capability of which a hint was published in vain for long.
func (d *Dispatcher) due() (out map[string][]string, offers []offer, stuck string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.cfg.Now()
	out = map[string][]string{}
	for c, l := range d.lanes {
		var tokens []string
		free, most := d.free(l), 0
		for t, h := range l.out {
			if h.to != "" {
				if now.Sub(h.at) < soon {
					continue
				}
				l.recall(t)
				d.placements.Unanswered++
				h = l.out[t]
			}
			if now.Sub(h.at) >= sweep && !planted.LostHintStaysLost.On() {
				tokens = append(tokens, t)
				if h.vain++; !free || h.at.IsZero() {
					h.vain = 0
				}
				h.at = now
				l.out[t] = h
				most = max(most, h.vain)
			}
		}
		if most > 0 {
			l.consumer = false // it may be lost, and what is published goes nowhere
		}
		if most >= l.patience {
			stuck, l.patience = c, min(2*l.patience, vainMost)
		}
		made, rest := d.placed(c, l, now)
		offers, tokens = append(offers, made...), append(tokens, rest...)
		if len(tokens) > 0 || !l.consumer && l.all() > 0 {
			out[c] = tokens
		}
	}
	return out, offers, stuck
}

// late is how long until an offer is taken back that nobody has answered.
func (d *Dispatcher) late() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	wait := sweep
	for _, l := range d.lanes {
		if len(l.places) == 0 {
			continue
		}
		for _, h := range l.out {
			if h.to != "" {
				wait = min(wait, max(0, soon-d.cfg.Now().Sub(h.at)))
			}
		}
	}
	return wait
}

// unsent lets the next round publish again.
func (d *Dispatcher) unsent(capability string, tokens []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lane(capability)
	for _, t := range tokens {
		if h, ok := l.out[t]; ok {
			l.out[t] = hint{who: h.who}
		}
	}
}
