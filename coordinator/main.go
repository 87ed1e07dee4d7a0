// Slipway-coordinator accepts commits, plans runs, keeps their journal and gives their
// tasks to workers and deployers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/slipway-build/slipway/coordinator/config"
	"github.com/slipway-build/slipway/coordinator/server"
	"github.com/slipway-build/slipway/internal/gitcmd"
	"github.com/slipway-build/slipway/internal/telemetry"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "slipway-coordinator:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("slipway-coordinator", flag.ContinueOnError)
	path := flags.String("config", "", "configuration file (coordinator.yaml)")
	show := flags.Bool("version", false, "print the version")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return fmt.Errorf("usage: %w", err)
	}
	if *show {
		fmt.Println(version)
		return nil
	}
	if *path == "" {
		return errors.New("--config FILE is needed; see docs/configuration.md")
	}
	cfg, err := config.Load(*path)
	if err != nil {
		return err
	}
	log, err := telemetry.NewLogger(os.Stderr, telemetry.LogConfig{Format: cfg.Telemetry.Log})
	if err != nil {
		return err
	}
	return server.Run(ctx, server.Options{
		Config: cfg, Version: version, Env: gitcmd.PassThrough(os.Environ()), Log: log,
		Ready: func(address string) { log.InfoContext(ctx, "ready", "address", address) },
	})
}
