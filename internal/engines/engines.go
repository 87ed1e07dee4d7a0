// Package engines are those that a farm on one machine needs and a real one has by address:
// NATS, Redis and an OCI registry, each with generated credentials, and what BuildKit must
// know of the registry. A whole farm in one process has them in that process, one of many
// processes has each in its own.
//
// It starts no process, and knows nothing of what the programs do with an engine.
package engines

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/slipway-build/slipway/internal/baseimages"
	"github.com/slipway-build/slipway/internal/buildkitd"
	"github.com/slipway-build/slipway/internal/ociregistry"
	"github.com/slipway-build/slipway/internal/queue"
)

// WorkerInbox is where a worker's NATS credential may receive answers.
const WorkerInbox = "_INBOX_worker"

// NATS is a server on loopback with JetStream on disk, every write synced.
type NATS struct {
	Name  string // of the server, unique in its cluster
	Port  int    // 0: one of the system's choice
	Store string // folder
	// Routes are the addresses, "127.0.0.1:7443", at which the servers of a cluster find each
	// other; Cluster is this one's. None: it stands alone.
	Routes  []string
	Cluster string
}

// Start starts it. A worker's credential can take hints and nothing else.
func (n NATS) Start(s *Secrets) (*server.Server, error) {
	opts := &server.Options{
		ServerName: n.Name, Host: "127.0.0.1", Port: n.Port, NoSigs: true, NoLog: true, JetStream: true, StoreDir: n.Store, SyncAlways: true,
		Users: []*server.User{
			{Username: NATSCoordinator, Password: s.Get(NATSCoordinator)},
			{Username: NATSWorker, Password: s.Get(NATSWorker), Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: queue.WorkerMayPublish()},
				Subscribe: &server.SubjectPermission{Allow: []string{WorkerInbox + ".>"}},
			}},
		},
	}
	if n.Port == 0 {
		opts.Port = server.RANDOM_PORT // NATS's word for it
	}
	if len(n.Routes) > 0 {
		if err := n.join(opts, s); err != nil {
			return nil, err
		}
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("NATS: %w", err)
	}
	srv.Start()
	if !srv.ReadyForConnections(20 * time.Second) {
		srv.Shutdown()
		return nil, fmt.Errorf("NATS is not ready on port %d: is another farm running?", n.Port)
	}
	return srv, nil
}

// join makes it one of a cluster, whose servers have a credential of their own.
func (n NATS) join(opts *server.Options, s *Secrets) error {
	at, err := net.ResolveTCPAddr("tcp", n.Cluster)
	if err != nil {
		return fmt.Errorf("NATS: address in the cluster: %w", err)
	}
	opts.Cluster = server.ClusterOpts{Name: "slipway", Host: at.IP.String(), Port: at.Port, Username: NATSCluster, Password: s.Get(NATSCluster)}
	for _, r := range n.Routes {
		opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats-route", Host: r, User: url.UserPassword(NATSCluster, s.Get(NATSCluster))})
	}
	return nil
}

// StartRedis starts one in memory. What is in it is built again at every start.
func StartRedis(address string, s *Secrets) (*miniredis.Miniredis, error) {
	m := miniredis.NewMiniRedis()
	m.RequireAuth(s.Get(RedisPassword))
	if err := m.StartAddr(address); err != nil {
		return nil, fmt.Errorf("start Redis: %w", err)
	}
	return m, nil
}

// NewRegistry opens the registry of a state folder, with the mirror of base images.
func NewRegistry(state string, s *Secrets, log *slog.Logger) (*ociregistry.Server, error) {
	return ociregistry.New(ociregistry.Config{
		Dir: filepath.Join(state, "registry"), MirrorDir: filepath.Join(state, "mirror"), Log: log,
		Credentials: []ociregistry.Credential{
			{User: RegistryPush, Password: s.Get(RegistryPush), Role: ociregistry.Push},
			{User: RegistryPull, Password: s.Get(RegistryPull), Role: ociregistry.Pull},
			{User: RegistryMirror, Password: s.Get(RegistryMirror), Role: ociregistry.Mirror},
		},
	})
}

// BuildKitRegistries lets BuildKit reach the farm's registry, and take base images from its mirror.
func BuildKitRegistries(registry string) []buildkitd.Registry {
	list := []buildkitd.Registry{{Host: registry, PlainHTTP: true}}
	for _, host := range baseimages.Hosts() {
		list = append(list, buildkitd.Registry{Host: host, Mirrors: []string{registry + "/" + ociregistry.MirrorOf(host)}})
	}
	return list
}
