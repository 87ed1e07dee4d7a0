//go:build e2e

package kill_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/enginetest"
	"github.com/slipway-build/slipway/internal/ociregistry"
	"github.com/slipway-build/slipway/internal/process"
)

// clusters of the environment, in the order of their address plans.
var clusters = [...]string{"eu", "us"}

// firstIndex is the address plan of the first cluster; make demo and other tests use others.
const firstIndex = 14

// ready is what devcluster says of a cluster that serves.
type ready struct {
	Kubeconfig string `json:"kubeconfig"`
	Audit      string `json:"audit_log"`
}

// startClusters starts both, side by side. Where no real node can run their nodes are simulated, and
// TestTheNodesAreReal says so.
func (f *farm) startClusters(ctx context.Context) error {
	var err error
	if f.registry, err = port(); err != nil {
		return err
	}
	f.real = exec.CommandContext(ctx, filepath.Join(tools(), "devcluster"), "doctor", "--kind", "node").Run() == nil
	running := map[string]*process.Process{}
	for i, name := range clusters {
		args := []string{filepath.Join(tools(), "devcluster"), "up", "--dir", f.path("clusters", name), "--name", name, "--kind", "kwok"}
		if f.real {
			more, err := f.nodeArgs(ctx, fmt.Sprint(firstIndex+i))
			if err != nil {
				return err
			}
			args = append(args[:len(args)-1], more...)
		}
		if running[name], err = f.program(name, args...); err != nil {
			return err
		}
		f.stop = append(f.stop, func() { // before the signal, so that nothing of the node stays
			_ = exec.CommandContext(context.WithoutCancel(ctx), args[0], "down", "--dir", f.path("clusters", name)).Run()
		})
	}
	for name, p := range running {
		var r ready
		err := until("cluster "+name, func() bool {
			data, err := os.ReadFile(f.path("clusters", name, "ready.json"))
			return err == nil && json.Unmarshal(data, &r) == nil || !p.Running()
		})
		if err == nil && r.Kubeconfig == "" {
			err = fmt.Errorf("cluster %s ended; see %s.log", name, name)
		}
		if err != nil {
			return err
		}
		f.clusters[name] = r
	}
	return nil
}

// nodeArgs lets a node pull what is named as the registry from the host's end of its link.
func (f *farm) nodeArgs(ctx context.Context, index string) ([]string, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(tools(), "devcluster"), "addresses", "--index", index).Output()
	var plan struct {
		HostIP string `json:"host_ip"`
	}
	if err := errors.Join(err, json.Unmarshal(out, &plan)); err != nil {
		return nil, fmt.Errorf("ask devcluster for addresses: %w", err)
	}
	ca, err := ociregistry.OpenCA(f.path("ca"), time.Now())
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.write("registry-ca.crt", "%s", ca.PEM()), f.write("pull-auth", "pull:%s", password)); err != nil {
		return nil, err
	}
	_, number, err := net.SplitHostPort(f.registry)
	host := net.JoinHostPort(plan.HostIP, number)
	f.nodes = append(f.nodes, host)
	registry := fmt.Sprintf("%s=https://%s,ca=%s,auth=%s", f.registry, host, f.path("registry-ca.crt"), f.path("pull-auth"))
	return []string{"node", "--index", index, "--registry", registry}, err
}

// listeners of the registry: loopback, and with TLS the nodes' links.
func (f *farm) listeners() ([]net.Listener, error) {
	l, err := net.Listen("tcp", f.registry)
	if err != nil {
		return nil, err
	}
	all := []net.Listener{l}
	ca, err := ociregistry.OpenCA(f.path("ca"), time.Now())
	if err != nil {
		return nil, err
	}
	for _, address := range f.nodes {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, err
		}
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		if l, err = ca.Listener(l, time.Now(), host); err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

func TestTheNodesAreReal(t *testing.T) {
	if !shared.real {
		enginetest.Missing(t, "the clusters' nodes are simulated: this machine cannot run real ones; devcluster doctor --kind node says why")
	}
}
