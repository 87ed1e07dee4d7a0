// Farmlocal is make farm-local: a farm on this machine in which everything is a process of
// its own and there are several of what there are several of in earnest: three coordinators,
// three NATS servers, four workers. Whatever of it ends is started again, so that anybody can
// kill parts of it and look at what becomes of a run. Ctrl-C stops it.
//
// It serves the NATS servers, the Redis and the registry itself, each in a process that is
// started with -serve.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	root := flag.String("root", ".", "root of Slipway's repository")
	state := flag.String("state", "", "folder for everything (default .slipway/farm-local below the root)")
	bin := flag.String("bin", "", "folder of the four programs (default bin below the root)")
	port := flag.Int("port", 7440, "the first of the ports that it listens on; 0: any that are free")
	engine := flag.String("serve", "", "serve one engine of the farm, for example nats-1; used by farmlocal itself")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	if *state == "" {
		*state = filepath.Join(*root, ".slipway", "farm-local")
	}
	if *bin == "" {
		*bin = filepath.Join(*root, "bin")
	}
	var err error
	if *engine != "" {
		err = serve(ctx, *state, *engine)
	} else {
		err = local(ctx, options{root: *root, state: *state, bin: *bin, port: *port})
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "farm-local:", err)
		os.Exit(1)
	}
}

// options of a farm.
type options struct {
	root, state, bin string // folders
	port             int    // the first; 0: any
}

// local makes a farm and runs it.
func local(ctx context.Context, o options) error {
	for _, folder := range []*string{&o.root, &o.state, &o.bin} {
		abs, err := filepath.Abs(*folder)
		if err != nil {
			return fmt.Errorf("find a folder: %w", err)
		}
		*folder = abs
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return fmt.Errorf("find the folder for tools: %w", err)
	}
	f := &farm{
		root: o.root, dir: o.state, bin: o.bin, tools: filepath.Join(cache, "slipway", "bin"), self: self,
		begin: time.Now(), out: os.Stdout, failed: make(chan error, 1),
	}
	return f.run(ctx, o.port)
}
