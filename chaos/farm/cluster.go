package farm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/slipway-build/slipway/internal/devclusters"
)

// Cluster is a Kubernetes control plane with simulated nodes, which stands for many clusters: each has namespaces of its
// own, and a Gate.
type Cluster struct {
	Config *rest.Config // of its administrator
	Audit  string       // file of the audit log of its API server

	program, dir string
	list         []*devclusters.Cluster
}

var errNoCluster = errors.New("there is no program that starts clusters: `make tools` builds it")

// StartCluster starts one whose files are in a folder, and waits until it serves.
func StartCluster(ctx context.Context, dir string) (*Cluster, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("start a cluster: %w", err)
	}
	c := &Cluster{program: filepath.Join(cache, "slipway", "bin", "devcluster")}
	if c.dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("start a cluster: %w", err)
	}
	if _, err := os.Stat(c.program); err != nil {
		return nil, errors.Join(errNoCluster, err)
	}
	c.Stop() // what an earlier experiment left that was killed
	if err := os.RemoveAll(c.dir); err != nil {
		return nil, fmt.Errorf("empty the folder of a cluster: %w", err)
	}
	wctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	c.list, err = devclusters.Start(wctx, devclusters.Config{Program: c.program, Dir: c.dir}, []devclusters.Spec{{Name: "all", Kind: devclusters.Simulated}})
	if err == nil {
		c.Audit = c.list[0].Ready.Audit
		c.Config, err = clientcmd.BuildConfigFromFlags("", c.list[0].Ready.Kubeconfig)
	}
	if err != nil {
		c.Stop()
		return nil, fmt.Errorf("start a cluster: %w", err)
	}
	c.Config.QPS, c.Config.Burst = 500, 500
	return c, nil
}

// Stop ends it.
func (c *Cluster) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_ = devclusters.Stop(ctx, c.program, c.dir, c.list) // what does not end is ended by the next experiment
}
