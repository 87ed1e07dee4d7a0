// Package server wires a worker: constructors in the order of what depends on what.
//
// It holds no logic of its own but the order of starting and stopping: the session
// ends first, since everything else is there for attempts that still run.
package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-build/slipway/internal/queue"
	"github.com/slipway-build/slipway/internal/rpc"
	"github.com/slipway-build/slipway/internal/session"
	"github.com/slipway-build/slipway/internal/telemetry"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/worker/agent"
	"github.com/slipway-build/slipway/worker/config"
	"github.com/slipway-build/slipway/worker/machine"
	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
	"github.com/slipway-build/slipway/worker/runner/render"
	"github.com/slipway-build/slipway/worker/runner/sbom"
	"github.com/slipway-build/slipway/worker/runner/scan"
	"github.com/slipway-build/slipway/worker/runner/testrun"
	"github.com/slipway-build/slipway/worker/workspace"
)

// Server is a worker.
type Server struct {
	cfg config.Config
	log *slog.Logger
}

// New makes a worker of a complete configuration; Run starts it.
func New(cfg config.Config, log *slog.Logger) *Server {
	return &Server{cfg: cfg, log: log.With("worker", cfg.Name)}
}

// Run works until ctx ends, then drains. It answers an error when the worker cannot
// start, or when the coordinator refuses it for good.
func (s *Server) Run(ctx context.Context) (err error) {
	var closers []func() error
	defer func() {
		for i := len(closers) - 1; i >= 0; i-- {
			err = errors.Join(err, closers[i]())
		}
	}()
	tracing, err := telemetry.NewTracing(ctx, telemetry.TraceConfig{Endpoint: s.cfg.Telemetry.OTLP, Service: "slipway-worker", Version: s.cfg.Version})
	if err != nil {
		return fmt.Errorf("tracing: %w", err)
	}
	closers = append(closers, func() error {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return tracing.Shutdown(stop)
	})
	registry := telemetry.NewRegistry("slipway-worker", s.cfg.Version)
	stopMetrics, err := s.cfg.HTTP.Serve(ctx, registry, s.log)
	if err != nil {
		return err
	}
	closers = append(closers, stopMetrics)

	conn, err := rpc.Dial(ctx, s.cfg.Coordinator.Address, rpc.DialOptions{Token: s.cfg.Coordinator.Token, CA: s.cfg.Coordinator.CA, Tracer: tracing.Provider()})
	if err != nil {
		return fmt.Errorf("coordinator: %w", err)
	}
	closers = append(closers, conn.Close)
	client := pb.NewWorkerServiceClient(conn)

	sources, err := workspace.Open(workspace.Config{Dir: filepath.Join(s.cfg.State, "worker"), Keep: int64(s.cfg.Keep) << 20, Log: s.log})
	if err != nil {
		return err
	}
	closers = append(closers, sources.Close)

	here := machine.Machine{Root: "/", Folder: s.cfg.State, CPUs: runtime.NumCPU()}
	slots := s.slots(ctx, here)
	with, err := s.tools(ctx, agent.Blobs{Coordinator: client}, slots[config.CapabilityBuild] > 0, tracing, registry)
	if err != nil {
		return err
	}
	closers = append(closers, with.hangUp)
	metrics, err := runner.NewMetrics(registry)
	if err != nil {
		return err
	}
	hints, closeHints, err := s.hints(ctx, slots)
	if err != nil {
		return err
	}
	closers = append(closers, func() error { closeHints(); return nil })

	var holds *holder // where there is a cache that tasks leave something in
	if with.bk != nil {
		if holds, err = newHolder(ctx, s.cfg.State, with.bk, s.log); err != nil {
			return err
		}
	}
	return s.work(ctx, agent.Config{
		Coordinator: client, Runner: with.runners, Workspaces: sources, Log: s.log, Now: time.Now,
		Around: []runner.Decorator{metrics.Observe(), runner.Recover(s.log), runner.Redact(with.secrets), runner.Recover(s.log), runner.Timeout(), runner.Tracing()},
	}, session.Config{
		Client: client, Name: s.cfg.Name, Instance: rand.Text(), Version: s.cfg.Version, Slots: slots, Hints: hints,
		Drain: s.cfg.Drain, Log: s.log, Now: time.Now,
	}, holds, func(press func(string)) *watch {
		return newWatch(registry, s.cfg.Pressure.Limits(), here.Measure, press, s.log)
	})
}

// work carries out tasks until the context ends.
func (s *Server) work(ctx context.Context, does agent.Config, as session.Config, holds *holder, pressure func(press func(string)) *watch) error {
	if holds != nil {
		does.Left, as.Holdings = holds.left, holds.held.Keys
	}
	work := session.New(as, agent.New(does).Handle)
	defer pressure(work.Press).start(ctx)()
	if holds != nil {
		holds.say = work.Hold
		ctx, stop := context.WithCancel(ctx)
		var looking sync.WaitGroup
		looking.Go(func() { holds.look(ctx) })
		defer looking.Wait()
		defer stop()
	}
	return work.Run(ctx)
}

