package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-build/slipway/worker/room"
)

// every is how often the machine is measured.
const every = 2 * time.Second

// watch measures the machine, and has the session take no task while it is short of something.
type watch struct {
	limits  room.Limits
	measure func() room.Measured
	press   func(why string)
	short   *prometheus.GaugeVec
	log     *slog.Logger
	state   room.State
}

func newWatch(registry prometheus.Registerer, l room.Limits, measure func() room.Measured, press func(why string), log *slog.Logger) *watch {
	w := &watch{limits: l, measure: measure, press: press, log: log, short: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "slipway_worker_pressed", Help: "1 while the worker takes no new task since its machine is short of this.",
	}, []string{"part"})}
	registry.MustRegister(w.short)
	for p := range room.Parts {
		w.short.WithLabelValues(p.String()).Set(0)
	}
	return w
}

// start measures now and from now on, until the context ends or stop is called.
func (w *watch) start(ctx context.Context) (stop func()) {
	w.look(ctx)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				w.look(ctx)
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-done }
}

// look measures once.
func (w *watch) look(ctx context.Context) {
	next := room.Next(w.measure(), w.limits, w.state)
	if next.Short == w.state.Short {
		return
	}
	for p, short := range next.Short {
		value := 0.0
		if short {
			value = 1
		}
		w.short.WithLabelValues(room.Part(p).String()).Set(value)
	}
	if next.Pressed() {
		w.log.WarnContext(ctx, "the machine is short of something: no new task is taken", "reason", next.Reason)
	} else {
		w.log.InfoContext(ctx, "the machine has room again: tasks are taken")
	}
	w.state = next
	w.press(next.Reason)
}
