package devfarm

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nats-io/nats-server/v2/server"

	coordinatorconfig "github.com/slipway-build/slipway/coordinator/config"
	deployerconfig "github.com/slipway-build/slipway/deploy/config"
	"github.com/slipway-build/slipway/internal/queue"
	"github.com/slipway-build/slipway/internal/rpc"
	workerconfig "github.com/slipway-build/slipway/worker/config"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
)

// workerInbox is where a worker's NATS credential may receive answers.
const workerInbox = "_INBOX_worker"

// RedisFile in the state folder names the address of the farm's Redis; its password is
// secrets/redis.
const RedisFile = "redis.addr"

// startNATS embeds the server: JetStream on disk, every write synced. A worker's
// credential can take hints and nothing else.
func startNATS(cfg Config, s *secrets) (*server.Server, error) {
	opts := &server.Options{
		ServerName: "slipway", Host: "127.0.0.1", Port: port(cfg.Ports.NATS), NoSigs: true, NoLog: true, JetStream: true,
		StoreDir: filepath.Join(cfg.State, "nats"), SyncAlways: true,
		Users: []*server.User{
			{Username: natsCoordinator, Password: s.get(natsCoordinator)},
			{Username: natsWorker, Password: s.get(natsWorker), Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: queue.WorkerMayPublish()},
				Subscribe: &server.SubjectPermission{Allow: []string{workerInbox + ".>"}},
			}},
		},
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("NATS: %w", err)
	}
	srv.Start()
	if !srv.ReadyForConnections(20 * time.Second) {
		srv.Shutdown()
		return nil, fmt.Errorf("NATS is not ready on port %d: is another farm running?", cfg.Ports.NATS)
	}
	return srv, nil
}

// startRedis embeds a Redis in memory. What is in it is built again at every start.
func startRedis(cfg Config, s *secrets) (*miniredis.Miniredis, error) {
	m := miniredis.NewMiniRedis()
	m.RequireAuth(s.get(redisPassword))
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("start Redis: %w", err)
	}
	if err := os.WriteFile(filepath.Join(cfg.State, RedisFile), []byte(m.Addr()+"\n"), 0o600); err != nil {
		m.Close()
		return nil, fmt.Errorf("start Redis: %w", err)
	}
	return m, nil
}

// port is NATS's word for a port of the system's choice.
func port(n int) int {
	if n == 0 {
		return server.RANDOM_PORT
	}
	return n
}

func (p *parts) coordinator() (coordinatorconfig.Config, error) {
	auth, err := p.secrets.dockerConfig(p.registry, registryPull)
	if err != nil {
		return coordinatorconfig.Config{}, err
	}
	// The HTTP listener's port must be known before it listens.
	http, err := free(p.cfg.Ports.HTTP)
	if err != nil {
		return coordinatorconfig.Config{}, err
	}
	p.http = http
	hash := func(name string) string { return rpc.HashToken(p.secrets.get(name)) }
	c := coordinatorconfig.Config{
		Name: "coordinator", Listen: fmt.Sprintf("127.0.0.1:%d", p.cfg.Ports.GRPC), HTTP: http, State: filepath.Join(p.cfg.State, "coordinator"),
		NATS:    queue.Address{URL: p.natsURL, User: natsCoordinator, PasswordFile: p.secrets.file(natsCoordinator)},
		Redis:   coordinatorconfig.Redis{Address: p.redis, PasswordFile: p.secrets.file(redisPassword)},
		Targets: p.cfg.Targets, Registry: p.registry, RegistryAuth: auth, LocalPaths: p.cfg.LocalPaths, LeaseTTL: p.cfg.LeaseTTL,
		Telemetry: coordinatorconfig.Telemetry{OTLP: p.cfg.OTLP},
		Tokens: []coordinatorconfig.Token{
			{Name: "admin", Hash: hash(adminToken), Role: "administer"},
			{Name: "worker", Hash: hash(workerToken), Role: "worker"},
			{Name: "deployer", Hash: hash(deployerToken), Role: "worker"},
		},
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
	auth, err := p.secrets.dockerConfig(p.registry, registryPush)
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
	return workerconfig.Config{
		Name:         "worker",
		Coordinator:  workerconfig.Coordinator{Address: p.grpc, Token: p.secrets.get(workerToken)},
		NATS:         &queue.Address{URL: p.natsURL, User: natsWorker, PasswordFile: p.secrets.file(natsWorker), InboxPrefix: workerInbox},
		BuildKit:     p.buildkit,
		Disk:         &workerconfig.Disk{Path: p.buildkitRoot()},
		RegistryAuth: auth, Auth: login,
		Slots:     map[string]int{workerconfig.CapabilityBuild: p.cfg.BuildSlots, workerconfig.CapabilityRender: 4},
		State:     filepath.Join(p.cfg.State, "work"),
		Telemetry: workerconfig.Telemetry{OTLP: p.cfg.OTLP},
		Drain:     time.Minute, Version: p.cfg.Version,
	}.Complete()
}

func (p *parts) deployer() (deployerconfig.Config, error) {
	c := deployerconfig.Config{
		Name:        "deployer",
		Coordinator: deployerconfig.Coordinator{Address: p.grpc, Token: p.secrets.get(deployerToken)},
		Clusters:    map[string]deployerconfig.Cluster{}, Slots: 8, Drain: time.Minute,
	}
	for name, k := range p.cfg.Clusters {
		c.Clusters[name] = deployerconfig.Cluster{Kubeconfig: k.Kubeconfig, Context: k.Context, AllowExec: k.AllowExec, Allow: deployerconfig.Allow{Kinds: k.Kinds}}
	}
	return c.Complete()
}
