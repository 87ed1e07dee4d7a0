package devfarm

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	coordinatorconfig "github.com/slipway-build/slipway/coordinator/config"
	deployerconfig "github.com/slipway-build/slipway/deploy/config"
	"github.com/slipway-build/slipway/internal/engines"
	"github.com/slipway-build/slipway/internal/queue"
	"github.com/slipway-build/slipway/internal/rpc"
	workerconfig "github.com/slipway-build/slipway/worker/config"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
)

// RedisFile in the state folder names the address of the farm's Redis; its password is
// secrets/redis.
const RedisFile = "redis.addr"

func (p *parts) coordinator() (coordinatorconfig.Config, error) {
	role := engines.RegistryPull
	if p.cfg.SigningKey != "" { // signatures are beside images
		role = engines.RegistryPush
	}
	auth, err := p.secrets.DockerConfig(p.registry, role)
	if err != nil {
		return coordinatorconfig.Config{}, err
	}
	// The HTTP listener's port must be known before it listens.
	http, err := free(p.cfg.Ports.HTTP)
	if err != nil {
		return coordinatorconfig.Config{}, err
	}
	p.http = http
	hash := func(name string) string { return rpc.HashToken(p.secrets.Get(name)) }
	c := coordinatorconfig.Config{
		Name: "coordinator", Listen: fmt.Sprintf("127.0.0.1:%d", p.cfg.Ports.GRPC), HTTP: http, State: filepath.Join(p.cfg.State, "coordinator"),
		NATS:    queue.Address{URL: p.natsURL, User: engines.NATSCoordinator, PasswordFile: p.secrets.File(engines.NATSCoordinator)},
		Redis:   coordinatorconfig.Redis{Address: p.redis, PasswordFile: p.secrets.File(engines.RedisPassword)},
		Targets: p.cfg.Targets, Advisories: p.cfg.Advisories, Registry: p.registry, RegistryAuth: auth, LocalPaths: p.cfg.LocalPaths, LeaseTTL: p.cfg.LeaseTTL,
		Telemetry: coordinatorconfig.Telemetry{OTLP: p.cfg.OTLP},
		Tokens: []coordinatorconfig.Token{
			{Name: "admin", Hash: hash(engines.AdminToken), Role: "administer"},
			{Name: "worker", Hash: hash(engines.WorkerToken), Role: "worker"},
			{Name: "deployer", Hash: hash(engines.DeployerToken), Role: "worker"},
		},
	}
	if err := c.Signing.Read(p.cfg.SigningKey, p.cfg.SigningPassword); err != nil {
		return coordinatorconfig.Config{}, err
	}
	c.BaseImages.Resolve = true
	for _, r := range engines.BuildKitRegistries(p.registry) {
		c.BaseImages.Registries = append(c.BaseImages.Registries, coordinatorconfig.BaseRegistry{Host: r.Host, Mirrors: r.Mirrors})
	}
	c.Default()
	return c, c.Validate()
}

func free(port int) (string, error) {
	if port != 0 {
		return fmt.Sprintf("127.0.0.1:%d", port), nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (p *parts) worker() (workerconfig.Config, error) {
	auth, err := p.secrets.DockerConfig(p.registry, engines.RegistryPush)
	if err != nil {
		return workerconfig.Config{}, err
	}
	data, err := os.ReadFile(auth)
	if err != nil {
		return workerconfig.Config{}, fmt.Errorf("read docker config: %w", err)
	}
	login, err := buildkit.ParseAuth(data)
	if err != nil {
		return workerconfig.Config{}, fmt.Errorf("read docker config: %w", err)
	}
	slots := map[string]int{workerconfig.CapabilityRender: 4}
	if p.cfg.BuildSlots > 0 {
		slots[workerconfig.CapabilityBuild] = p.cfg.BuildSlots
	}
	return workerconfig.Config{
		Name:         "worker",
		Coordinator:  workerconfig.Coordinator{Address: p.grpc, Token: p.secrets.Get(engines.WorkerToken)},
		NATS:         &queue.Address{URL: p.natsURL, User: engines.NATSWorker, PasswordFile: p.secrets.File(engines.NATSWorker), InboxPrefix: engines.WorkerInbox},
		BuildKit:     p.buildkit,
		Disk:         &workerconfig.Disk{Path: p.buildkitRoot()},
		RegistryAuth: auth, Auth: login,
		Slots:     slots,
		Pressure:  workerconfig.DefaultPressure(),
		State:     filepath.Join(p.cfg.State, "work"),
		Telemetry: workerconfig.Telemetry{OTLP: p.cfg.OTLP},
		Drain:     time.Minute, Version: p.cfg.Version,
	}.Complete()
}

func (p *parts) deployer() (deployerconfig.Config, error) {
	c := deployerconfig.Config{
		Name:        "deployer",
		Coordinator: deployerconfig.Coordinator{Address: p.grpc, Token: p.secrets.Get(engines.DeployerToken)},
		Clusters:    map[string]deployerconfig.Cluster{}, Slots: 32, Drain: time.Minute,
	}
	if p.cfg.Prometheus != "" {
		c.Metrics.Prometheus = &deployerconfig.Endpoint{Address: p.cfg.Prometheus}
	}
	for name, k := range p.cfg.Clusters {
		c.Clusters[name] = deployerconfig.Cluster{Kubeconfig: k.Kubeconfig, Context: k.Context, AllowExec: k.AllowExec, Allow: deployerconfig.Allow{Kinds: k.Kinds}}
	}
	return c.Complete()
}
