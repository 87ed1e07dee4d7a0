// Package server wires a deployer: constructors in the order of what depends on what.
//
// It holds no logic of its own but the order of starting and stopping: the session ends first, since everything else is there
// for attempts that still run.
package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/slipway-build/slipway/deploy/agent"
	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/config"
	"github.com/slipway-build/slipway/deploy/manifest"
	"github.com/slipway-build/slipway/deploy/notice"
	"github.com/slipway-build/slipway/deploy/rolling"
	"github.com/slipway-build/slipway/internal/rpc"
	"github.com/slipway-build/slipway/internal/session"
	"github.com/slipway-build/slipway/internal/telemetry"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Server is a deployer.
type Server struct {
	cfg config.Config
	log *slog.Logger
}

// New makes a deployer of a complete configuration; Run starts it.
func New(cfg config.Config, log *slog.Logger) *Server {
	return &Server{cfg: cfg, log: log.With("worker", cfg.Name)}
}

// Run works until ctx ends, then drains. It answers an error when the deployer cannot start, or when the coordinator refuses it
// for good. A cluster that does not answer is no such error: its tasks say so.
func (s *Server) Run(ctx context.Context) (err error) {
	var closers []func() error
	defer func() {
		for i := len(closers) - 1; i >= 0; i-- {
			err = errors.Join(err, closers[i]())
		}
	}()
	clusters, slots, err := s.clusters()
	if err != nil {
		return err
	}
	tracing, err := telemetry.NewTracing(ctx, telemetry.TraceConfig{
		Endpoint: s.cfg.Telemetry.OTLP, Service: "slipway-deployer", Version: s.cfg.Version,
	})
	if err != nil {
		return fmt.Errorf("tracing: %w", err)
	}
	closers = append(closers, func() error {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return tracing.Shutdown(stop)
	})
	registry := telemetry.NewRegistry("slipway-deployer", s.cfg.Version)
	stopMetrics, err := s.cfg.HTTP.Serve(ctx, registry, s.log)
	if err != nil {
		return err
	}
	closers = append(closers, stopMetrics)
	conn, err := rpc.Dial(ctx, s.cfg.Coordinator.Address, rpc.DialOptions{
		Token: s.cfg.Coordinator.Token, CA: s.cfg.Coordinator.CA, Tracer: tracing.Provider(),
	})
	if err != nil {
		return fmt.Errorf("coordinator: %w", err)
	}
	closers = append(closers, conn.Close)
	client := pb.NewWorkerServiceClient(conn)
	a := agent.New(clusters, session.Blobs{Client: client}, s.log, observe(registry))
	s.log.InfoContext(ctx, "deployer starts", "clusters", len(clusters), "coordinator", s.cfg.Coordinator.Address)
	stopWatching := s.watch(ctx, clusters, pb.NewRolloutServiceClient(conn))
	closers = append(closers, stopWatching)
	// Without hints the coordinator offers tasks on the session: a deployer inside a cluster reaches no queue.
	return session.New(session.Config{
		Client: client, Name: s.cfg.Name, Instance: rand.Text(), Version: s.cfg.Version, Slots: slots,
		Drain: s.cfg.Drain, Log: s.log, Now: time.Now,
	}, a.Handle).Run(ctx)
}

// watch tells the coordinator what others change in the clusters, until the context ends or stop is called, which waits for that.
func (s *Server) watch(ctx context.Context, clusters map[string]agent.Cluster, client pb.RolloutServiceClient) (stop func() error) {
	c := notice.Config{Log: s.log, Tell: func(ctx context.Context, c notice.Change) error {
		_, err := client.Notice(ctx, &pb.NoticeRequest{Project: c.Project, Environment: c.Environment, Cluster: c.Cluster})
		switch status.Code(err) {
		case codes.NotFound, codes.Unimplemented, codes.PermissionDenied, codes.InvalidArgument:
			return fmt.Errorf("%w: %w", notice.ErrNobody, err)
		default:
			return err
		}
	}}
	for _, one := range clusters {
		c.Clusters = append(c.Clusters, one.Cluster)
	}
	ctx, cancel := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error { return notice.New(c).Run(ctx) })
	return func() error { cancel(); return g.Wait() }
}

// clusters opens the kubeconfigs, and says every mistake in them at once. It dials nobody.
func (s *Server) clusters() (map[string]agent.Cluster, map[string]int, error) {
	clusters, slots := map[string]agent.Cluster{}, map[string]int{}
	var problems []error
	for name, entry := range s.cfg.Clusters {
		c, err := cluster.Open(cluster.Spec{
			Name: name, Kubeconfig: entry.Kubeconfig, Context: entry.Context, AllowExec: entry.AllowExec,
			QPS: float32(entry.QPS), Burst: 2 * entry.QPS, Timeout: entry.Timeout,
		})
		if err != nil {
			problems = append(problems, err)
			continue
		}
		measured, err := providers(name, s.cfg.MetricsOf(name))
		if err != nil {
			problems = append(problems, err)
			continue
		}
		policy := manifest.Policy{HostAccess: entry.Allow.HostAccess}
		for _, kind := range entry.Allow.Kinds {
			policy.ClusterKinds = append(policy.ClusterKinds, schema.ParseGroupKind(kind))
		}
		clusters[name] = agent.Cluster{Cluster: c, Settings: rolling.Settings{Policy: policy, Patience: entry.Patience}, Metrics: measured}
		slots[agent.CapabilityPrefix+name] = s.cfg.Slots
	}
	return clusters, slots, errors.Join(problems...)
}

// observe makes the metrics of attempts. Nothing of a single run is in a label.
func observe(registry *prometheus.Registry) func(kind, outcome string, took time.Duration) {
	attempts := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "slipway_deployer_attempt_seconds", Help: "Attempts at deploy tasks by kind and outcome.",
		Buckets: []float64{.25, .5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400},
	}, []string{"kind", "outcome"})
	registry.MustRegister(attempts)
	return func(kind, outcome string, took time.Duration) {
		outcome = strings.ToLower(strings.TrimPrefix(outcome, "OUTCOME_"))
		attempts.WithLabelValues(kind, outcome).Observe(took.Seconds())
	}
}
