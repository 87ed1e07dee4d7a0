// Package cluster puts a development cluster together from its parts and takes it down again.
//
// It reads no flags and no environment, and prints nothing but what it is asked to say through Options.Progress.
package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/slipway-build/slipway/scripts/devcluster/clusterdir"
	"github.com/slipway-build/slipway/scripts/devcluster/controlplane"
	"github.com/slipway-build/slipway/scripts/devcluster/pki"
	"github.com/slipway-build/slipway/scripts/devcluster/simulate"
)

// The kinds of cluster.
const (
	KindKwok = "kwok"
	KindNode = "node"
)

// Options say what to bring up.
type Options struct {
	Dir, Name, Kind string
	// Nodes is how many nodes a kwok cluster simulates.
	Nodes int
	// Port is the API server's; 0 takes a free one. A cluster with a real node always uses 6443: its address is its own.
	Port  int
	Audit bool
	Lean  bool
	// Node holds what only a cluster with a real node needs.
	Node NodeOptions
	// Progress is told what has been reached, Log takes what the components log.
	Progress func(format string, args ...any)
	Log      *os.File
}

// NodeOptions belong to a cluster with a real node.
type NodeOptions struct {
	// Index chooses the addresses (package address).
	Index int
	// Bin is the folder of kubelet, containerd and the other programs; Self is this program.
	Bin, Self  string
	Registries []Registry
}

// Registry is a registry that the node pulls from.
type Registry struct {
	// Name is the host part of image references, URL where it is served.
	Name string `json:"name"`
	URL  string `json:"url"`
	// CA is a PEM file, Auth a file that holds user:password. Both may be empty.
	CA   string `json:"ca,omitempty"`
	Auth string `json:"auth,omitempty"`
}

// Up brings a cluster up, writes ready.json, and keeps it up until ctx ends.
func Up(ctx context.Context, o Options) error {
	if problems := validation.IsDNS1123Label(o.Name); len(problems) > 0 {
		return fmt.Errorf("--name %q: %s", o.Name, strings.Join(problems, "; "))
	}
	dir, err := clusterdir.Open(o.Dir)
	if err != nil {
		return err
	}
	release, err := dir.Lock()
	if err != nil {
		return err
	}
	defer release()
	// What an earlier cluster left says nothing about this one.
	if err := dir.RemoveReady(); err != nil {
		return err
	}
	switch o.Kind {
	case KindKwok:
		err = upKwok(ctx, dir, o)
	case KindNode:
		err = upNode(ctx, dir, o)
	default:
		err = fmt.Errorf("--kind %s: expected %s or %s", o.Kind, KindKwok, KindNode)
	}
	if removeErr := dir.RemoveReady(); err == nil {
		err = removeErr
	}
	return err
}

func upKwok(ctx context.Context, dir clusterdir.Dir, o Options) error {
	began := time.Now()
	if err := dir.MakeSockets(); err != nil {
		return err
	}
	defer os.RemoveAll(dir.Sockets()) // a leftover is removed by the next start
	sim := simulate.Config{Nodes: o.Nodes, Socket: filepath.Join(dir.Sockets(), "egress.sock"), Log: o.Log}
	guard, err := simulate.Listen(sim)
	if err != nil {
		return err
	}
	defer guard.Close()
	if o.Port < 0 || o.Port > 65535 {
		return fmt.Errorf("--port %d: expected a number from 0 (a free one) to 65535", o.Port)
	}
	cfg := controlplane.Config{
		Dir: dir, Name: o.Name, Bind: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(o.Port)),
		Services:     netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 96, 0, 0}), 16),
		EgressSocket: sim.Socket, Lean: o.Lean, Audit: o.Audit, Log: o.Log, Progress: o.Progress,
	}
	err = controlplane.Run(ctx, cfg, func(ctx context.Context, api controlplane.API) error {
		kubeconfig, err := api.Kubeconfig(pki.Subject{User: "kwok", Groups: []string{"system:masters"}}, "kwok")
		if err != nil {
			return err
		}
		target := simulate.API{Kubeconfig: kubeconfig, Client: api.Admin, Authority: api.Authority}
		return simulate.Run(ctx, sim, target, guard, func() error {
			ready := clusterdir.Ready{
				Name: o.Name, Kind: o.Kind, Kubeconfig: dir.Kubeconfig("admin"), Server: api.Server, PID: os.Getpid(),
				StartedS: time.Since(began).Seconds(), Simulated: true,
			}
			if o.Audit {
				ready.AuditLog = dir.Path("audit.log")
			}
			if err := dir.WriteReady(ready); err != nil {
				return err
			}
			o.Progress("%d simulated nodes are ready: export KUBECONFIG=%s", o.Nodes, ready.Kubeconfig)
			return nil
		})
	})
	if err != nil && ctx.Err() != nil {
		return nil // asked to stop while it was starting
	}
	return err
}
