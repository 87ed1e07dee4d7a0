package dispatch

import (
	"context"
	"maps"
	"slices"
	"time"
)

// Aside says why a worker that has slots of a capability takes no task, in words that begin
// with its name; empty: it takes them, or is gone. Those slots do not count.
func (d *Dispatcher) Aside(capability, instance, why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lane(capability)
	if why == "" {
		delete(l.aside, instance)
	} else {
		l.aside[instance] = why
	}
}

// heldBack says of the workers that take no task why they do not.
func (l *lane) heldBack() []string { return slices.Sorted(maps.Values(l.aside)) }

// unserved logs capabilities that tasks wait for and nobody has, or nobody who takes tasks.
func (d *Dispatcher) unserved(ctx context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.cfg.Now()
	for c, l := range d.lanes {
		waiting := l.waiting.Len() + len(l.out)
		switch {
		case waiting == 0 || len(l.slots) > 0:
			l.idle = time.Time{}
		case l.idle.IsZero():
			l.idle = now
		case now.Sub(l.idle) >= nobody:
			l.idle = now
			if len(l.aside) > 0 {
				d.cfg.Log.WarnContext(ctx, "tasks wait, and every worker that could carry them out is held back", "capability", c, "tasks", waiting, "workers", l.heldBack())
			} else {
				d.cfg.Log.WarnContext(ctx, "tasks wait, and no worker that is connected can carry them out", "capability", c, "tasks", waiting)
			}
		}
	}
}
