package runner

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/propagation"
)

// Decorator adds something to a runner without the runner knowing.
type Decorator func(Runner) Runner

// Decorate wraps r; the first decorator is the outermost.
func Decorate(r Runner, ds ...Decorator) Runner {
	for i := len(ds) - 1; i >= 0; i-- {
		r = ds[i](r)
	}
	return r
}

// Timeout ends an attempt at Task.Timeout with the cause ErrTimeout, and sees to it
// that an interrupted attempt has the outcome of its cause, whatever the runner made of it.
func Timeout() Decorator {
	return func(next Runner) Runner {
		return Func(func(ctx context.Context, t Task, r Report) Outcome {
			if t.Timeout > 0 {
				cause := fmt.Errorf("%s did not end within its time limit of %s: %w", t.ID, t.Timeout, ErrTimeout)
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeoutCause(ctx, t.Timeout, cause)
				defer cancel()
			}
			o := next.Run(ctx, t, r)
			if o.Kind == Succeeded {
				return o
			}
			if i, ok := Interrupted(ctx); ok {
				o.Kind, o.Class, o.Message = i.Kind, i.Class, i.Message
				if i.Class == ClassTimeout {
					o.Message += during(o.Steps) + raise(t.Work)
				}
			}
			return o
		})
	}
}

// during names the steps that were going on when the time was over: those that ended
// last, and not well.
func during(steps []Step) string {
	last := -1
	for i, s := range steps {
		if s.Error != "" && (last < 0 || !s.Finished.Before(steps[last].Finished)) {
			last = i
		}
	}
	if last < 0 {
		return ""
	}
	s := steps[last]
	return fmt.Sprintf("\n    during %s, which had been going on for %s", s.Name, s.Finished.Sub(s.Started).Round(time.Second))
}

// raise says where the limit is written down.
func raise(w Work) string {
	if w == nil || w.Kind() == KindRender {
		return ""
	}
	return fmt.Sprintf("\n    if it needs longer, raise timeout of the %s in slipway.yaml", w.Kind())
}

// Tracing makes spans below the runner children of the attempt's span, whose id the
// coordinator has fixed. It makes no span itself: the coordinator emits the
// attempt's span from journal times.
func Tracing() Decorator {
	return func(next Runner) Runner {
		return Func(func(ctx context.Context, t Task, r Report) Outcome {
			if t.Traceparent != "" {
				carrier := propagation.MapCarrier{"traceparent": t.Traceparent}
				ctx = propagation.TraceContext{}.Extract(ctx, carrier)
			}
			return next.Run(ctx, t, r)
		})
	}
}

// Metrics counts and times attempts. Labels are the kind of work and how it ended,
// never anything of one run.
type Metrics struct {
	seconds *prometheus.HistogramVec
	running *prometheus.GaugeVec
}

// NewMetrics registers with reg.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "slipway_worker_attempt_seconds",
			Help:    "Time from the start of an attempt's work to its end.",
			Buckets: []float64{0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600},
		}, []string{"kind", "outcome", "class"}),
		running: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "slipway_worker_attempts_running",
			Help: "Attempts that are carried out now.",
		}, []string{"kind"}),
	}
	for _, c := range []prometheus.Collector{m.seconds, m.running} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register runner metrics: %w", err)
		}
	}
	return m, nil
}

// Observe is the decorator.
func (m *Metrics) Observe() Decorator {
	return func(next Runner) Runner {
		return Func(func(ctx context.Context, t Task, r Report) Outcome {
			kind := "unknown"
			if t.Work != nil {
				kind = string(t.Work.Kind())
			}
			running := m.running.WithLabelValues(kind)
			running.Inc()
			defer running.Dec()
			begin := time.Now()
			o := next.Run(ctx, t, r)
			m.seconds.WithLabelValues(kind, string(o.Kind), string(o.Class)).Observe(time.Since(begin).Seconds())
			return o
		})
	}
}

// Recover turns a panic into an errored attempt: one broken task must not take the
// worker's other attempts with it. What the panic says may hold anything, also a
// secret: it goes into the outcome, which Redact masks, and not into the log.
func Recover(log *slog.Logger) Decorator {
	return func(next Runner) Runner {
		return Func(func(ctx context.Context, t Task, r Report) (o Outcome) {
			defer func() {
				p := recover()
				if p == nil {
					return
				}
				log.ErrorContext(ctx, "runner panicked", "run", t.Run, "task", t.ID, "attempt", t.Attempt,
					"stack", string(debug.Stack()))
				o = Err("the worker's runner has a bug and panicked (%v): the stack is in the worker's log", p)
			}()
			return next.Run(ctx, t, r)
		})
	}
}
