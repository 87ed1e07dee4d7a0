package main

import (
	"context"
	"path/filepath"

	"github.com/slipway-build/slipway/internal/devclusters"
	"github.com/slipway-build/slipway/internal/devfarm"
)

// nodeIndex is the address plan of the demo's first real node; the next has the next.
const nodeIndex = 7

func (d *demo) devcluster() string { return filepath.Join(d.tools, "devcluster") }

// startClusters starts dev with simulated nodes and two of prod with a real one each, side by side.
func (d *demo) startClusters(ctx context.Context) error {
	kind, why, err := devclusters.Best(ctx, d.devcluster())
	if err != nil {
		return err
	}
	if kind != devclusters.Real {
		d.say("this machine cannot run a real node, so pods in prod are SIMULATED and answer no request (%s)", why)
	}
	ca, auth, err := devfarm.RegistryFiles(d.dir)
	if err != nil {
		return err
	}
	d.say("starting three clusters: dev (simulated nodes), prod-eu and prod-us (%s)", map[string]string{
		devclusters.Real: "one real node each, in a network namespace of its own", devclusters.Simulated: "simulated nodes",
	}[kind])
	cfg := devclusters.Config{
		Program: d.devcluster(), Dir: filepath.Join(d.dir, "clusters"), Registry: "127.0.0.1:7423", CA: ca, Auth: auth, Index: nodeIndex,
	}
	d.clusters, err = devclusters.Start(ctx, cfg, []devclusters.Spec{{Name: "dev", Kind: devclusters.Simulated}, {Name: "prod-eu", Kind: kind}, {Name: "prod-us", Kind: kind}})
	if err != nil {
		return err
	}
	for _, c := range d.clusters {
		d.say("cluster %s serves at %s (started in %.1f s)", c.Name, c.Ready.Server, c.Ready.StartedS)
	}
	return nil
}
