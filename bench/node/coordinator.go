package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/slipway-build/slipway/coordinator/api"
	"github.com/slipway-build/slipway/coordinator/artifact"
	"github.com/slipway-build/slipway/coordinator/dispatch"
	"github.com/slipway-build/slipway/coordinator/findings"
	"github.com/slipway-build/slipway/coordinator/journal"
	"github.com/slipway-build/slipway/coordinator/logstore"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/session"
	"github.com/slipway-build/slipway/coordinator/trace"
	"github.com/slipway-build/slipway/coordinator/watch"
	"github.com/slipway-build/slipway/internal/daemon"
	"github.com/slipway-build/slipway/internal/queue"
	"github.com/slipway-build/slipway/internal/rpc"
	"github.com/slipway-build/slipway/internal/telemetry"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Coordinator is the coordinator's own packages as coordinator/server wires them (journal,
// partitions, dispatch, plans, logs, sessions behind the server with its credentials and
// validation), without what makes plans: no mirror, no planner, no dashboard. Plans come
// from the benchmark.
type Coordinator struct {
	NATS       string        `json:"nats"`
	Token      string        `json:"token"`  // of workers
	Viewer     string        `json:"viewer"` // token of those who follow logs
	Partitions int           `json:"partitions"`
	TTL        time.Duration `json:"ttl"`
	OTLP       string        `json:"otlp,omitempty"` // where spans go; empty: nowhere
	// SnapshotEvery is after how many records a partition takes a snapshot; 0: never.
	SnapshotEvery uint64 `json:"snapshot_every,omitempty"`
}

// parts are what a coordinator consists of.
type parts struct {
	js       jetstream.JetStream
	blobs    *artifact.Store
	logs     *logstore.Store
	set      *partition.Set
	dispatch *dispatch.Dispatcher
	tracing  *telemetry.Tracing
	ends     *ends
	done     atomic.Int64 // tasks that have ended
}

