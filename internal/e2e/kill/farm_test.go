//go:build e2e

package kill_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-build/slipway/internal/baseimages"
	"github.com/slipway-build/slipway/internal/buildkitd"
	"github.com/slipway-build/slipway/internal/ociregistry"
	"github.com/slipway-build/slipway/internal/process"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const (
	adminToken  = "admin-0123456789abcdef"
	workerToken = "worker-0123456789abcdef"
	password    = "registry-0123456789abcdef"
)

// farm is every program apart. The registry and the watch over BuildKit are the test's.
type farm struct {
	dir      string
	clusters map[string]ready
	real     bool // the clusters' nodes are
	address  string
	registry string
	nodes    []string                    // where clusters reach the registry
	programs map[string]*process.Process // coordinator, worker-a, worker-b, deployer-a, deployer-b
	buildkit *buildkitd.Daemon
	otlp     string // where spans go
	query    string // where they are asked for
	stop     []func()
}

func (f *farm) path(elem ...string) string { return filepath.Join(append([]string{f.dir}, elem...)...) }

func (f *farm) write(name, format string, args ...any) error {
	path := f.path(name)
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o600))
}

// program adds a process that ends with the farm.
func (f *farm) program(name string, args ...string) (*process.Process, error) {
	p := &process.Process{Name: name, Args: args, Log: f.path(name + ".log")}
	if err := p.Start(); err != nil {
		return nil, err
	}
	f.stop = append(f.stop, func() { p.Stop() })
	return p, nil
}

func startFarm(ctx context.Context) (*farm, error) {
	dir, err := os.MkdirTemp("", "slipway-kill-")
	if err != nil {
		return nil, err
	}
	f := &farm{dir: dir, programs: map[string]*process.Process{}, clusters: map[string]ready{}}
	for _, step := range []func(context.Context) error{f.compile, f.jaeger, f.startClusters, f.images, f.queue, f.configure, f.ready} {
		if err := step(ctx); err != nil {
			return f, err
		}
	}
	return f, nil
}

func (f *farm) compile(context.Context) error {
	return build(f.dir, map[string]string{
		"slipway-coordinator": "./coordinator", "slipway-worker": "./worker", "slipway-deployer": "./deploy",
		"nats-server": "github.com/nats-io/nats-server/v2",
	})
}

func tools() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".cache", "slipway", "bin")
}

// images starts the registry and BuildKit.
func (f *farm) images(ctx context.Context) error {
	server, err := ociregistry.New(ociregistry.Config{
		Dir: f.path("registry"), MirrorDir: f.path("mirror"),
		Credentials: []ociregistry.Credential{
			{User: "push", Password: password, Role: ociregistry.Push}, {User: "pull", Password: password, Role: ociregistry.Pull}, {User: "mirror", Password: password, Role: ociregistry.Mirror},
		},
	})
	if err != nil {
		return err
	}
	listeners, err := f.listeners()
	if err != nil {
		return err
	}
	f.background(ctx, func(ctx context.Context) error { return server.Run(ctx, listeners...) })
	if _, err := baseimages.Bootstrap(ctx, baseimages.Config{Registry: f.registry, Prefix: ociregistry.MirrorPrefix, User: "mirror", Password: password}); err != nil {
		return err
	}
	if f.buildkit, err = buildkitd.New(buildkitd.Config{
		ToolDir: tools(), Root: f.path("bk"), Log: slog.New(slog.DiscardHandler),
		Env: append(os.Environ(), "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+f.otlp, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_SERVICE_NAME=buildkitd"),
		Registries: []buildkitd.Registry{
			{Host: "docker.io", Mirrors: []string{f.registry + "/" + ociregistry.MirrorPrefix}}, {Host: f.registry, PlainHTTP: true},
		},
	}); err != nil {
		return err
	}
	f.background(ctx, f.buildkit.Run)
	return f.buildkit.Ready(ctx)
}

// background runs something until the farm ends.
func (f *farm) background(ctx context.Context, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	f.stop = append(f.stop, func() { cancel(); <-done })
}

