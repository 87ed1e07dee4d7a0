package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/klog/v2"

	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/internal/clientfile"
	"github.com/slipway-build/slipway/internal/devfarm"
	"github.com/slipway-build/slipway/internal/gitcmd"
	"github.com/slipway-build/slipway/internal/telemetry"
	"github.com/slipway-build/slipway/slipway/command"
	"github.com/slipway-build/slipway/slipway/doctor"
)

// farm runs the whole farm in this process, whose environment it is given.
func farm(ctx context.Context, environ []string, c command.FarmConfig, ready func()) (err error) {
	log, err := telemetry.NewLogger(os.Stderr, telemetry.LogConfig{Format: c.LogFormat, Level: c.LogLevel})
	if err != nil {
		return err
	}
	klog.SetSlogLogger(log) // the Kubernetes client's
	home, err := os.UserHomeDir()
	if err != nil {
		return fmt.Errorf("find the home folder: %w", err)
	}
	targets := c.Targets
	for _, file := range []*string{&targets, &c.Advisories, &c.SigningKey, &c.SigningPassword} {
		if *file == "" {
			continue
		}
		if *file, err = filepath.Abs(*file); err != nil {
			return fmt.Errorf("find %s: %w", *file, err)
		}
	}
	tools := filepath.Join(home, ".cache", "slipway", "bin")
	if c.DevClusters {
		stop, serr := devClusters(ctx, &c, tools, os.Stderr)
		defer func() { err = errors.Join(err, stop(context.WithoutCancel(ctx))) }()
		if serr != nil {
			return serr
		}
	}
	clusters, err := clusters(c, log)
	if err != nil {
		return err
	}
	return devfarm.Run(ctx, devfarm.Config{
		State: c.State, Tools: tools, Targets: targets, Advisories: c.Advisories, SigningKey: c.SigningKey, SigningPassword: c.SigningPassword, Clusters: clusters,
		Ports: devfarm.DefaultPorts(), RegistryHosts: c.RegistryListen, OTLP: c.Traces, Prometheus: c.Prometheus,
		// Whoever can start a farm here can read these folders anyway.
		LocalPaths: []string{"/"},
		Version:    built().Version, GitEnv: gitcmd.PassThrough(environ), Env: environ, Log: log, Ready: func(clientfile.File) { ready() },
	})
}

// clusters finds a context for each cluster of targets.yaml, in one file of their own:
// the deployer must not depend on what the user does to theirs.
func clusters(c command.FarmConfig, log *slog.Logger) (map[string]devfarm.Cluster, error) {
	if c.Targets == "" {
		return nil, nil
	}
	data, err := os.ReadFile(c.Targets)
	if err != nil {
		return nil, fmt.Errorf("targets: %w", err)
	}
	t, problems := pipeline.ParseTargets(c.Targets, data)
	if len(problems) > 0 {
		return nil, problems
	}
	kube, err := kubeconfig(c.Kubeconfig)
	if err != nil {
		return nil, err
	}
	if err := clientcmdapi.FlattenConfig(kube); err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	file := filepath.Join(c.State, "kubeconfig")
	out := map[string]devfarm.Cluster{}
	var missing []string
	for _, cluster := range t.Clusters {
		name := cluster.Name
		if other := c.Contexts[name]; other != "" {
			name = other
		}
		if kube.Contexts[name] == nil {
			missing = append(missing, fmt.Sprintf("cluster %s: the kubeconfig has no context %q", cluster.Name, name))
			continue
		}
		out[cluster.Name] = devfarm.Cluster{Kubeconfig: file, Context: name, AllowExec: c.AllowExec}
	}
	if len(missing) > 0 {
		have := strings.Join(slices.Sorted(maps.Keys(kube.Contexts)), ", ")
		if have == "" {
			have = "none"
		}
		return nil, errors.New(strings.Join(missing, "\n") + "\ncontexts that it has: " + have + "; name one with --context CLUSTER=CONTEXT, another file with --kubeconfig, or start clusters on this machine with --dev-clusters")
	}
	if err := os.MkdirAll(c.State, 0o700); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	if err := clientcmd.WriteToFile(*kube, file); err != nil {
		return nil, fmt.Errorf("write kubeconfig: %w", err)
	}
	log.Info("clusters", "count", len(out))
	return out, nil
}

// kubeconfig reads files, separated as in KUBECONFIG; empty: the user's own.
func kubeconfig(paths string) (*clientcmdapi.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	if paths != "" {
		rules = &clientcmd.ClientConfigLoadingRules{Precedence: filepath.SplitList(paths)}
	}
	rules.WarnIfAllMissing = false
	kube, err := rules.Load()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return kube, nil
}

// contexts are those of a kubeconfig; with ask, each API server says its version, side by side.
func contexts(ctx context.Context, paths string, ask bool) ([]doctor.Context, error) {
	kube, err := kubeconfig(paths)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(kube.Contexts))
	out := make([]doctor.Context, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		c := &out[i]
		c.Name = name
		if user := kube.AuthInfos[kube.Contexts[name].AuthInfo]; user != nil && user.Exec != nil {
			c.Exec = user.Exec.Command // not started just to look
		}
		if !ask || c.Exec != "" {
			continue
		}
		wg.Go(func() {
			client, err := clientcmd.NewNonInteractiveClientConfig(*kube, name, &clientcmd.ConfigOverrides{}, nil).ClientConfig()
			if err == nil {
				c.Version, err = apiVersion(ctx, client)
			}
			c.Err = err
		})
	}
	wg.Wait()
	return out, nil
}

func apiVersion(ctx context.Context, cfg *rest.Config) (string, error) {
	cfg.Timeout = 3 * time.Second
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return "", err
	}
	data, err := client.RESTClient().Get().AbsPath("/version").DoRaw(ctx)
	if err != nil {
		return "", err
	}
	var v struct {
		GitVersion string `json:"gitVersion"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return "", err
	}
	return v.GitVersion, nil
}

func ports() map[string]int {
	p := devfarm.DefaultPorts()
	return map[string]int{"gRPC": p.GRPC, "HTTP": p.HTTP, "NATS": p.NATS, "registry": p.Registry}
}
