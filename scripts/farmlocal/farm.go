package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/internal/buildkitd"
	"github.com/slipway-build/slipway/internal/clientfile"
	"github.com/slipway-build/slipway/internal/devclusters"
	"github.com/slipway-build/slipway/internal/engines"
	"github.com/slipway-build/slipway/internal/ociregistry"
	"github.com/slipway-build/slipway/internal/process"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// pause is how long a process that ended is away before it is started again.
const pause = time.Second

// farm is everything, each part a process of its own.
type farm struct {
	root, dir, bin, tools string
	self                  string // this program
	begin                 time.Time

	mu  sync.Mutex // of out
	out io.Writer

	at       layout
	secrets  *engines.Secrets
	clusters []*devclusters.Cluster
	buildkit *buildkitd.Daemon
	parts    []*process.Process
	stop     []func() error // in the order of starting
	failed   chan error     // the first part that cannot be kept
}

// run starts everything in the order in which one needs the other, waits, and stops it in
// the opposite order.
func (f *farm) run(ctx context.Context, port int) (err error) {
	if f.at, err = newLayout(port); err != nil {
		return err
	}
	if err := f.clean(ctx); err != nil {
		return err
	}
	defer func() {
		f.say("stopping: the deployer and the workers first, then what they need")
		for i := len(f.stop) - 1; i >= 0; i-- {
			err = errors.Join(err, f.stop[i]())
		}
	}()
	for _, step := range []func(context.Context) error{f.engines, f.startClusters, f.programs, f.images, f.workers, f.repository} {
		if err := step(ctx); err != nil {
			if ctx.Err() != nil {
				return nil // Ctrl-C while it starts
			}
			return err
		}
	}
	f.explain()
	select {
	case <-ctx.Done():
		return nil
	case err := <-f.failed:
		return err
	}
}

// say prints a line with the time since the beginning.
func (f *farm) say(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fmt.Fprintf(f.out, "[%5.1fs] %s\n", time.Since(f.begin).Seconds(), fmt.Sprintf(format, args...))
}

func (f *farm) devcluster() string { return filepath.Join(f.tools, "devcluster") }

// clean leaves nothing of an earlier farm but credentials, base images and BuildKit's cache.
func (f *farm) clean(ctx context.Context) error {
	if err := devclusters.Stop(ctx, f.devcluster(), f.path("clusters"), nil); err != nil {
		return fmt.Errorf("stop what an earlier farm left: %w", err)
	}
	for _, pattern := range []string{"nats", "registry", "clusters", "shop", "logs", "pids", "coordinator-*", "worker-*", "deployer-*"} {
		names, err := filepath.Glob(f.path(pattern))
		for _, name := range names {
			err = errors.Join(err, os.RemoveAll(name))
		}
		if err != nil {
			return fmt.Errorf("begin with an empty journal and registry: %w", err)
		}
	}
	for _, name := range []string{"logs", "pids", "clusters"} {
		if err := os.MkdirAll(f.path(name), 0o700); err != nil {
			return fmt.Errorf("make the state folder: %w", err)
		}
	}
	var err error
	f.secrets, err = engines.OpenSecrets(f.path("secrets"))
	return err
}

// keep starts a process, and starts it again whenever it ends.
func (f *farm) keep(name string, args ...string) error {
	p := &process.Process{Name: name, Args: args, Log: f.path("logs", name+".log"), PIDFile: f.path("pids", name)}
	if err := p.Start(); err != nil {
		return err
	}
	f.parts = append(f.parts, p)
	// Bound to no context: what ends the farm ends its parts one after the other.
	f.background(context.Background(), func(ctx context.Context) error {
		return p.Keep(ctx, pause, func(why string) { f.say("%s (process %d) has ended: %s; it is started again", name, p.PID(), why) })
	})
	return nil
}

// background runs something until it is its turn to stop.
func (f *farm) background(ctx context.Context, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var g errgroup.Group
	g.Go(func() error {
		err := run(ctx)
		if err != nil {
			select {
			case f.failed <- err:
			default: // one is enough to stop
			}
		}
		return err
	})
	f.stop = append(f.stop, func() error { cancel(); return g.Wait() })
}

// engines starts what the programs of a farm have by address.
func (f *farm) engines(ctx context.Context) error {
	f.say("starting %d NATS servers, Redis, the registry and BuildKit", servers)
	if err := f.at.write(f.dir); err != nil {
		return err
	}
	names := []string{"redis", "registry"}
	for i := range servers {
		names = append(names, fmt.Sprintf("nats-%d", i+1))
	}
	for _, name := range names {
		if err := f.keep(name, f.self, "-state", f.dir, "-serve", name); err != nil {
			return err
		}
	}
	var err error
	f.buildkit, err = buildkitd.New(buildkitd.Config{
		ToolDir: f.tools, Root: f.path("buildkit"), Log: slog.New(slog.DiscardHandler), Registries: engines.BuildKitRegistries(f.at.Registry),
	})
	if err != nil {
		return err
	}
	f.background(ctx, f.buildkit.Run)
	if err := f.buildkit.Ready(ctx); err != nil {
		return fmt.Errorf("BuildKit: %w", err)
	}
	return nil
}

