// Command devcluster runs a Kubernetes cluster for developing and testing Slipway: the real etcd, kube-apiserver, controller
// manager and scheduler in one process, with simulated nodes (kind kwok) or one real node in a network namespace (kind node).
//
// It is no cluster for anything of value: etcd does not fsync, and the administrator's kubeconfig lies in a file.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The Kubernetes components own file descriptor 2 from the moment they start, so messages for people get one of their own.
	messages, err := duplicate(os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "devcluster:", err)
		os.Exit(1)
	}
	if err := root(messages).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(messages, "devcluster:", err)
		os.Exit(1)
	}
}

func root(messages io.Writer) *cobra.Command {
	cmd := &cobra.Command{
		Use:           "devcluster",
		Short:         "Run a Kubernetes cluster for developing and testing Slipway",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	cmd.SetErr(messages)
	cmd.AddCommand(upCommand(), downCommand(), addressesCommand(), doctorCommand())
	cmd.AddCommand(nodeCommands()...)
	return cmd
}

// timed returns a function that prints a line with the time since now.
func timed(w io.Writer) func(format string, args ...any) {
	began := time.Now()
	return func(format string, args ...any) {
		fmt.Fprintf(w, "%6.1fs  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}
}
