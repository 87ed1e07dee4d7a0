package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-build/slipway/internal/devfarm"
)

// cluster is a devcluster that runs.
type cluster struct {
	name  string
	kind  string // kwok, node
	dir   string
	ready ready
	ended chan struct{}
	err   error // why it ended
}

// ready is what devcluster says of itself.
type ready struct {
	Kubeconfig string  `json:"kubeconfig"`
	Server     string  `json:"server"`
	Simulated  bool    `json:"simulated"`
	HostIP     string  `json:"host_ip"`
	StartedS   float64 `json:"started_s"`
}

// nodeIndex is the address plan of the demo's first real node; the next has the next.
const nodeIndex = 7

// prodKind asks whether this machine can run a real node, and says so if not.
func (d *demo) prodKind(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(d.tools, "devcluster"), "doctor", "--kind", "node", "-o", "json").Output()
	var report struct {
		OK     bool `json:"ok"`
		Checks []struct {
			Name, Detail, Fix string
			OK                bool
		} `json:"checks"`
	}
	if jerr := json.Unmarshal(out, &report); jerr != nil {
		return "", errors.Join(fmt.Errorf("ask devcluster what this machine can run: %w", jerr), err)
	}
	if report.OK {
		return "node", nil
	}
	var why []string
	for _, c := range report.Checks {
		if !c.OK {
			why = append(why, c.Name+": "+c.Detail)
		}
	}
	d.say("this machine cannot run a real node, so pods in prod are SIMULATED and answer no request (%s)", strings.Join(why, "; "))
	return "kwok", nil
}

// startClusters starts dev with simulated nodes and two of prod with a real one each, side by side.
func (d *demo) startClusters(ctx context.Context) error {
	kind, err := d.prodKind(ctx)
	if err != nil {
		return err
	}
	ca, auth, err := devfarm.RegistryFiles(d.dir)
	if err != nil {
		return err
	}
	d.say("starting three clusters: dev (simulated nodes), prod-eu and prod-us (%s)", map[string]string{"node": "one real node each, in a network namespace of its own", "kwok": "simulated nodes"}[kind])
	d.clusters = []*cluster{{name: "dev", kind: "kwok"}, {name: "prod-eu", kind: kind}, {name: "prod-us", kind: kind}}
	for i, c := range d.clusters {
		var args []string
		if c.kind == "node" {
			args, err = d.nodeArgs(ctx, nodeIndex+i, ca, auth)
			if err != nil {
				return err
			}
		}
		if err := d.startCluster(c, args); err != nil {
			return err
		}
	}
	for _, c := range d.clusters {
		if err := c.wait(ctx); err != nil {
			return err
		}
		d.say("cluster %s serves at %s (started in %.1f s)", c.name, c.ready.Server, c.ready.StartedS)
	}
	return nil
}

// nodeArgs lets the node pull what is named 127.0.0.1:7423/… from the registry at the
// host's end of its link.
func (d *demo) nodeArgs(ctx context.Context, n int, ca, auth string) ([]string, error) {
	index := fmt.Sprint(n)
	out, err := exec.CommandContext(ctx, filepath.Join(d.tools, "devcluster"), "addresses", "--index", index).Output()
	var plan struct {
		HostIP string `json:"host_ip"`
	}
	if jerr := json.Unmarshal(out, &plan); jerr != nil {
		return nil, errors.Join(fmt.Errorf("ask devcluster for addresses: %w", jerr), err)
	}
	return []string{"--index", index, "--registry", fmt.Sprintf("127.0.0.1:7423=https://%s:7423,ca=%s,auth=%s", plan.HostIP, ca, auth)}, nil
}

func (d *demo) startCluster(c *cluster, args []string) error {
	c.dir = filepath.Join(d.dir, "clusters", c.name)
	log, err := os.Create(c.dir + ".log")
	if err != nil {
		return fmt.Errorf("cluster %s: %w", c.name, err)
	}
	defer log.Close()
	// Not bound to a context: it is stopped by devcluster down, which also cleans up.
	cmd := exec.Command(filepath.Join(d.tools, "devcluster"), append([]string{"up", "--dir", c.dir, "--name", c.name, "--kind", c.kind}, args...)...) //nolint:noctx // as above
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start cluster %s: %w", c.name, err)
	}
	c.ended = make(chan struct{})
	go func() { c.err = cmd.Wait(); close(c.ended) }()
	return nil
}

// wait until the cluster serves.
func (c *cluster) wait(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		data, err := os.ReadFile(filepath.Join(c.dir, "ready.json"))
		if err == nil {
			if err := json.Unmarshal(data, &c.ready); err != nil {
				return fmt.Errorf("cluster %s: ready.json: %w", c.name, err)
			}
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cluster %s: %w", c.name, err)
		}
		select {
		case <-tick.C:
		case <-c.ended:
			log, _ := os.ReadFile(c.dir + ".log")
			lines := strings.Split(strings.TrimSpace(string(log)), "\n")
			return fmt.Errorf("cluster %s ended while it started: %w\n%s", c.name, c.err, strings.Join(lines[max(0, len(lines)-15):], "\n"))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
