package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/docker/cli/cli/config/configfile"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-build/slipway/coordinator/api"
	"github.com/slipway-build/slipway/coordinator/check"
	"github.com/slipway-build/slipway/coordinator/config"
	"github.com/slipway-build/slipway/coordinator/dispatch"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/session"
	"github.com/slipway-build/slipway/coordinator/trace"
	"github.com/slipway-build/slipway/coordinator/web"
	"github.com/slipway-build/slipway/internal/daemon"
	"github.com/slipway-build/slipway/internal/rpc"
	"github.com/slipway-build/slipway/internal/telemetry"
)

// observer shows committed changes to traces, metrics and git hosts.
type observer struct {
	log     *slog.Logger
	tracing *telemetry.Tracing
	metrics *prometheus.Registry
	tasks   *prometheus.HistogramVec
	waits   *prometheus.HistogramVec
	runs    *prometheus.CounterVec
	logs    logMetrics
	pages   *web.Web
	hooks   api.WebhookConfig
	polls   func(ctx context.Context, hooks *api.Webhooks) error // until the context ends
	checks  *check.Teller
}

func newObserver(ctx context.Context, cfg config.Config, version string, memory func() (check.Memory, error), log *slog.Logger) (*observer, error) {
	checks, err := newTeller(cfg, version, memory, log)
	if err != nil {
		return nil, err
	}
	t, err := telemetry.NewTracing(ctx, telemetry.TraceConfig{Endpoint: cfg.Telemetry.OTLP, Service: "slipway-coordinator", Version: version, Instance: cfg.Name})
	if err != nil {
		return nil, err
	}
	buckets := prometheus.ExponentialBuckets(0.01, 2.5, 14)
	o := &observer{
		log: log, checks: checks, tracing: t, metrics: telemetry.NewRegistry("slipway-coordinator", version),
		tasks: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "slipway_task_seconds", Help: "Time from the lease to the end of an attempt.", Buckets: buckets,
		}, []string{"kind", "outcome"}),
		waits: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "slipway_task_wait_seconds", Help: "Time that a ready task waited for its first lease.", Buckets: buckets,
		}, []string{"kind"}),
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "slipway_runs_total", Help: "Runs that ended, by state."}, []string{"state"}),
	}
	o.metrics.MustRegister(o.tasks, o.waits, o.runs)
	o.logs = newLogMetrics(o.metrics)
	return o, nil
}

func (o *observer) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := o.tracing.Shutdown(ctx); err != nil {
		o.log.Warn("spans were not exported", "err", err)
	}
}

// changed is called for every committed change, and does not block.
func (o *observer) changed(r *run.Run, tasks []*run.Task) {
	o.checks.Changed(r, tasks)
	if o.tracing.Enabled() {
		o.emit(r, tasks)
	}
	for _, t := range tasks {
		if !t.State.Ended() {
			continue
		}
		kind := string(t.Spec.Kind)
		for i, a := range t.Attempts {
			if i == 0 {
				o.waits.WithLabelValues(kind).Observe(a.LeasedAt.Sub(t.ReadyAt).Seconds())
			}
			o.tasks.WithLabelValues(kind, string(a.Outcome)).Observe(a.FinishedAt.Sub(a.LeasedAt).Seconds())
		}
	}
	if r.State.Ended() {
		o.runs.WithLabelValues(string(r.State)).Inc()
	}
}

// emit exports the spans of what began or ended.
func (o *observer) emit(r *run.Run, tasks []*run.Task) {
	ctx := context.Background()
	for _, t := range tasks {
		if t.Spec.Kind == plan.KindCheckout && t.State == run.TaskReady {
			o.tracing.Emit(ctx, trace.Accepted(r)...)
		}
		if t.State.Ended() {
			o.tracing.Emit(ctx, trace.Task(r, t)...)
		}
	}
	o.tracing.Emit(ctx, trace.Finished(r)...)
}

// inherited says again what a coordinator that was killed had perhaps not sent: a span
// that is sent twice is one.
func (o *observer) inherited(r *run.Run) {
	if o.tracing.Enabled() {
		o.tracing.Emit(context.Background(), trace.All(r)...)
	}
	o.checks.Changed(r, r.Tasks)
}