// Run serves until the input ends.
func (c Coordinator) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	p := &parts{ends: newEnds()}
	daemon.CollectSeldom()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	js, hangUp, err := queue.Connect(ctx, queue.Address{URL: c.NATS}, "coordinator", log)
	if err != nil {
		return err
	}
	defer hangUp()
	p.js = js
	if p.blobs, err = artifact.Open(ctx, js, 1); err != nil {
		return err
	}
	if p.logs, err = logstore.Open(ctx, js, 1, 0, log); err != nil {
		return err
	}
	defer p.logs.Close()
	if p.tracing, err = telemetry.NewTracing(ctx, telemetry.TraceConfig{Endpoint: c.OTLP, Service: "slipway-coordinator", Version: "bench"}); err != nil {
		return err
	}
	defer p.tracing.Shutdown(context.WithoutCancel(ctx)) //nolint:errcheck // what counts was flushed
	hub := watch.New[[]*pb.ProgressStep](p.changed)
	p.dispatch = dispatch.New(dispatch.Config{
		Open: func(ctx context.Context) (dispatch.Queue, error) { return queue.Open(ctx, js, 1) }, Log: log, Now: time.Now,
	})
	p.set, err = partition.NewSet(ctx, c.Partitions, partition.Config{
		Journal: func(ctx context.Context, number int) (partition.Journal, error) {
			return journal.Open(ctx, js, journal.Config{Partition: number, Owner: "bench", Replicas: 1, Snapshots: p.blobs, Log: log, Now: time.Now})
		},
		Upkeep:   partition.Upkeep{Records: c.SnapshotEvery},
		Replicas: 1, JS: js, Plans: p.blobs.Plan, TTL: c.TTL, Dispatch: p.dispatch, Effects: noEffects{}, Listener: hub, Log: log, Now: time.Now, Yield: runtime.Gosched,
		Suffix: func() string { return strings.ToLower(rand.Text()[:4]) },
	})
	if err != nil {
		return err
	}
	sessions := session.New(session.Config{
		Partitions: p.set, Presence: p.dispatch, Logs: p.logs, Hub: hub, TTL: c.TTL, Log: log, Traceparent: trace.Traceparent,
		Puller: func(capability string) *queue.Puller { return queue.NewPuller(js, capability) },
	})
	g, ctx := errgroup.WithContext(ctx)
	services := api.New(api.Config{Partitions: p.set, Sessions: sessions, Hub: hub, Logs: p.logs, Blobs: p.blobs, Log: log, Now: time.Now, Go: func(f func()) {
		g.Go(func() error { f(); return nil })
	}})
	server, listener, err := c.listen(ctx, services, p.tracing, log)
	if err != nil {
		return err
	}
	g.Go(func() error { return p.set.Run(ctx) })
	g.Go(func() error { return p.dispatch.Run(ctx) })
	g.Go(func() error { return server.Run(ctx, listener) })
	g.Go(func() error {
		defer cancel()
		return Serve(ctx, in, out, Address{URL: listener.Addr().String()}, p.ops())
	})
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (c Coordinator) listen(ctx context.Context, services api.Services, tracing *telemetry.Tracing, log *slog.Logger) (*rpc.Server, net.Listener, error) {
	tokens, err := rpc.NewTokens([]rpc.Token{
		{Name: "worker", Role: pb.Role_ROLE_WORKER, Hash: rpc.HashToken(c.Token)}, {Name: "viewer", Role: pb.Role_ROLE_VIEW, Hash: rpc.HashToken(c.Viewer)},
	})
	if err != nil {
		return nil, nil, err
	}
	server, err := rpc.NewServer(rpc.ServerOptions{
		Tokens: tokens, Log: log, Grace: time.Millisecond, Tracer: tracing.Provider(),
		Files: []protoreflect.FileDescriptor{pb.File_slipway_v1_run_proto, pb.File_slipway_v1_log_proto, pb.File_slipway_v1_worker_proto},
	})
	if err != nil {
		return nil, nil, err
	}
	pb.RegisterWorkerServiceServer(server.GRPC(), services.Workers)
	pb.RegisterLogServiceServer(server.GRPC(), services.Logs)
	listener, err := server.Listen(ctx, "127.0.0.1:0")
	return server, listener, err
}

// noEffects: these plans have no task that needs them.
type noEffects struct{}

func (noEffects) Pin(context.Context, string, string, string) error { return errors.ErrUnsupported }
func (noEffects) PutBlob(context.Context, string, []byte) (string, error) {
	return "", errors.ErrUnsupported
}

func (noEffects) Judge(context.Context, string, findings.Input) (plan.FindingsSummary, string, error) {
	return plan.FindingsSummary{}, "", errors.ErrUnsupported
}

func (noEffects) Sign(context.Context, string, string, plan.Result) (string, error) {
	return "", errors.ErrUnsupported
}

// changed sees every committed change, and says the spans that coordinator/server says.
func (p *parts) changed(r *run.Run, tasks []*run.Task) {
	if p.tracing.Enabled() {
		p.emit(r, tasks)
	}
	for _, t := range tasks {
		if t.State.Ended() {
			p.done.Add(1)
		}
	}
	if r.State.Ended() {
		p.ends.ended(r.ID)
	}
}

func (p *parts) emit(r *run.Run, tasks []*run.Task) {
	ctx := context.Background()
	for _, t := range tasks {
		if t.State == run.TaskReady && t.Index == 0 {
			p.tracing.Emit(ctx, trace.Accepted(r)...)
		}
		if t.State.Ended() {
			p.tracing.Emit(ctx, trace.Task(r, t)...)
		}
	}
	p.tracing.Emit(ctx, trace.Finished(r)...)
}

func (p *parts) served(ctx context.Context) error {
	for _, part := range p.set.All() {
		if err := until(ctx, part.Here); err != nil { // until then it is nobody's
			return fmt.Errorf("wait for a partition: %w", err)
		}
		if err := part.Do(ctx, func(*partition.Tx) error { return nil }); err != nil {
			return fmt.Errorf("wait for a partition: %w", err)
		}
	}
	return nil
}
