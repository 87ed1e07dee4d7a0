// Program slipway is the command line: it submits commits, follows runs, shows logs and
// traces, checks files, and starts a whole farm in one process.
package main

import (
	"cmp"
	"context"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"golang.org/x/term"

	"github.com/slipway-build/slipway/slipway/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second Ctrl-C ends the program at once.
	context.AfterFunc(ctx, stop)
	code := command.Execute(ctx, environment())
	stop()
	os.Exit(code)
}

func environment() command.Env {
	terminal := term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("TERM") != "dumb"
	dir, err := os.Getwd()
	if err != nil {
		dir = "."
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = os.TempDir()
	}
	program, err := os.Executable()
	if err != nil {
		program = os.Args[0]
	}
	return command.Env{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Dir: dir, Home: home,
		Addr: os.Getenv("SLIPWAY_ADDR"), Token: os.Getenv("SLIPWAY_TOKEN"), CAFile: os.Getenv("SLIPWAY_CA_FILE"),
		Live: terminal, Color: terminal && os.Getenv("NO_COLOR") == "",
		Size: size, Environ: os.Environ(), Program: program, Version: built(),
		Farm: func(ctx context.Context, c command.FarmConfig, ready func()) error {
			return farm(ctx, os.Environ(), c, ready)
		},
		Contexts: contexts, Ports: ports(),
	}
}

func size() (width, height int) {
	w, h, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil || w <= 0 {
		return 0, 0
	}
	return w, h
}

// version is set by the linker.
var version = ""

func built() command.Version {
	v := command.Version{Version: cmp.Or(version, "development"), Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if version == "" && info.Main.Version != "" && info.Main.Version != "(devel)" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Revision = s.Value
		}
	}
	return v
}