// tools are what tasks are carried out with.
type tools struct {
	runners runner.ByKind
	secrets []string         // that no runner may print
	bk      *buildkit.Client // nil: nothing is built
	hangUp  func() error
}

// tools for all kinds of work that the machine has slots for.
func (s *Server) tools(ctx context.Context, blobs agent.Blobs, builds bool, tracing *telemetry.Tracing, registry prometheus.Registerer) (tools, error) {
	out := runner.ByKind{runner.KindRender: render.New(blobs, render.Registries{Keychain: buildkit.Keychain(s.cfg.Auth), Insecure: s.cfg.InsecureRegistries})}
	if !builds {
		out[runner.KindScan] = scan.New(blobs, nil)
		return tools{runners: out, hangUp: func() error { return nil }}, nil
	}
	bk, err := buildkit.Dial(ctx, buildkit.Config{
		Address: s.cfg.BuildKit, Auth: s.cfg.Auth, Insecure: s.cfg.InsecureRegistries, Compression: s.cfg.Compression, Tracer: tracing.Provider(),
	})
	if err != nil {
		return tools{}, err
	}
	disk, err := s.disk(bk)
	if err != nil {
		return tools{}, errors.Join(err, bk.Close())
	}
	cache, stop, err := s.cache(bk, disk, registry)
	if err != nil {
		return tools{}, errors.Join(err, bk.Close())
	}
	var guard []runner.Decorator
	if disk != nil {
		guard = append(guard, disk.Guard())
	}
	spool := filepath.Join(s.cfg.State, "artifacts")
	if err := os.RemoveAll(spool); err != nil { // what an earlier process left
		return tools{}, errors.Join(fmt.Errorf("empty the folder of artifacts: %w", err), stop(), bk.Close())
	}
	tests := testrun.New(bk).With(cache).Storing(session.Artifacts{Client: blobs.Coordinator}, spool)
	out[runner.KindBuild] = runner.Decorate(buildkit.NewBuilder(bk).With(cache), append([]runner.Decorator{sbom.Beside(blobs)}, guard...)...)
	out[runner.KindTest] = runner.Decorate(tests, guard...)
	out[runner.KindScan] = guarded(scan.New(blobs, tests), guard)
	return tools{out, bk.Secrets(), bk, func() error { return errors.Join(stop(), bk.Close()) }}, nil
}

// guarded guards the scans that BuildKit is needed for: those by what the worker brings along do not touch its disk.
func guarded(scans runner.Runner, guard []runner.Decorator) runner.Runner {
	tools := runner.Decorate(scans, guard...)
	return runner.Func(func(ctx context.Context, t runner.Task, r runner.Report) runner.Outcome {
		if s, ok := t.Work.(runner.Scan); ok && s.Test != nil {
			return tools.Run(ctx, t, r)
		}
		return scans.Run(ctx, t, r)
	})
}

// disk that builds and tests write to; nil: it is not watched.
func (s *Server) disk(bk *buildkit.Client) (*runner.Disk, error) {
	if s.cfg.Disk == nil {
		return nil, nil
	}
	disk := runner.NewDisk(s.cfg.Disk.Path, int64(s.cfg.Disk.Reserve)<<20, bk.Room)
	if err := disk.Check(); err != nil {
		return nil, fmt.Errorf("disk.path: %w", err)
	}
	return disk, nil
}

// slots that the machine has, those that are written down or those that it has room for.
func (s *Server) slots(ctx context.Context, here machine.Machine) map[string]int {
	size := here.Size()
	slots := s.cfg.Slots.For(size)
	for _, n := range s.cfg.Slots {
		if n == config.Auto {
			s.log.InfoContext(ctx, "slots by the size of the machine", "slots", slots, "cpus", size.CPUs, "memory_mib", size.Memory>>20)
			break
		}
	}
	return slots
}

// hints connects to the queue. It waits for the server; later losses are made good by
// connecting again: tasks that cannot be learned of wait, and those that run go on.
func (s *Server) hints(ctx context.Context, slots map[string]int) (map[string]session.Hints, func(), error) {
	if s.cfg.NATS == nil {
		return nil, func() {}, nil
	}
	js, closeConn, err := queue.Connect(ctx, *s.cfg.NATS, "slipway-worker "+s.cfg.Name, s.log)
	if err != nil {
		return nil, nil, fmt.Errorf("task queue: %w", err)
	}
	out := map[string]session.Hints{}
	for c := range slots {
		out[c] = queue.NewPuller(js, c)
	}
	return out, closeConn, nil
}
