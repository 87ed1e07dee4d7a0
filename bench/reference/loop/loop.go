// Package loop rolls services out as a script does: kubectl apply and kubectl rollout status, or helm upgrade --install --wait,
// one service after the other.
package loop

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/slipway-build/slipway/bench/node"
)

// Loop is a script.
type Loop struct {
	Kubectl, Helm string // programs
	Kubeconfig    string
	Dir           string // of files
	Namespace     string
	Services      int
}

// Report of a loop.
type Report struct {
	Elapsed time.Duration
	CPU     float64 // of the programs
}

// Build compiles kubectl of the version in go.mod.
func Build(ctx context.Context, dir string) (program string, err error) {
	program = filepath.Join(dir, "kubectl")
	out, err := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./reference/kubectl").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build kubectl: %w\n%s", err, out)
	}
	return program, nil
}

// ByKubectl applies each service and waits until its Deployment is rolled out.
func (l Loop) ByKubectl(ctx context.Context) (r Report, err error) {
	for n := range l.Services {
		name := node.Service(n)
		file := filepath.Join(l.Dir, name+".yaml")
		if err := os.WriteFile(file, node.Manifests(name), 0o600); err != nil {
			return r, fmt.Errorf("write manifests: %w", err)
		}
	}
	began := time.Now()
	for n := range l.Services {
		name := node.Service(n)
		err := r.run(ctx, l.Kubectl, "--kubeconfig", l.Kubeconfig, "-n", l.Namespace, "apply", "-f", filepath.Join(l.Dir, name+".yaml"))
		if err == nil {
			err = r.run(ctx, l.Kubectl, "--kubeconfig", l.Kubeconfig, "-n", l.Namespace, "rollout", "status", "deployment/"+name)
		}
		if err != nil {
			return r, err
		}
	}
	r.Elapsed = time.Since(began)
	return r, nil
}

// ByHelm installs a chart of each service and waits for it.
func (l Loop) ByHelm(ctx context.Context) (r Report, err error) {
	for n := range l.Services {
		name := node.Service(n)
		chart := filepath.Join(l.Dir, "charts", name)
		err := os.MkdirAll(filepath.Join(chart, "templates"), 0o755)
		if err == nil {
			err = os.WriteFile(filepath.Join(chart, "Chart.yaml"), fmt.Appendf(nil, "apiVersion: v2\nname: %s\nversion: 1.0.0\n", name), 0o600)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(chart, "templates", "all.yaml"), node.Manifests(name), 0o600)
		}
		if err != nil {
			return r, fmt.Errorf("write chart: %w", err)
		}
	}
	began := time.Now()
	for n := range l.Services {
		name := node.Service(n)
		if err := r.run(ctx, l.Helm, "--kubeconfig", l.Kubeconfig, "-n", l.Namespace, "upgrade", "--install", name, filepath.Join(l.Dir, "charts", name), "--wait"); err != nil {
			return r, err
		}
	}
	r.Elapsed = time.Since(began)
	return r, nil
}

func (r *Report) run(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %v: %w\n%s", filepath.Base(program), args, err, out)
	}
	r.CPU += (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	return nil
}
