package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/clientfile"
	"github.com/slipway-build/slipway/internal/devclusters"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// exitError carries the exit code of a step's own program.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// demo is one run of make demo.
type demo struct {
	root  string
	dir   string // .slipway/demo
	tools string
	keep  bool
	begin time.Time
	out   io.Writer

	clusters []*devclusters.Cluster
	summary  summary
}

func newDemo(root string, keep bool) (*demo, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("find the repository: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find the folder for tools: %w", err)
	}
	return &demo{
		root: root, dir: filepath.Join(root, ".slipway", "demo"), tools: filepath.Join(cache, "slipway", "bin"),
		keep: keep, begin: time.Now(), out: os.Stdout,
	}, nil
}

func (d *demo) run(ctx context.Context) (err error) {
	if err := d.setUp(ctx); err != nil {
		return err
	}
	defer func() {
		if d.keep && err == nil {
			d.say("KEEP=1: clusters and farm go on running. Stop them with: %s", d.stopCommand())
			return
		}
		// Also after Ctrl-C: nothing is left running.
		err = errors.Join(err, d.tearDown(context.WithoutCancel(ctx)))
	}()
	if err := d.start(ctx); err != nil {
		return err
	}
	d.summary.Setup = time.Since(d.begin).Seconds()
	d.say("set-up took %.0f s; now the job", d.summary.Setup)
	job := time.Now()
	if err := d.runs(ctx); err != nil {
		return err
	}
	d.summary.Job = time.Since(job).Seconds()
	return d.report(ctx)
}

// say prints a line with the time since the beginning.
func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "[%5.1fs] %s\n", time.Since(d.begin).Seconds(), fmt.Sprintf(format, args...))
}

// command runs a program whose output the user sees, with name before an error.
func (d *demo) command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = d.root, os.Stdin, d.out, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &exitError{exit.ExitCode(), fmt.Errorf("%s %s: %w", filepath.Base(name), strings.Join(args[:min(2, len(args))], " "), err)}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return nil
}

func (d *demo) slipway(ctx context.Context, args ...string) error {
	return d.command(ctx, filepath.Join(d.root, "bin", "slipway"), append(args, "--state", d.dir)...)
}

// setUp builds what is missing, and leaves nothing of an earlier demo but tools, base
// images and BuildKit's cache.
func (d *demo) setUp(ctx context.Context) error {
	d.say("set-up: tools that Slipway starts (BuildKit, clusters), built once into %s", d.tools)
	if err := d.command(ctx, "go", "run", "./scripts/setup", "demo"); err != nil {
		return err
	}
	d.say("set-up: compiling bin/slipway")
	if err := d.command(ctx, "go", "build", "-o", "bin/slipway", "./slipway"); err != nil {
		return err
	}
	if _, err := os.Stat(d.dir); err == nil {
		if err := d.tearDown(ctx); err != nil {
			return fmt.Errorf("stop what an earlier demo left: %w", err)
		}
	}
	for _, name := range []string{"nats", "registry", "coordinator", "work", "clusters", "shop", "summary.json"} {
		if err := os.RemoveAll(filepath.Join(d.dir, name)); err != nil {
			return fmt.Errorf("begin with an empty journal and registry: %w", err)
		}
	}
	if err := os.MkdirAll(filepath.Join(d.dir, "clusters"), 0o700); err != nil {
		return fmt.Errorf("make folder for the demo: %w", err)
	}
	return nil
}

// start brings clusters and the farm up, side by side where they do not need each other.
func (d *demo) start(ctx context.Context) error {
	if err := d.startClusters(ctx); err != nil {
		return err
	}
	args := []string{"up", "-d", "--targets", filepath.Join(d.root, "examples", "shop", "targets.yaml"), "--log-level", "info"}
	var configs []string
	for _, c := range d.clusters {
		configs = append(configs, c.Ready.Kubeconfig)
		if c.Ready.HostIP != "" {
			args = append(args, "--registry-listen", c.Ready.HostIP+":7423")
		}
	}
	d.say("starting the farm: coordinator, worker, deployer, queue, registry, BuildKit")
	if err := d.slipway(ctx, append(args, "--kubeconfig", strings.Join(configs, ":"))...); err != nil {
		return err
	}
	d.say("base images are made from what this machine has: make demo counts as the request (slipway images bootstrap)")
	if err := d.slipway(ctx, "images", "bootstrap"); err != nil {
		return err
	}
	return d.repository(ctx)
}