// port that nobody listens on.
func port() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (f *farm) queue(context.Context) error {
	address, err := port()
	if err != nil {
		return err
	}
	host, number, _ := net.SplitHostPort(address)
	if err := f.write("nats-url", "nats://%s", address); err != nil {
		return err
	}
	_, err = f.program("nats-server", f.path("nats-server"), "--addr", host, "--port", number, "--jetstream", "--store_dir", f.path("nats"))
	return err
}

// configure writes the files of the programs and starts them.
func (f *farm) configure(context.Context) error {
	nats, err := os.ReadFile(f.path("nats-url"))
	if err != nil {
		return err
	}
	http, err := port()
	if err != nil {
		return err
	}
	if f.address, err = port(); err != nil {
		return err
	}
	auth := base64.StdEncoding.EncodeToString([]byte("push:" + password))
	err = errors.Join(
		f.write("docker.json", `{"auths": {%q: {"auth": %q}}}`, f.registry, auth),
		f.write("token", workerToken),
		f.write("targets.yaml", targets),
		f.write("coordinator.yaml", `name: coordinator
listen: %s
http: %s
state: %s
nats: { url: %s }
partitions: 2
targets: %s
registry: %s
registry_auth: %s
local_repositories: [%s]
lease_ttl: 2s
telemetry: { otlp: %q }
tokens:
  - { name: admin, hash: %q, role: administer }
  - { name: worker, hash: %q, role: worker }
`, f.address, http, f.path("state"), nats, f.path("targets.yaml"), f.registry, f.path("docker.json"), f.dir, f.otlp, rpc.HashToken(adminToken), rpc.HashToken(workerToken)),
	)
	for _, name := range []string{"worker-a", "worker-b"} {
		err = errors.Join(err, f.write(name+".yaml", `name: %s
coordinator: { address: %s, token_file: token }
nats: { url: %s }
buildkit: %s
registry_auth: docker.json
slots: { build: 2, render: 2 }
state: work-%s
telemetry: { otlp: %q }
`, name, f.address, nats, f.buildkit.Address(), name, f.otlp))
	}
	for _, name := range []string{"deployer-a", "deployer-b"} {
		err = errors.Join(err, f.write(name+".yaml", `name: %s
coordinator: { address: %s, token_file: token }
clusters: { eu: { kubeconfig: %s }, us: { kubeconfig: %s } }
telemetry: { otlp: %q }
`, name, f.address, f.clusters["eu"].Kubeconfig, f.clusters["us"].Kubeconfig, f.otlp))
	}
	for _, p := range [][2]string{
		{"coordinator", "coordinator"}, {"worker-a", "worker"}, {"worker-b", "worker"}, {"deployer-a", "deployer"}, {"deployer-b", "deployer"},
	} {
		if err == nil {
			f.programs[p[0]], err = f.program(p[0], f.path("slipway-"+p[1]), "--config", f.path(p[0]+".yaml"))
		}
	}
	return err
}

func (f *farm) ready(ctx context.Context) error {
	conn, err := rpc.Dial(ctx, f.address, rpc.DialOptions{Token: adminToken})
	if err != nil {
		return err
	}
	defer conn.Close()
	return until("the coordinator", func() bool {
		_, err := pb.NewRunServiceClient(conn).List(ctx, &pb.ListRequest{})
		return err == nil || !f.programs["coordinator"].Running()
	})
}

func (f *farm) close() {
	for i := len(f.stop) - 1; i >= 0; i-- {
		f.stop[i]()
	}
	_ = os.RemoveAll(f.dir)
}

// shared is the package's farm; TestMain makes it.
var shared *farm

func TestMain(m *testing.M) {
	f, err := startFarm(context.Background())
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, "kill:", err)
	} else {
		shared = f
		code = m.Run()
	}
	if f != nil {
		if code != 0 {
			for _, name := range []string{"coordinator", "worker-a", "worker-b", "deployer-a", "deployer-b", "eu", "us", "jaeger", "nats-server"} {
				log, _ := os.ReadFile(f.path(name + ".log"))
				_ = os.WriteFile(filepath.Join(os.TempDir(), "slipway-kill-"+name+".log"), log, 0o600)
			}
			fmt.Fprintln(os.Stderr, "logs:", filepath.Join(os.TempDir(), "slipway-kill-*.log"))
		}
		f.close()
	}
	os.Exit(code)
}
