package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-build/slipway/internal/devclusters"
	"github.com/slipway-build/slipway/internal/engines"
	"github.com/slipway-build/slipway/internal/rpc"
)

// targets are two clusters, one after the other, both with simulated nodes.
const targets = `version: 1
project: shop
clusters: { dev: { labels: { tier: nonprod } }, prod: { labels: { tier: prod } } }
environments:
  dev:  { clusters: { tier: nonprod }, namespace: shop-dev, strategy: rolling }
  prod: { clusters: { tier: prod }, namespace: shop, strategy: rolling, after: { env: dev, verified: true } }
`

// configure writes the configuration of every program, as those of a farm on many machines
// have it.
func (f *farm) configure() error {
	pull, err := f.secrets.DockerConfig(f.at.Registry, engines.RegistryPull)
	if err != nil {
		return err
	}
	push, err := f.secrets.DockerConfig(f.at.Registry, engines.RegistryPush)
	if err != nil {
		return err
	}
	files := map[string]string{"targets.yaml": targets, "deployer-1.yaml": f.deployer()}
	for i := range coordinators {
		files[fmt.Sprintf("coordinator-%d.yaml", i+1)] = f.coordinator(i, pull)
	}
	for i := range workers {
		files[fmt.Sprintf("worker-%d.yaml", i+1)] = f.worker(i, push)
	}
	for name, text := range files {
		if err := os.WriteFile(f.path(name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
	}
	return nil
}

func (f *farm) coordinator(i int, auth string) string {
	name := fmt.Sprintf("coordinator-%d", i+1)
	hash := func(secret string) string { return rpc.HashToken(f.secrets.Get(secret)) }
	return fmt.Sprintf(`name: %s
listen: %s
http: %s
state: %s
nats: { url: "%s", user: %s, password_file: %s }
redis: { address: %s, password_file: %s }
replicas: %d
targets: %s
registry: %s
registry_auth: %s
base_images: { resolve: true, registries: [%s] }
local_repositories: [%s]
tokens:
  - { name: admin, hash: "%s", role: administer }
  - { name: worker, hash: "%s", role: worker }
  - { name: deployer, hash: "%s", role: worker }
`, name, f.at.GRPC[i], f.at.HTTP[i], f.path(name), f.at.nats(), engines.NATSCoordinator, f.secrets.File(engines.NATSCoordinator),
		f.at.Redis, f.secrets.File(engines.RedisPassword), servers, f.path("targets.yaml"), f.at.Registry, auth, f.mirrors(), f.dir,
		hash(engines.AdminToken), hash(engines.WorkerToken), hash(engines.DeployerToken))
}

// mirrors are where the base images of the farm are.
func (f *farm) mirrors() string {
	var out []string
	for _, r := range engines.BuildKitRegistries(f.at.Registry) {
		out = append(out, fmt.Sprintf("{ host: %q, mirrors: [%s] }", r.Host, strings.Join(r.Mirrors, ", ")))
	}
	return strings.Join(out, ", ")
}

func (f *farm) worker(i int, auth string) string {
	name := fmt.Sprintf("worker-%d", i+1)
	return fmt.Sprintf(`name: %s
coordinator: { address: "%s", token_file: %s }
nats: { url: "%s", user: %s, password_file: %s, inbox_prefix: %s }
buildkit: %s
registry_auth: %s
slots: { build: 1, render: 1 }
state: %s
`, name, f.at.coordinator(), f.secrets.File(engines.WorkerToken), f.at.nats(), engines.NATSWorker, f.secrets.File(engines.NATSWorker), engines.WorkerInbox,
		f.buildkit.Address(), auth, f.path(name))
}

func (f *farm) deployer() string {
	var clusters []string
	for _, c := range f.clusters {
		clusters = append(clusters, fmt.Sprintf("%s: { kubeconfig: %s }", c.Name, c.Ready.Kubeconfig))
	}
	return fmt.Sprintf(`name: deployer-1
coordinator: { address: "%s", token_file: %s }
clusters: { %s }
`, f.at.coordinator(), f.secrets.File(engines.DeployerToken), strings.Join(clusters, ", "))
}

// specs of the clusters that targets names.
func specs() []devclusters.Spec {
	return []devclusters.Spec{{Name: "dev", Kind: devclusters.Simulated}, {Name: "prod", Kind: devclusters.Simulated}}
}

func (f *farm) path(elem ...string) string { return filepath.Join(append([]string{f.dir}, elem...)...) }