// serve answers /metrics, /healthz, the dashboard and webhooks.
func (o *observer) serve(ctx context.Context, cfg config.Config, tokens *rpc.Tokens, d *dispatch.Dispatcher, sessions *session.Server) error {
	o.metrics.MustRegister(depth{d}, placements{d}, census{sessions})
	conf, err := cfg.TLS.Load()
	if err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	mux := daemon.Routes(o.metrics, tokens)
	if err := o.pages.Routes(mux); err != nil {
		return err
	}
	hooks := api.NewWebhooks(ctx, o.hooks)
	// Apart from the pages, some of whose patterns are for every path.
	all := http.NewServeMux()
	all.Handle("/webhooks/{name}", hooks)
	all.Handle("/", mux)
	stop, err := daemon.Serve(ctx, cfg.HTTP, conf, all, o.log)
	if err != nil {
		return err
	}
	defer hooks.Stop()
	return errors.Join(o.polls(ctx, hooks), stop())
}

// depth collects how many tasks wait, when it is asked.
type depth struct{ d *dispatch.Dispatcher }

func desc() *prometheus.Desc {
	return prometheus.NewDesc("slipway_queue_depth", "Ready tasks that wait for a worker, by capability.", []string{"capability"}, nil)
}

func (c depth) Describe(ch chan<- *prometheus.Desc) { ch <- desc() }

func (c depth) Collect(ch chan<- prometheus.Metric) {
	for capability, n := range c.d.Depth() {
		ch <- prometheus.MustNewConstMetric(desc(), prometheus.GaugeValue, float64(n), capability)
	}
}

// placements collects what became of tasks that are cheaper on some workers than on others.
type placements struct{ d *dispatch.Dispatcher }

func (placements) desc() *prometheus.Desc {
	return prometheus.NewDesc("slipway_placements_total", "Builds and tests by where they were placed: on a worker that had built the same before (warm), on another (cold), or nowhere, since no worker had a free slot; and offers that a worker declined or left unanswered.", []string{"result"}, nil)
}

func (c placements) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc() }

func (c placements) Collect(ch chan<- prometheus.Metric) {
	p := c.d.Placements()
	for result, n := range map[string]uint64{"warm": p.Warm, "cold": p.Cold, "unplaced": p.Unplaced, "declined": p.Declined, "unanswered": p.Unanswered} {
		ch <- prometheus.MustNewConstMetric(c.desc(), prometheus.CounterValue, float64(n), result)
	}
}

// census collects how many workers there are, when it is asked.
type census struct{ sessions *session.Server }

func (census) desc() *prometheus.Desc {
	return prometheus.NewDesc("slipway_workers", "Workers and deployers that are connected to the farm, by state.", []string{"state"}, nil)
}

func (c census) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc() }

func (c census) Collect(ch chan<- prometheus.Metric) {
	count := map[string]int{"ready": 0, "cordoned": 0, "draining": 0, "pressed": 0}
	for _, w := range c.sessions.Workers() {
		count[w.State()]++
	}
	for state, n := range count {
		ch <- prometheus.MustNewConstMetric(c.desc(), prometheus.GaugeValue, float64(n), state)
	}
}

// dockerConfig finds registry credentials in a docker config file, helpers included.
type dockerConfig string

func (d dockerConfig) Resolve(r authn.Resource) (authn.Authenticator, error) {
	f, err := os.Open(string(d))
	if err != nil {
		return nil, fmt.Errorf("read registry_auth: %w", err)
	}
	defer f.Close()
	cf := configfile.New(string(d))
	if err := cf.LoadFromReader(f); err != nil {
		return nil, fmt.Errorf("read registry_auth %s: %w", string(d), err)
	}
	a, err := cf.GetAuthConfig(r.RegistryStr())
	if err != nil {
		return nil, fmt.Errorf("credentials for %s: %w", r.RegistryStr(), err)
	}
	if a.Username == "" && a.IdentityToken == "" && a.RegistryToken == "" && a.Auth == "" {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(authn.AuthConfig{
		Username: a.Username, Password: a.Password, Auth: a.Auth, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken,
	}), nil
}
