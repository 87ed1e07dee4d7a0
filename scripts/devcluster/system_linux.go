package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/scripts/devcluster/address"
	"github.com/slipway-build/slipway/scripts/devcluster/cluster"
	"github.com/slipway-build/slipway/scripts/devcluster/network"
	"github.com/slipway-build/slipway/scripts/devcluster/node"
)

func redirect(from, to *os.File) error {
	return unix.Dup3(int(from.Fd()), int(to.Fd()), 0)
}

func nodeCommands() []*cobra.Command {
	return []*cobra.Command{netCommand(), initCommand()}
}

func netCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "net",
		Short: "Make or remove the network of a cluster with a real node, before or after the cluster",
		Long: `Make or remove the network of a cluster with a real node. "up" does this too; it is apart for those who have to listen on
the host's address before the cluster exists. Both are idempotent.`,
	}
	for _, c := range []struct {
		use, short string
		do         func(address.Plan, string) error
	}{
		{"up", "Make guards, network namespace and veth pair", network.Up},
		{"down", "Remove them; refused while a cluster uses them", removeNetwork},
	} {
		var name string
		var index int
		sub := &cobra.Command{
			Use: c.use, Short: c.short, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				plan, err := address.ForIndex(index)
				if err != nil {
					return err
				}
				if err := c.do(plan, name); err != nil {
					return err
				}
				return json.NewEncoder(cmd.OutOrStdout()).Encode(plan)
			},
		}
		sub.Flags().StringVar(&name, "name", "dev", "name of the cluster")
		sub.Flags().IntVar(&index, "index", 0, "index of the cluster")
		cmd.AddCommand(sub)
	}
	return cmd
}

func removeNetwork(plan address.Plan, name string) error {
	index, err := network.Hold(plan, "devcluster net down")
	if err != nil {
		return err
	}
	defer index.Close() // the end of the process would do
	return network.Down(plan, name)
}

// initCommand is what "up" starts in the node's namespaces. It lives as long as its standard input.
func initCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: cluster.InitCommand, Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec, err := node.Read(file)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			go func() {
				_, _ = io.Copy(io.Discard, os.Stdin) // ends when the parent closes it or dies
				cancel()
			}()
			if err := (node.Init{Spec: spec, Log: os.Stderr, Out: os.Stdout}).Run(ctx); err != nil {
				b, jsonErr := json.Marshal(node.Message{Error: err.Error()})
				if jsonErr != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), string(b))
				return err
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "spec", "", "file with the node's spec")
	return cmd
}
