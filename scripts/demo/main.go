// Demo is make demo: it sets up what is missing, starts clusters and a farm, brings
// examples/shop from a commit to healthy pods twice, and says what happened. It uses the
// programs as a user would: slipway, devcluster and git.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	root := flag.String("root", ".", "root of Slipway's repository")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	d, err := newDemo(*root, os.Getenv("KEEP") == "1")
	if err == nil {
		err = d.run(ctx)
	}
	stop()
	var exit *exitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(exit.code)
	default:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}