func (f *farm) startClusters(ctx context.Context) (err error) {
	f.say("starting two clusters with simulated nodes")
	f.stop = append(f.stop, func() error {
		return devclusters.Stop(context.WithoutCancel(ctx), f.devcluster(), f.path("clusters"), f.clusters)
	})
	f.clusters, err = devclusters.Start(ctx, devclusters.Config{Program: f.devcluster(), Dir: f.path("clusters")}, specs())
	return err
}

// programs starts the coordinators, and says to clients where they are.
func (f *farm) programs(ctx context.Context) error {
	f.say("starting %d coordinators", coordinators)
	if err := f.configure(); err != nil {
		return err
	}
	for i := range coordinators {
		name := fmt.Sprintf("coordinator-%d", i+1)
		if err := f.keep(name, filepath.Join(f.bin, "slipway-coordinator"), "--config", f.path(name+".yaml")); err != nil {
			return err
		}
	}
	for _, address := range f.at.GRPC {
		if err := f.answers(ctx, address); err != nil {
			return err
		}
	}
	f.stop = append(f.stop, func() error { return clientfile.Remove(f.dir) })
	return clientfile.Write(f.dir, clientfile.File{
		Address: f.at.coordinator(), Token: f.secrets.Get(engines.AdminToken), Web: "http://" + f.at.HTTP[0],
		Mirror: &clientfile.Mirror{Registry: f.at.Registry, Prefix: ociregistry.MirrorPrefix, User: engines.RegistryMirror, Password: f.secrets.Get(engines.RegistryMirror)},
	})
}

// answers waits until a coordinator does.
func (f *farm) answers(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, fmt.Errorf("the coordinator at %s does not answer; its log is in %s", address, f.path("logs")))
	defer cancel()
	conn, err := rpc.Dial(ctx, address, rpc.DialOptions{Token: f.secrets.Get(engines.AdminToken)})
	if err != nil {
		return err
	}
	defer conn.Close()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := pb.NewRunServiceClient(conn).List(ctx, &pb.ListRequest{}); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case err := <-f.failed:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (f *farm) images(ctx context.Context) error {
	f.say("base images are made from what this machine has: make farm-local counts as the request (slipway images bootstrap)")
	return f.command(ctx, filepath.Join(f.bin, "slipway"), "images", "bootstrap", "--state", f.dir)
}

func (f *farm) workers(context.Context) error {
	f.say("starting %d workers and a deployer", workers)
	for i := range workers {
		name := fmt.Sprintf("worker-%d", i+1)
		if err := f.keep(name, filepath.Join(f.bin, "slipway-worker"), "--config", f.path(name+".yaml")); err != nil {
			return err
		}
	}
	return f.keep("deployer-1", filepath.Join(f.bin, "slipway-deployer"), "--config", f.path("deployer-1.yaml"))
}

// repository commits a copy of examples/shop.
func (f *farm) repository(ctx context.Context) error {
	shop := f.path("shop")
	if err := os.CopyFS(shop, os.DirFS(filepath.Join(f.root, "examples", "shop"))); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("copy examples/shop: %w", err)
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"commit", "-q", "-m", "The shop opens"}} {
		if err := f.command(ctx, "git", append([]string{"-C", shop, "-c", "user.name=Slipway", "-c", "user.email=farm-local@slipway.invalid"}, args...)...); err != nil {
			return err
		}
	}
	return nil
}

// command runs a program whose output the user sees.
func (f *farm) command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = f.root, f.out, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return nil
}

// explain says what runs where, and what to try.
func (f *farm) explain() {
	where := map[string]string{"redis": f.at.Redis, "registry": f.at.Registry}
	for i, address := range f.at.GRPC {
		where[fmt.Sprintf("coordinator-%d", i+1)] = address + ", dashboard and metrics http://" + f.at.HTTP[i]
	}
	for i, address := range f.at.NATS {
		where[fmt.Sprintf("nats-%d", i+1)] = address
	}
	state := f.dir
	if short, err := filepath.Rel(f.root, f.dir); err == nil {
		state = short
	}
	f.say("the farm runs; each of these is a process of its own:")
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.parts {
		fmt.Fprintf(f.out, "  %-14s process %-8d %s\n", p.Name, p.PID(), where[p.Name])
	}
	fmt.Fprintf(f.out, "  %-14s process %-8d %s\n", "buildkit", f.buildkit.PID(), f.buildkit.Address())
	for _, c := range f.clusters {
		fmt.Fprintf(f.out, "  %-14s %s (simulated nodes), kubeconfig %s\n", "cluster "+c.Name, c.Ready.Server, c.Ready.Kubeconfig)
	}
	fmt.Fprintf(f.out, `use it, from %[2]s:
  bin/slipway --state %[1]s run --repo %[3]s --ref main
kill what you like; it is started again after a second:
  kill -9 $(cat %[1]s/pids/coordinator-2)
logs are in %[1]s/logs. Ctrl-C stops everything.
`, state, f.root, f.path("shop"))
}
