//go:build e2e

package canary_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/slipway-build/slipway/internal/baseimages"
	"github.com/slipway-build/slipway/internal/buildkitd"
	"github.com/slipway-build/slipway/internal/ociregistry"
	"github.com/slipway-build/slipway/internal/rpc"
)

const (
	adminToken  = "admin-0123456789abcdef"
	workerToken = "worker-0123456789abcdef"
	password    = "registry-0123456789abcdef"
)

// farm is the programs that a secret goes through, apart, with all they keep below dir.
type farm struct {
	t        *testing.T
	dir      string // what is searched
	address  string
	registry string
	nats     string
	otlp     string
	spans    spans
	pids     []int
}

// spans keeps what is exported.
type spans struct {
	collector.UnimplementedTraceServiceServer
	mu   sync.Mutex
	data []byte
}

func (s *spans) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	data, err := proto.Marshal(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data = append(s.data, data...)
	return &collector.ExportTraceServiceResponse{}, err
}

func (s *spans) all() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.data)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until looks again and again until a condition holds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			t.Fatal("waited in vain for " + what)
		case <-tick.C:
		}
	}
}

func (f *farm) path(elem ...string) string { return filepath.Join(append([]string{f.dir}, elem...)...) }

func (f *farm) write(name, format string, args ...any) {
	f.t.Helper()
	path := f.path(name)
	must(f.t, errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o600)))
}

func (f *farm) port() string {
	f.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(f.t, err)
	defer l.Close()
	return l.Addr().String()
}

// program runs until the test ends. Its output goes to a file that is searched too.
func (f *farm) program(name string, args ...string) {
	f.t.Helper()
	log, err := os.Create(f.path(name + ".log"))
	must(f.t, err)
	cmd := exec.CommandContext(context.Background(), args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	must(f.t, cmd.Start())
	f.pids = append(f.pids, cmd.Process.Pid)
	f.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		_ = log.Close()
	})
}

// background runs something until the test ends.
func (f *farm) background(run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	f.t.Cleanup(func() { cancel(); <-done })
}

func start(t *testing.T, targets string) *farm {
	t.Helper()
	dir, err := os.MkdirTemp("", "slipway-canary-") //nolint:usetesting // a short path: BuildKit's socket lies in it
	must(t, err)
	f := &farm{t: t, dir: dir}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for name, pkg := range map[string]string{
		"slipway": "./slipway", "slipway-coordinator": "./coordinator", "slipway-worker": "./worker", "nats-server": "github.com/nats-io/nats-server/v2",
	} {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", f.path("bin", name), pkg)
		cmd.Dir = "../../.."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	f.collect()
	socket := f.images()
	f.nats = f.port()
	host, number, _ := net.SplitHostPort(f.nats)
	f.program("nats-server", f.path("bin", "nats-server"), "--addr", host, "--port", number, "--jetstream", "--store_dir", f.path("nats"))
	f.configure(targets, socket)
	f.program("coordinator", f.path("bin", "slipway-coordinator"), "--config", f.path("coordinator.yaml"))
	f.program("worker", f.path("bin", "slipway-worker"), "--config", f.path("worker.yaml"))
	until(t, "the coordinator", func() bool { _, err := f.slipway(f.dir, "list"); return err == nil })
	return f
}

// collect starts a receiver of spans.
func (f *farm) collect() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(f.t, err)
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, &f.spans)
	f.otlp = l.Addr().String()
	f.background(func(ctx context.Context) error {
		defer context.AfterFunc(ctx, server.Stop)()
		return server.Serve(l)
	})
}

// images starts the registry and BuildKit.
func (f *farm) images() (socket string) {
	server, err := ociregistry.New(ociregistry.Config{
		Dir: f.path("registry"), MirrorDir: f.path("mirror"),
		Credentials: []ociregistry.Credential{
			{User: "push", Password: password, Role: ociregistry.Push}, {User: "mirror", Password: password, Role: ociregistry.Mirror},
		},
	})
	must(f.t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(f.t, err)
	f.registry = l.Addr().String()
	f.background(func(ctx context.Context) error { return server.Run(ctx, l) })
	_, err = baseimages.Bootstrap(f.t.Context(), baseimages.Config{Registry: f.registry, Prefix: ociregistry.MirrorPrefix, User: "mirror", Password: password})
	must(f.t, err)
	home, err := os.UserHomeDir()
	must(f.t, err)
	log, err := os.Create(f.path("buildkitd.log"))
	must(f.t, err)
	f.t.Cleanup(func() { _ = log.Close() })
	daemon, err := buildkitd.New(buildkitd.Config{
		ToolDir: filepath.Join(home, ".cache", "slipway", "bin"), Root: f.path("bk"), Log: slog.New(slog.NewTextHandler(log, nil)),
		Env: append(os.Environ(), "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+f.otlp, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_SERVICE_NAME=buildkitd"),
		Registries: []buildkitd.Registry{
			{Host: "docker.io", Mirrors: []string{f.registry + "/" + ociregistry.MirrorPrefix}}, {Host: f.registry, PlainHTTP: true},
		},
	})
	must(f.t, err)
	f.background(daemon.Run)
	must(f.t, daemon.Ready(f.t.Context()))
	return daemon.Address()
}

func (f *farm) configure(targets, buildkit string) {
	f.address = f.port()
	f.write("docker.json", `{"auths": {%q: {"auth": %q}}}`, f.registry, base64.StdEncoding.EncodeToString([]byte("push:"+password)))
	f.write("token", workerToken)
	f.write("targets.yaml", "%s", targets)
	f.write("coordinator.yaml", `name: coordinator
listen: %s
http: %s
state: %s
nats: { url: nats://%s }
targets: %s
registry: %s
registry_auth: %s
local_repositories: [%s]
telemetry: { otlp: %q }
tokens:
  - { name: admin, hash: %q, role: administer }
  - { name: worker, hash: %q, role: worker }
`, f.address, f.port(), f.path("state"), f.nats, f.path("targets.yaml"), f.registry, f.path("docker.json"), f.dir, f.otlp,
		rpc.HashToken(adminToken), rpc.HashToken(workerToken))
	f.write("worker.yaml", `name: worker
coordinator: { address: %s, token_file: token }
nats: { url: nats://%s }
buildkit: %s
registry_auth: docker.json
slots: { build: 2, render: 2 }
state: work
telemetry: { otlp: %q }
`, f.address, f.nats, buildkit, f.otlp)
}

// slipway runs the command line and answers all that it says.
func (f *farm) slipway(dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(f.t.Context(), f.path("bin", "slipway"), args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "SLIPWAY_ADDR="+f.address, "SLIPWAY_TOKEN="+adminToken)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// repository commits files.
func (f *farm) repository(files map[string]string) string {
	f.t.Helper()
	for name, text := range files {
		f.write(filepath.Join("repo", name), "%s", text)
	}
	for _, args := range []string{"init -q -b main", "add -A", "-c user.name=Anna -c user.email=anna@example.com commit -q -m change"} {
		cmd := exec.CommandContext(f.t.Context(), "git", append([]string{"-C", f.path("repo")}, strings.Fields(args)...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			f.t.Fatalf("git %s: %v\n%s", args, err, out)
		}
	}
	return f.path("repo")
}
