package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/scripts/devcluster/address"
	"github.com/slipway-build/slipway/scripts/devcluster/cluster"
	"github.com/slipway-build/slipway/scripts/devcluster/clusterdir"
)

func upCommand() *cobra.Command {
	var o cluster.Options
	var registries []string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring a cluster up and keep it up until SIGTERM",
		Long: `Bring a cluster up and keep it up until SIGTERM or SIGINT. When it serves, DIR/ready.json says how to reach it and
DIR/admin.kubeconfig is the administrator's. A pod template annotated slipway.dev/simulate fails on a kwok cluster:
never-ready, crash-loop, oom-killed, image-pull-backoff, config-error, crash-after-ready, unready-after-ready, job-failed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := finish(&o, registries); err != nil {
				return err
			}
			log, err := ownLog(o.Dir)
			if err != nil {
				return err
			}
			defer log.Close() // the process ends
			o.Log, o.Progress = log, timed(cmd.OutOrStdout())
			err = cluster.Up(cmd.Context(), o)
			if err == nil {
				o.Progress("stopped")
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "", "folder for the cluster's state")
	f.StringVar(&o.Name, "name", "dev", "name of the cluster and of its kubeconfig context")
	f.StringVar(&o.Kind, "kind", cluster.KindKwok, "kwok (simulated nodes) or node (one real node)")
	f.IntVar(&o.Nodes, "nodes", 2, "number of simulated nodes")
	f.IntVar(&o.Port, "port", 0, "port of the API server; 0 takes a free one")
	f.BoolVar(&o.Audit, "audit", true, "write every change to DIR/audit.log")
	f.BoolVar(&o.Lean, "lean", true, "leave out controllers for volumes, clouds and certificates")
	f.IntVar(&o.Node.Index, "index", 0, "kind node: which addresses to use (devcluster addresses)")
	f.StringVar(&o.Node.Bin, "bin", "", "kind node: folder of kubelet, containerd and the others (default: this program's)")
	f.StringArrayVar(&registries, "registry", nil,
		"kind node: NAME=URL[,ca=FILE][,auth=FILE]: pull NAME/… from URL; the file auth holds user:password")
	cobra.CheckErr(cmd.MarkFlagRequired("dir"))
	return cmd
}

// finish turns flags into options.
func finish(o *cluster.Options, registries []string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	o.Node.Self = self
	if o.Node.Bin == "" {
		o.Node.Bin = filepath.Dir(self)
	}
	for _, text := range registries {
		r, err := parseRegistry(text)
		if err != nil {
			return err
		}
		o.Node.Registries = append(o.Node.Registries, r)
	}
	return nil
}

func parseRegistry(text string) (cluster.Registry, error) {
	name, rest, ok := strings.Cut(text, "=")
	if !ok || name == "" || rest == "" {
		return cluster.Registry{}, fmt.Errorf("--registry %s: expected NAME=URL[,ca=FILE][,auth=FILE]", text)
	}
	parts := strings.Split(rest, ",")
	r := cluster.Registry{Name: name, URL: parts[0]}
	for _, part := range parts[1:] {
		key, file, _ := strings.Cut(part, "=")
		switch key {
		case "ca":
			r.CA = file
		case "auth":
			r.Auth = file
		default:
			return cluster.Registry{}, fmt.Errorf("--registry %s: unknown key %q; expected ca=FILE or auth=FILE", text, key)
		}
	}
	return r, nil
}

func downCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop the cluster of a folder and remove what it left, but for its logs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cluster.Down(cmd.Context(), dir, timed(cmd.OutOrStdout()))
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "folder of the cluster's state")
	cobra.CheckErr(cmd.MarkFlagRequired("dir"))
	return cmd
}

func addressesCommand() *cobra.Command {
	var index int
	cmd := &cobra.Command{
		Use:   "addresses",
		Short: "Print the address plan of an index as JSON, without touching anything",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			plan, err := address.ForIndex(index)
			if err != nil {
				return err
			}
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			return enc.Encode(plan)
		},
	}
	cmd.Flags().IntVar(&index, "index", 0, "index of the cluster")
	return cmd
}

// ownLog opens the log of the components and makes it this process's standard error.
func ownLog(dir string) (*os.File, error) {
	d, err := clusterdir.Open(dir)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(d.Path("control-plane.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	if err := redirect(log, os.Stderr); err != nil {
		return nil, fmt.Errorf("redirect standard error to %s: %w", log.Name(), err)
	}
	return log, nil
}

func duplicate(f *os.File) (*os.File, error) {
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("duplicate standard error: %w", err)
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), f.Name()), nil
}
