// Package devfarm runs a whole farm in one process, for a laptop and for tests: an
// embedded NATS with JetStream on disk, a Redis, an OCI registry, BuildKit as a child,
// and the coordinator, worker and deployer as they run apart. It holds no logic of
// theirs: it makes credentials and configurations, and starts and stops in order.
package devfarm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	coordinator "github.com/slipway-build/slipway/coordinator/server"
	deployer "github.com/slipway-build/slipway/deploy/server"
	"github.com/slipway-build/slipway/internal/buildkitd"
	"github.com/slipway-build/slipway/internal/clientfile"
	"github.com/slipway-build/slipway/internal/engines"
	"github.com/slipway-build/slipway/internal/ociregistry"
	worker "github.com/slipway-build/slipway/worker/server"
)

// Config of a farm. Ports that are 0 are chosen by the system.
type Config struct {
	// State keeps everything; the caller sees to it that one farm at a time uses it.
	State string
	// Tools is where buildkitd is looked for besides PATH: ~/.cache/slipway/bin.
	Tools string
	// Targets is the platform team's targets.yaml; empty: nothing is deployed.
	Targets string
	// Advisories is a folder with what is known of vulnerable packages; empty: none are scanned.
	Advisories string
	// SigningKey and SigningPassword are files: a private key that images are signed with, and its
	// password; empty: nothing is signed, and the key is not encrypted.
	SigningKey, SigningPassword string
	// Clusters by their name in targets.yaml.
	Clusters map[string]Cluster
	// Ports of the listeners, all on loopback.
	Ports Ports
	// RegistryHosts are further addresses, "10.250.1.1:7423", on which the registry is
	// served with TLS, for the nodes of clusters. RegistryFiles has what they need.
	RegistryHosts []string
	// BuildKitRoot keeps the build cache; empty: State/buildkit.
	BuildKitRoot string
	// BuildSlots are builds and tests at once; 0: 8, of which BuildKit carries out four steps at a time or
	// one for each processor; below: none, they are for workers of other processes.
	BuildSlots int
	// LeaseTTL of tasks; 0: 10 s.
	LeaseTTL time.Duration
	// Prometheus is the address of the one that analyses ask, "http://127.0.0.1:9090"; empty: none.
	Prometheus string
	// OTLP receives traces, "host:port"; empty: none.
	OTLP string
	// LocalPaths are folders below which a repository may be named by path.
	LocalPaths []string
	Version    string
	// GitEnv is what git may see of the environment (gitcmd.PassThrough).
	GitEnv []string
	// Env is the environment of BuildKit's daemon; nil: that of this process, and OTLP does not reach it.
	Env []string
	Log *slog.Logger
	// Ready is called once runs can be submitted.
	Ready func(clientfile.File)
}

// Cluster is how to reach a cluster.
type Cluster struct {
	Kubeconfig string
	Context    string   // empty: the file's current one
	AllowExec  bool     // it may start a program for credentials
	Kinds      []string // of the whole cluster, that releases may have: "ClusterRole.rbac.authorization.k8s.io"
}

// Ports of a farm.
type Ports struct{ GRPC, HTTP, NATS, Registry int }

// DefaultPorts are those of a farm that nobody configured.
func DefaultPorts() Ports { return Ports{GRPC: 7420, HTTP: 7421, NATS: 7422, Registry: 7423} }

// parts are what a running farm's configurations need to know of each other.
type parts struct {
	cfg      Config
	secrets  *engines.Secrets
	natsURL  string
	redis    string // host:port
	registry string // host:port on loopback
	buildkit string
	grpc     string
	http     string
}

// Run runs the farm until the context ends, then stops it: first what takes work, then
// what the work needs.
func Run(ctx context.Context, cfg Config) error {
	if cfg.BuildSlots == 0 {
		cfg.BuildSlots = 8
	}
	sec, err := engines.OpenSecrets(filepath.Join(cfg.State, "secrets"))
	if err != nil {
		return err
	}
	p := &parts{cfg: cfg, secrets: sec}
	// What the programs need lives longer than they do.
	base, stopBase := context.WithCancel(context.WithoutCancel(ctx))
	engines, base := errgroup.WithContext(base)
	err = p.startEngines(base, engines)
	if err == nil {
		err = p.programs(ctx, base)
	}
	stopBase()
	if engineErr := engines.Wait(); err == nil || errors.Is(err, errEngine) {
		err = engineErr
	}
	return err
}

// errEngine: something that the programs need has ended; its own error says why.
var errEngine = errors.New("an engine of the farm has stopped")

func (p *parts) startEngines(ctx context.Context, g *errgroup.Group) error {
	nats, err := engines.NATS{Name: "slipway", Port: p.cfg.Ports.NATS, Store: filepath.Join(p.cfg.State, "nats")}.Start(p.secrets)
	if err != nil {
		return err
	}
	g.Go(func() error { <-ctx.Done(); nats.Shutdown(); nats.WaitForShutdown(); return nil })
	p.natsURL = nats.ClientURL()
	redis, err := engines.StartRedis("127.0.0.1:0", p.secrets)
	if err != nil {
		return err
	}
	g.Go(func() error { <-ctx.Done(); redis.Close(); return nil })
	p.redis = redis.Addr()
	if err := os.WriteFile(filepath.Join(p.cfg.State, RedisFile), []byte(p.redis+"\n"), 0o600); err != nil {
		return fmt.Errorf("note where Redis is: %w", err)
	}
	if err := p.startRegistry(ctx, g); err != nil {
		return err
	}
	d, err := p.newBuildKit()
	if err != nil {
		return err
	}
	p.buildkit = d.Address()
	g.Go(func() error { return d.Run(ctx) })
	if err := d.Ready(ctx); err != nil {
		return fmt.Errorf("BuildKit: %w", err)
	}
	return nil
}

