// Command slipway-deployer rolls releases out on the clusters of a farm.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/klog/v2"

	"github.com/slipway-build/slipway/deploy/config"
	"github.com/slipway-build/slipway/deploy/server"
	"github.com/slipway-build/slipway/internal/telemetry"
)

// version is set by the linker.
var version = "dev"

// Exit codes.
const (
	exitFailed = 1 // it stopped with an error
	exitUsage  = 2 // flags or configuration
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("slipway-deployer", flag.ContinueOnError)
	flags.SetOutput(stderr)
	path := flags.String("config", "deployer.yaml", "configuration `file`")
	show := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		return exitUsage
	}
	if *show {
		_, _ = fmt.Fprintln(stdout, version)
		return 0
	}
	cfg, err := config.Load(*path)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, err)
		return exitUsage
	}
	cfg.Version = version
	log, err := telemetry.NewLogger(stderr, telemetry.LogConfig{Format: cfg.Telemetry.Log})
	if err != nil {
		_, _ = fmt.Fprintln(stderr, err)
		return exitUsage
	}
	klog.SetSlogLogger(log) // what client-go says, in the same form
	if err := server.New(cfg, log).Run(ctx); err != nil {
		log.Error("stopped", "err", err)
		return exitFailed
	}
	return 0
}
