// Package daemon is what the programs of a farm have in common around their work: flags
// and exit codes, the files that a configuration names, and the HTTP listener with
// metrics and health.
//
// It knows nothing of what a program does.
package daemon

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/slipway-build/slipway/internal/telemetry"
)

// Exit codes.
const (
	exitFailed = 1 // it stopped with an error
	exitUsage  = 2 // flags or configuration
)

// Program is one of them, with its configuration C.
type Program[C any] struct {
	Name    string // "slipway-worker"
	File    string // the configuration when no flag names one: "worker.yaml"
	Version string
	Load    func(path string) (C, error)
	// LogFormat is "text" or "json".
	LogFormat func(C) string
	// Run works until the context ends.
	Run func(context.Context, C, *slog.Logger) error
}

// Main runs a program until SIGINT or SIGTERM, and answers its exit code.
func Main[C any](p Program[C], args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return p.main(ctx, args, stdout, stderr)
}

func (p Program[C]) main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	path := flags.String("config", p.File, "configuration `file`; docs/configuration.md has its keys")
	show := flags.Bool("version", false, "print the version and exit")
	switch err := flags.Parse(args); {
	case err == flag.ErrHelp: //nolint:errorlint // Parse answers it as it is
		return 0
	case err != nil:
		return exitUsage
	case flags.NArg() > 0:
		_, _ = fmt.Fprintf(stderr, "%s: %q is not understood: it takes flags only; see --help\n", p.Name, flags.Arg(0))
		return exitUsage
	case *show:
		_, _ = fmt.Fprintln(stdout, p.Version)
		return 0
	}
	cfg, err := p.Load(*path)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
		return exitUsage
	}
	log, err := telemetry.NewLogger(stderr, telemetry.LogConfig{Format: p.LogFormat(cfg)})
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
		return exitUsage
	}
	CollectSeldom()
	if err := p.Run(ctx, cfg, log); err != nil {
		log.ErrorContext(ctx, "stopped", "err", err)
		return exitFailed
	}
	return 0
}

// CollectSeldom lets the heap of a program grow to four times what is live before it is
// collected: to go through the state of all its runs whenever that has doubled was a fifth
// of a busy coordinator's work. Another GOGC goes before, and GOMEMLIMIT limits both.
func CollectSeldom() {
	const growth, usual = 300, 100
	if was := debug.SetGCPercent(growth); was != usual {
		debug.SetGCPercent(was)
	}
}