func (p *parts) startRegistry(ctx context.Context, g *errgroup.Group) error {
	server, err := engines.NewRegistry(p.cfg.State, p.secrets, p.cfg.Log)
	if err != nil {
		return err
	}
	ca, err := ociregistry.OpenCA(filepath.Join(p.cfg.State, "ca"), time.Now())
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", p.cfg.Ports.Registry))
	if err != nil {
		return fmt.Errorf("listen for the registry: %w (is another farm running?)", err)
	}
	p.registry = l.Addr().String()
	listeners := []net.Listener{l}
	for _, address := range p.cfg.RegistryHosts {
		l, err := lc.Listen(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("listen for the registry on a cluster's link: %w", err)
		}
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return fmt.Errorf("registry address %q: %w", address, err)
		}
		if l, err = ca.Listener(l, time.Now(), host); err != nil {
			return err
		}
		listeners = append(listeners, l)
	}
	g.Go(func() error { return server.Run(ctx, listeners...) })
	return nil
}

func (p *parts) buildkitRoot() string {
	return cmp.Or(p.cfg.BuildKitRoot, filepath.Join(p.cfg.State, "buildkit"))
}

func (p *parts) newBuildKit() (*buildkitd.Daemon, error) {
	env := slices.Clone(p.cfg.Env)
	if p.cfg.OTLP != "" && env != nil {
		env = append(env, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+p.cfg.OTLP, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_SERVICE_NAME=buildkitd")
	}
	return buildkitd.New(buildkitd.Config{ToolDir: p.cfg.Tools, Root: p.buildkitRoot(), Parallelism: max(4, runtime.NumCPU()), Log: p.cfg.Log, Env: env, Registries: engines.BuildKitRegistries(p.registry)})
}

// lookupEnv finds secrets that targets.yaml keeps in the environment.
func (p *parts) lookupEnv(name string) (string, bool) {
	for _, e := range slices.Backward(p.cfg.Env) {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// programs runs coordinator, worker and deployer. The coordinator stops last: the others
// report to it while they drain.
func (p *parts) programs(ctx, base context.Context) error {
	coord, stopCoord := context.WithCancel(base)
	defer stopCoord()
	address := make(chan string, 1)
	ended := make(chan error, 1)
	cc, err := p.coordinator()
	if err != nil {
		return err
	}
	go func() {
		ended <- coordinator.Run(coord, coordinator.Options{
			Config: cc, Version: p.cfg.Version, Env: p.cfg.GitEnv, LookupEnv: p.lookupEnv, Log: p.cfg.Log.With("program", "coordinator"), Ready: func(a string) { address <- a },
		})
	}()
	select {
	case p.grpc = <-address:
	case err := <-ended:
		return fmt.Errorf("coordinator: %w", err)
	case <-ctx.Done():
		stopCoord()
		return <-ended
	}
	g, work := errgroup.WithContext(ctx)
	g.Go(func() error {
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("coordinator: %w", err)
		case <-base.Done():
			return errEngine
		case <-work.Done():
			return nil
		}
	})
	if err := p.workers(work, g); err != nil {
		stopCoord()
		return errors.Join(err, <-ended)
	}
	if err := p.publish(); err != nil {
		return err
	}
	err = g.Wait()
	stopCoord()
	return errors.Join(err, <-ended, clientfile.Remove(p.cfg.State))
}

func (p *parts) workers(ctx context.Context, g *errgroup.Group) error {
	wc, err := p.worker()
	if err != nil {
		return err
	}
	w := worker.New(wc, p.cfg.Log.With("program", "worker"))
	if len(p.cfg.Clusters) > 0 {
		dc, err := p.deployer()
		if err != nil {
			return err
		}
		d := deployer.New(dc, p.cfg.Log.With("program", "deployer"))
		g.Go(func() error { return named("deployer", d.Run(ctx)) })
	}
	g.Go(func() error { return named("worker", w.Run(ctx)) })
	return nil
}

func named(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// publish tells the CLI how to reach the farm.
func (p *parts) publish() error {
	f := clientfile.File{
		Address: p.grpc, Token: p.secrets.Get(engines.AdminToken), Web: "http://" + p.http,
		Mirror: &clientfile.Mirror{Registry: p.registry, Prefix: ociregistry.MirrorPrefix, User: engines.RegistryMirror, Password: p.secrets.Get(engines.RegistryMirror)},
	}
	if err := clientfile.Write(p.cfg.State, f); err != nil {
		return err
	}
	if p.cfg.Ready != nil {
		p.cfg.Ready(f)
	}
	return nil
}
