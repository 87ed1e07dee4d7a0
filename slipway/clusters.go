package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/internal/devclusters"
	"github.com/slipway-build/slipway/internal/devfarm"
	"github.com/slipway-build/slipway/slipway/command"
)

// nodeIndex is the address plan of the first real node, away from that of make demo.
const nodeIndex = 20

// devClusters starts a development cluster for each cluster of targets.yaml and puts
// how they are reached into c. stop, never nil, ends them.
func devClusters(ctx context.Context, c *command.FarmConfig, tools string, out io.Writer) (stop func(context.Context) error, err error) {
	stop = func(context.Context) error { return nil }
	data, err := os.ReadFile(c.Targets)
	if err != nil {
		return stop, fmt.Errorf("targets: %w", err)
	}
	t, problems := pipeline.ParseTargets(c.Targets, data)
	if len(problems) > 0 {
		return stop, problems
	}
	program, dir := filepath.Join(tools, "devcluster"), filepath.Join(c.State, "clusters")
	if _, err := os.Stat(program); err != nil {
		return stop, fmt.Errorf("development clusters need %s: run `make tools` in the sources of Slipway, which builds it once", program)
	}
	// What an earlier farm left when it was killed.
	if err := devclusters.Stop(ctx, program, dir, nil); err != nil {
		return stop, err
	}
	kind, why, err := devclusters.Best(ctx, program)
	if err != nil {
		return stop, err
	}
	if kind != devclusters.Real {
		fmt.Fprintf(out, "this machine cannot run a real node (%s): pods become ready, but they are SIMULATED, and nothing runs in them\n", why)
	}
	ca, auth, err := devfarm.RegistryFiles(c.State)
	if err != nil {
		return stop, err
	}
	registry := fmt.Sprintf("127.0.0.1:%d", devfarm.DefaultPorts().Registry)
	cfg := devclusters.Config{Program: program, Dir: dir, Registry: registry, CA: ca, Auth: auth, Index: nodeIndex}
	var specs []devclusters.Spec
	for _, cluster := range t.Clusters {
		specs = append(specs, devclusters.Spec{Name: cluster.Name, Kind: kind})
	}
	list, err := devclusters.Start(ctx, cfg, specs)
	stop = func(ctx context.Context) error { return devclusters.Stop(ctx, program, dir, list) }
	if err != nil {
		return stop, err
	}
	var kubeconfigs []string
	for _, cluster := range list {
		fmt.Fprintf(out, "cluster %s serves (%s, started in %.0f s): kubectl --kubeconfig %s get pods -A\n", cluster.Name,
			map[string]string{devclusters.Real: "a real node", devclusters.Simulated: "simulated nodes"}[kind], cluster.Ready.StartedS, cluster.Ready.Kubeconfig)
		kubeconfigs = append(kubeconfigs, cluster.Ready.Kubeconfig)
		if cluster.Ready.HostIP != "" {
			c.RegistryListen = append(c.RegistryListen, fmt.Sprintf("%s:%d", cluster.Ready.HostIP, devfarm.DefaultPorts().Registry))
		}
	}
	c.Kubeconfig = strings.Join(kubeconfigs, string(filepath.ListSeparator))
	return stop, nil
}
