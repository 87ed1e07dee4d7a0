// Setup provides what a make target needs: system packages, and third-party programs in ~/.cache/slipway/bin. It exits
// with 2 when a system package is missing and it was not allowed to install one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/slipway-build/slipway/internal/toolchain"
)

func main() {
	cache := flag.String("cache", "", "folder for tools (default ~/.cache/slipway)")
	root := flag.String("root", ".", "root of Slipway's repository")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: setup [-cache DIR] [-root DIR] [demo|test|e2e|lint]")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *cache, *root, flag.Args())
	stop()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "setup:", err)
	if errors.Is(err, toolchain.ErrNotAllowed) {
		os.Exit(2)
	}
	os.Exit(1)
}

func run(ctx context.Context, cache, root string, args []string) error {
	set := toolchain.Demo
	if len(args) > 0 {
		set = toolchain.Set(args[0])
	}
	if cache == "" {
		home, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		cache = filepath.Join(home, "slipway")
	}
	steps, err := toolchain.Steps(root, set)
	if err != nil {
		return err
	}
	consent := toolchain.Consent{Given: os.Getenv("YES") == "1" || os.Getenv("CI") != ""}
	if term.IsTerminal(int(os.Stdin.Fd())) {
		consent.Ask = os.Stdin
	}
	if err := toolchain.Install(ctx, toolchain.Missing(toolchain.SystemPackages(set)), consent, os.Stdout); err != nil {
		return err
	}
	begin := time.Now()
	report := toolchain.Reporter(os.Stdout, len(steps))
	if _, err := toolchain.Build(ctx, toolchain.Config{Cache: cache, Root: root, Progress: report}, steps); err != nil {
		return err
	}
	fmt.Printf("tools for %s are ready (%s)\n", set, time.Since(begin).Round(100*time.Millisecond))
	return nil
}