// repository commits a copy of examples/shop.
func (d *demo) repository(ctx context.Context) error {
	shop := filepath.Join(d.dir, "shop")
	d.say("committing examples/shop into %s", shop)
	if err := os.CopyFS(shop, os.DirFS(filepath.Join(d.root, "examples", "shop"))); err != nil {
		return fmt.Errorf("copy examples/shop: %w", err)
	}
	if err := d.git(ctx, "init", "-q", "-b", "main"); err != nil {
		return err
	}
	return d.commit(ctx, "The shop opens")
}

func (d *demo) git(ctx context.Context, args ...string) error {
	return d.command(ctx, "git", append([]string{"-C", filepath.Join(d.dir, "shop"), "-c", "user.name=Slipway demo", "-c", "user.email=demo@slipway.invalid"}, args...)...)
}

func (d *demo) commit(ctx context.Context, message string) error {
	if err := d.git(ctx, "add", "-A"); err != nil {
		return err
	}
	return d.git(ctx, "commit", "-q", "-m", message)
}

// The change of the second run: one line of one leaf service.
const (
	changed = "services/reviews/src/main.js"
	before  = "Heavier than it looks."
	after   = "Heavier than it looks, and worth it."
)

// runs brings the shop to its clusters, changes one service and does it again.
func (d *demo) runs(ctx context.Context) error {
	if err := d.submit(ctx, "first run: everything is built"); err != nil {
		return err
	}
	file := filepath.Join(d.dir, "shop", changed)
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("change one service: %w", err)
	}
	if !strings.Contains(string(text), before) {
		return fmt.Errorf("change one service: %s does not say %q", changed, before)
	}
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), before, after)), 0o600); err != nil {
		return fmt.Errorf("change one service: %w", err)
	}
	if err := d.commit(ctx, "Reviews: a kinder word for the lantern"); err != nil {
		return err
	}
	return d.submit(ctx, "second run: one line of services/reviews has changed")
}

func (d *demo) submit(ctx context.Context, what string) error {
	d.say("%s", what)
	runErr := d.slipway(ctx, "run", "--repo", filepath.Join(d.dir, "shop"), "--ref", "main")
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r, err := d.latest(ctx)
	if err != nil {
		return errors.Join(runErr, err)
	}
	d.summary.Runs = append(d.summary.Runs, summarize(r))
	if runErr != nil {
		return fmt.Errorf("%w; the farm's log: %s", runErr, filepath.Join(d.dir, "farm.log"))
	}
	return nil
}

func (d *demo) latest(ctx context.Context) (*pb.Run, error) {
	f, err := clientfile.Read(d.dir)
	if err != nil {
		return nil, fmt.Errorf("find the farm: %w", err)
	}
	conn, err := rpc.Dial(ctx, f.Address, rpc.DialOptions{Token: f.Token})
	if err != nil {
		return nil, fmt.Errorf("ask the farm: %w", err)
	}
	defer conn.Close()
	g, err := pb.NewRunServiceClient(conn).Get(ctx, &pb.GetRequest{Run: "latest"})
	if err != nil {
		return nil, fmt.Errorf("ask the farm: %w", err)
	}
	return g.GetRun(), nil
}

func (d *demo) stopCommand() string {
	parts := []string{"bin/slipway down --state .slipway/demo"}
	for _, c := range d.clusters {
		parts = append(parts, d.devcluster()+" down --dir "+c.Dir)
	}
	return strings.Join(parts, " && ")
}

// tearDown stops farm and clusters, those of an earlier demo too.
func (d *demo) tearDown(ctx context.Context) error {
	var errs []error
	if _, err := os.Stat(filepath.Join(d.dir, "farm.lock")); err == nil {
		errs = append(errs, d.slipway(ctx, "down"))
	}
	errs = append(errs, devclusters.Stop(ctx, d.devcluster(), filepath.Join(d.dir, "clusters"), d.clusters))
	return errors.Join(errs...)
}
