// Command slipway-deployer leases deploy tasks from the coordinator and carries them out on the clusters of its configuration.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"k8s.io/klog/v2"

	"github.com/slipway-build/slipway/deploy/config"
	"github.com/slipway-build/slipway/deploy/server"
	"github.com/slipway-build/slipway/internal/telemetry"
)

func main() {
	path := flag.String("config", "deployer.yaml", "the deployer's configuration")
	flag.Parse()
	if err := run(*path); err != nil {
		fmt.Fprintln(os.Stderr, "slipway-deployer:", err)
		os.Exit(1)
	}
}

func run(path string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	log, err := telemetry.NewLogger(os.Stderr, telemetry.LogConfig(cfg.Log))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	klog.SetSlogLogger(log) // what client-go says, in the same form
	if cfg.Name == "" {
		if cfg.Name, err = os.Hostname(); err != nil {
			return fmt.Errorf("find a name for this deployer: %w; set name: in %s", err, path)
		}
	}
	p := server.Process{Instance: rand.Text(), Version: version(), Log: log, Now: time.Now}
	tracing, err := telemetry.NewTracing(ctx, telemetry.TraceConfig{
		Endpoint: cfg.Traces, Service: "slipway-deployer", Version: p.Version, Instance: p.Instance,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	p.Tracer = tracing.Provider()
	s, err := server.New(ctx, cfg, p)
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "deployer started", "worker", cfg.Name, "clusters", len(cfg.Clusters), "coordinator", cfg.Coordinator.Address)
	err = s.Run(ctx)
	return errors.Join(err, tracing.Shutdown(context.WithoutCancel(ctx)))
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
