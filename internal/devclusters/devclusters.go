// Package devclusters starts the development clusters of scripts/devcluster as programs
// of their own, for slipway up --dev-clusters and make demo: with a real node where the
// machine can run one, otherwise with simulated nodes. The nodes pull from the registry
// of a farm on this machine.
//
// It builds no cluster and knows nothing of what is rolled out there; what a cluster is
// made of is the program's matter.
package devclusters

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Kinds of cluster.
const (
	Real      = "node" // one real node in a network namespace
	Simulated = "kwok" // pods are scheduled and become ready, and nothing runs
)

// Config of clusters that are started together.
type Config struct {
	Program string // devcluster
	Dir     string // holds a folder for each cluster
	// Registry is the host and port in the names of images, with the port at which it is
	// served to nodes too; CA and Auth are files that devfarm.RegistryFiles made.
	Registry, CA, Auth string
	// Index is the address plan of the first real node; those in use are passed over.
	Index int
}

// Cluster is one that was started.
type Cluster struct {
	Name, Kind, Dir string
	Ready           Ready

	ended chan struct{}
	err   error // why it ended
}

// Ready is what devcluster says of itself.
type Ready struct {
	Kubeconfig string  `json:"kubeconfig"`
	Server     string  `json:"server"`
	Audit      string  `json:"audit_log"`
	Simulated  bool    `json:"simulated"`
	HostIP     string  `json:"host_ip"`
	StartedS   float64 `json:"started_s"`
}

// Best is the kind of cluster that this machine can run, and why it is not a real one.
func Best(ctx context.Context, program string) (kind, why string, err error) {
	out, err := exec.CommandContext(ctx, program, "doctor", "--kind", Real, "-o", "json").Output()
	var report struct {
		OK     bool `json:"ok"`
		Checks []struct {
			Name, Detail, Fix string
			OK                bool
		} `json:"checks"`
	}
	if jerr := json.Unmarshal(out, &report); jerr != nil {
		return "", "", errors.Join(fmt.Errorf("ask devcluster what this machine can run: %w", jerr), err)
	}
	if report.OK {
		return Real, "", nil
	}
	var reasons []string
	for _, c := range report.Checks {
		if !c.OK {
			reasons = append(reasons, c.Name+": "+c.Detail)
		}
	}
	return Simulated, strings.Join(reasons, "; "), nil
}

// Spec is a cluster that is wanted.
type Spec struct{ Name, Kind string }

// Start starts clusters side by side and waits until all serve. What was started is
// answered with an error too; Stop stops it.
func Start(ctx context.Context, cfg Config, specs []Spec) ([]*Cluster, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder for clusters: %w", err)
	}
	var list []*Cluster
	index := cfg.Index
	for _, s := range specs {
		c := &Cluster{Name: s.Name, Kind: s.Kind, Dir: filepath.Join(cfg.Dir, s.Name), ended: make(chan struct{})}
		var args []string
		if s.Kind == Real {
			for taken(index) {
				index++
			}
			var err error
			if args, err = cfg.nodeArgs(ctx, index); err != nil {
				return list, err
			}
			index++
		}
		if err := c.start(cfg.Program, args); err != nil {
			return list, err
		}
		list = append(list, c)
	}
	for _, c := range list {
		if err := c.wait(ctx); err != nil {
			return list, err
		}
	}
	return list, nil
}

// taken says that a cluster has the links of an address plan.
func taken(index int) bool {
	_, err := net.InterfaceByName(fmt.Sprintf("slipway-%d", index))
	return err == nil
}

// nodeArgs let the node pull what is named as the registry from the host's end of its link.
func (cfg Config) nodeArgs(ctx context.Context, n int) ([]string, error) {
	index := fmt.Sprint(n)
	out, err := exec.CommandContext(ctx, cfg.Program, "addresses", "--index", index).Output()
	var plan struct {
		HostIP string `json:"host_ip"`
	}
	if jerr := json.Unmarshal(out, &plan); jerr != nil {
		return nil, errors.Join(fmt.Errorf("ask devcluster for addresses: %w", jerr), err)
	}
	_, port, err := net.SplitHostPort(cfg.Registry)
	if err != nil {
		return nil, fmt.Errorf("address of the registry: %w", err)
	}
	return []string{"--index", index, "--registry", fmt.Sprintf("%s=https://%s,ca=%s,auth=%s", cfg.Registry, net.JoinHostPort(plan.HostIP, port), cfg.CA, cfg.Auth)}, nil
}

func (c *Cluster) start(program string, args []string) error {
	log, err := os.Create(c.Dir + ".log")
	if err != nil {
		return fmt.Errorf("cluster %s: %w", c.Name, err)
	}
	defer log.Close() // the child has its own
	// Not bound to a context: it is stopped by devcluster down, which also cleans up.
	cmd := exec.Command(program, append([]string{"up", "--dir", c.Dir, "--name", c.Name, "--kind", c.Kind}, args...)...) //nolint:noctx // as above
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is for whoever started it
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start cluster %s: %w", c.Name, err)
	}
	go func() { c.err = cmd.Wait(); close(c.ended) }()
	return nil
}

// wait until the cluster serves.
func (c *Cluster) wait(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		data, err := os.ReadFile(filepath.Join(c.Dir, "ready.json"))
		if err == nil {
			if err := json.Unmarshal(data, &c.Ready); err != nil {
				return fmt.Errorf("cluster %s: ready.json: %w", c.Name, err)
			}
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cluster %s: %w", c.Name, err)
		}
		select {
		case <-tick.C:
		case <-c.ended:
			return fmt.Errorf("cluster %s ended while it started: %w\n%s", c.Name, c.err, tail(c.Dir+".log"))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func tail(name string) string {
	log, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// Stop stops the clusters whose folders are in dir, those that an earlier process left
// too, and removes what they left but for their logs.
func Stop(ctx context.Context, program, dir string, list []*Cluster) error {
	folders, err := filepath.Glob(filepath.Join(dir, "*"))
	errs := []error{err}
	for _, folder := range folders {
		if info, err := os.Stat(folder); err != nil || !info.IsDir() {
			continue
		}
		out, err := exec.CommandContext(ctx, program, "down", "--dir", folder).CombinedOutput()
		if err != nil {
			errs = append(errs, fmt.Errorf("stop cluster %s: %w\n%s", filepath.Base(folder), err, out))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, c := range list {
		select {
		case <-c.ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
