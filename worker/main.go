// Command slipway-worker carries out the builds, tests and renders of a farm.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/slipway-build/slipway/internal/daemon"
	"github.com/slipway-build/slipway/worker/config"
	"github.com/slipway-build/slipway/worker/server"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(daemon.Main(daemon.Program[config.Config]{
		Name: "slipway-worker", File: "worker.yaml", Version: version, Load: config.Load,
		LogFormat: func(c config.Config) string { return c.Telemetry.Log },
		Run: func(ctx context.Context, c config.Config, log *slog.Logger) error {
			c.Version = version
			return server.New(c, log).Run(ctx)
		},
	}, os.Args[1:], os.Stdout, os.Stderr))
}
