// Command slipway-deployer rolls releases out on the clusters of a farm.
package main

import (
	"context"
	"log/slog"
	"os"

	"k8s.io/klog/v2"

	"github.com/slipway-build/slipway/deploy/config"
	"github.com/slipway-build/slipway/deploy/server"
	"github.com/slipway-build/slipway/internal/daemon"
	"github.com/slipway-build/slipway/internal/failpoint"
)

// version is set by the linker.
var version = "dev"

func main() {
	failpoint.FromEnv(os.LookupEnv)
	os.Exit(daemon.Main(daemon.Program[config.Config]{
		Name: "slipway-deployer", File: "deployer.yaml", Version: version, Load: config.Load,
		LogFormat: func(c config.Config) string { return c.Telemetry.Log },
		Run: func(ctx context.Context, c config.Config, log *slog.Logger) error {
			klog.SetSlogLogger(log) // what client-go says, in the same form
			c.Version = version
			return server.New(c, log).Run(ctx)
		},
	}, os.Args[1:], os.Stdout, os.Stderr))
}
