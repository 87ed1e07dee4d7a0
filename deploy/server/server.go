// Package server wires the deployer: clusters, the session with the coordinator, metrics. It decides nothing.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/slipway-build/slipway/deploy/agent"
	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/config"
	"github.com/slipway-build/slipway/deploy/manifest"
	"github.com/slipway-build/slipway/deploy/rolling"
	"github.com/slipway-build/slipway/internal/rpc"
	"github.com/slipway-build/slipway/internal/session"
	"github.com/slipway-build/slipway/internal/telemetry"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Process is what differs from process to process and is no configuration.
type Process struct {
	Instance string // chosen anew by each process
	Version  string
	Log      *slog.Logger
	Tracer   trace.TracerProvider // nil: calls are not traced
	Now      func() time.Time
}

// Server is a deployer.
type Server struct {
	cfg     config.Config
	conn    *grpc.ClientConn
	session *session.Session
	metrics *prometheus.Registry
	log     *slog.Logger
}

// New opens the kubeconfigs and prepares the connection to the coordinator. It dials nobody.
func New(ctx context.Context, cfg config.Config, p Process) (*Server, error) {
	clusters, slots := map[string]agent.Cluster{}, map[string]int{}
	for name, entry := range cfg.Clusters {
		opened, err := open(name, entry)
		if err != nil {
			return nil, err
		}
		clusters[name], slots[agent.CapabilityPrefix+name] = opened, cfg.Slots
	}
	conn, err := dial(ctx, cfg.Coordinator, p.Tracer)
	if err != nil {
		return nil, err
	}
	client := pb.NewWorkerServiceClient(conn)
	s := &Server{cfg: cfg, conn: conn, metrics: telemetry.NewRegistry("slipway-deployer", p.Version), log: p.Log}
	a := agent.New(clusters, agent.Remote{Client: client}, p.Log, s.observe())
	s.session = session.New(session.Config{
		Client: client, Name: cfg.Name, Instance: p.Instance, Version: p.Version, Slots: slots,
		Drain: cfg.Drain, Log: p.Log, Now: p.Now,
	}, a.Handle)
	return s, nil
}

// Run serves until ctx ends and what runs has drained. It returns an error when the coordinator refuses the deployer.
func (s *Server) Run(ctx context.Context) error {
	defer func() { _ = s.conn.Close() }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts, ctx := errgroup.WithContext(ctx)
	if s.cfg.Metrics != "" {
		if err := s.serveMetrics(ctx, parts); err != nil {
			return err
		}
	}
	parts.Go(func() error {
		defer cancel() // the metrics end with the work
		return s.session.Run(ctx)
	})
	return parts.Wait()
}

func open(name string, entry config.Cluster) (agent.Cluster, error) {
	c, err := cluster.Open(cluster.Spec{
		Name: name, Kubeconfig: entry.Kubeconfig, Context: entry.Context, AllowExec: entry.AllowExec,
		QPS: float32(entry.QPS), Burst: 2 * entry.QPS, Timeout: entry.Timeout,
	})
	if err != nil {
		return agent.Cluster{}, err
	}
	policy := manifest.Policy{HostAccess: entry.Allow.HostAccess}
	for _, kind := range entry.Allow.Kinds {
		policy.ClusterKinds = append(policy.ClusterKinds, schema.ParseGroupKind(kind))
	}
	return agent.Cluster{Cluster: c, Settings: rolling.Settings{Policy: policy, Patience: entry.Patience}}, nil
}

func dial(ctx context.Context, c config.Coordinator, tracer trace.TracerProvider) (*grpc.ClientConn, error) {
	token, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("read the deployer's token: %w", err)
	}
	opts := rpc.DialOptions{Token: strings.TrimSpace(string(token)), Tracer: tracer}
	if c.CAFile != "" {
		if opts.CA, err = os.ReadFile(c.CAFile); err != nil {
			return nil, fmt.Errorf("read the coordinator's CA: %w", err)
		}
	}
	return rpc.Dial(ctx, c.Address, opts)
}

// observe makes the metrics of attempts. Nothing of a single run is in a label.
func (s *Server) observe() func(kind, outcome string, took time.Duration) {
	attempts := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "slipway_deployer_attempt_seconds", Help: "Attempts at deploy tasks by kind and outcome.",
		Buckets: []float64{.25, .5, 1, 2, 5, 10, 30, 60, 120, 300, 600},
	}, []string{"kind", "outcome"})
	s.metrics.MustRegister(attempts)
	return func(kind, outcome string, took time.Duration) {
		outcome = strings.ToLower(strings.TrimPrefix(outcome, "OUTCOME_"))
		attempts.WithLabelValues(kind, outcome).Observe(took.Seconds())
	}
}

func (s *Server) serveMetrics(ctx context.Context, parts *errgroup.Group) error {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", s.cfg.Metrics)
	if err != nil {
		return fmt.Errorf("serve metrics on %s: %w", s.cfg.Metrics, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", telemetry.MetricsHandler(s.metrics))
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	parts.Go(func() error {
		<-ctx.Done()
		return web.Close()
	})
	parts.Go(func() error {
		if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve metrics: %w", err)
		}
		return nil
	})
	s.log.InfoContext(ctx, "metrics are served", "address", listener.Addr().String())
	return nil
}
