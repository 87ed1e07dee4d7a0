// Slipway-coordinator accepts commits, plans runs, keeps their journal and gives their
// tasks to workers and deployers.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/slipway-build/slipway/coordinator/config"
	"github.com/slipway-build/slipway/coordinator/server"
	"github.com/slipway-build/slipway/internal/daemon"
	"github.com/slipway-build/slipway/internal/gitcmd"
)

// version is set by the linker.
var version = "dev"

func main() {
	faults(os.LookupEnv)
	os.Exit(daemon.Main(daemon.Program[config.Config]{
		Name: "slipway-coordinator", File: "coordinator.yaml", Version: version, Load: config.Load,
		LogFormat: func(c config.Config) string { return c.Telemetry.Log },
		Run: func(ctx context.Context, c config.Config, log *slog.Logger) error {
			return server.Run(ctx, server.Options{
				Config: c, Version: version, Env: gitcmd.PassThrough(os.Environ()), LookupEnv: os.LookupEnv, Log: log,
				Ready: func(address string) { log.InfoContext(ctx, "ready", "address", address) },
			})
		},
	}, os.Args[1:], os.Stdout, os.Stderr))
}
