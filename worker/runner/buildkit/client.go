// Package buildkit builds images from Dockerfiles with a BuildKit daemon: it sends
// the workspace as build context, follows the solve, pushes by digest with a
// provenance attestation, and tells whose fault a failure is.
//
// It starts no daemon and chooses no image names. What runs inside a stage for a
// test is worker/runner/testrun's business, which uses Client, Watch and Classify.
package buildkit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/slipway-build/slipway/worker/runner"
)

// Config says how to reach a daemon and what it needs from the worker.
type Config struct {
	Address string // unix:///run/buildkit/buildkitd.sock or tcp://host:port
	// Auth are the credentials of registries, by host. They reach the daemon over
	// the session of one solve and are not stored there.
	Auth map[string]Credentials
	// Insecure are registry hosts that are spoken to without TLS. Loopback
	// addresses always are.
	Insecure []string
	// Compression of layers; empty: CompressionZstd. Images of the same inputs differ by it.
	Compression string
	// Patience is how long the daemon may leave a question unanswered while a solve runs, until it
	// is taken for hung; 0: a minute.
	Patience time.Duration
	// Tracer makes the spans of calls to the daemon; nil: none, and the daemon's spans
	// are children of the attempt's.
	Tracer trace.TracerProvider
}

// Client is a connection to a daemon. It may be used from many goroutines.
type Client struct {
	cfg    Config
	bk     *client.Client
	pruned atomic.Int64 // times that Room was asked for
}

// Dial makes a client. It does not wait for the daemon: one that is away is an
// errored outcome of the attempts that need it, and may come back.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	cfg.Patience = cmp.Or(cfg.Patience, time.Minute)
	if cfg.Tracer == nil {
		cfg.Tracer = noop.NewTracerProvider()
	}
	bk, err := client.New(ctx, cfg.Address, client.WithTracerProvider(cfg.Tracer))
	if err != nil {
		return nil, fmt.Errorf("buildkit at %s: %w", cfg.Address, err)
	}
	return &Client{cfg: cfg, bk: bk}, nil
}

// Close ends the connection. Solves that still run are errored.
func (c *Client) Close() error { return c.bk.Close() }

// Check asks the daemon whether it is there and has a worker.
func (c *Client) Check(ctx context.Context) error {
	_, err := c.CacheID(ctx)
	return err
}

// Secrets are the values that must not show in logs.
func (c *Client) Secrets() []string {
	var out []string
	for _, a := range c.cfg.Auth {
		out = append(out, a.Secret)
	}
	return out
}

// solve runs one solve of the Dockerfile frontend and follows it. Within the same
// session, prepare may complete the frontend's attributes first.
func (c *Client) solve(ctx context.Context, opt client.SolveOpt, w *Watch, prepare func(context.Context, gateway.Client, map[string]string)) (map[string]string, error) {
	var resp *client.SolveResponse
	ctx, end := c.watched(ctx)
	err := end(w.follow(func(ch chan *client.SolveStatus) (err error) {
		resp, err = c.bk.Build(ctx, opt, "slipway", func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
			attrs := maps.Clone(opt.FrontendAttrs)
			prepare(ctx, gw, attrs)
			return gw.Solve(ctx, gateway.SolveRequest{Frontend: "dockerfile.v0", FrontendOpt: attrs})
		}, ch)
		return err
	}))
	if err != nil {
		return nil, err
	}
	return resp.ExporterResponse, nil
}

// Session runs fn against the daemon with the workspace of t mounted, for work that
// is more than one Dockerfile: fn solves and starts containers itself.
func (c *Client) Session(ctx context.Context, t runner.Task, b runner.Build, w *Watch, fn gateway.BuildFunc) error {
	opt, err := c.options(t, b)
	if err != nil {
		return err
	}
	opt.FrontendAttrs = map[string]string{}
	return c.session(ctx, opt, w, fn)
}

// session runs fn. Solves of its own have the attributes of opt that say which caches there are.
func (c *Client) session(ctx context.Context, opt client.SolveOpt, w *Watch, fn gateway.BuildFunc) error {
	ctx, end := c.watched(ctx)
	return end(w.follow(func(ch chan *client.SolveStatus) error {
		_, err := c.bk.Build(ctx, opt, "slipway", fn, ch)
		return err
	}))
}

// options are those that every solve for t shares: the workspace and the credentials, and the values of its secrets.
func (c *Client) options(t runner.Task, b runner.Build) (client.SolveOpt, error) {
	values, err := secrets(t, b)
	if err != nil {
		return client.SolveOpt{}, err
	}
	return c.optionsWith(t, b, values)
}

func (c *Client) optionsWith(t runner.Task, b runner.Build, values session.Attachable) (client.SolveOpt, error) {
	workspace, err := asCommitted(t.Workspace)
	if err != nil {
		return client.SolveOpt{}, fmt.Errorf("open workspace: %w", err)
	}
	folder := workspace
	if dir := path.Clean(b.Context); dir != "." {
		if err := within(t.Workspace, dir); err != nil {
			return client.SolveOpt{}, fmt.Errorf("build context %s: %w", b.Context, err)
		}
		if folder, err = asCommitted(filepath.Join(t.Workspace, filepath.FromSlash(dir))); err != nil {
			return client.SolveOpt{}, fmt.Errorf("open build context %s: %w", dir, err)
		}
	}
	mounts := map[string]fsutil.FS{"context": folder, "dockerfile": workspace}
	for name, dir := range t.Folders {
		if mounts[name], err = fsutil.NewFS(dir); err != nil {
			return client.SolveOpt{}, fmt.Errorf("open %s: %w", name, err)
		}
	}
	return client.SolveOpt{
		LocalMounts: mounts,
		// Under an equal key the daemon takes a file that kept its time and size for
		// unchanged, and all files of all workspaces have one time: the key must name the
		// content, as the workspace does. Attempts that share one then share a transfer, and
		// no others do.
		SharedKey: "slipway/" + t.Project + "/" + t.Workspace + "/" + path.Clean(b.Context),
		Session:   []session.Attachable{authServer{auth: c.cfg.Auth}, values},
		// The daemon makes no entry in its history: it would keep the output as it was before we masked it, and writing down
		// the spans of a solve takes as much CPU as a solve that finds everything in the cache (docs/performance.md, P6).
		Internal: true,
	}, nil
}

// asCommitted is a folder of a workspace as the commit has it. On the disk its files are
// read-only, and files with equal content one file with several names.
func asCommitted(dir string) (fsutil.FS, error) {
	onDisk, err := fsutil.NewFS(dir)
	if err != nil {
		return nil, err
	}
	return fsutil.NewFilterFS(onDisk, &fsutil.FilterOpt{Map: func(_ string, s *types.Stat) fsutil.MapResult {
		if os.FileMode(s.Mode).IsRegular() {
			s.Mode |= 0o200
			s.Linkname = ""
		}
		return fsutil.MapResultKeep
	}})
}

// within refuses what leads out of the workspace, symbolic links included.
func within(workspace, dir string) error {
	root, err := os.OpenRoot(workspace)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	info, err := root.Stat(filepath.FromSlash(dir))
	if err == nil && !info.IsDir() {
		return errors.New("it is no folder")
	}
	return err
}

// insecure says whether the registry of a repository is spoken to without TLS.
func (c *Client) insecure(repository string) bool {
	host := registryHost(repository)
	for _, h := range c.cfg.Insecure {
		if h == host {
			return true
		}
	}
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	ip := net.ParseIP(strings.Trim(name, "[]"))
	return name == "localhost" || ip != nil && ip.IsLoopback()
}

func registryHost(repository string) string {
	host, _, _ := strings.Cut(repository, "/")
	return host
}

// Room removes from the daemon's cache, what was used longest ago first, until so many
// bytes of its disk are free or nothing is left that can be removed.
func (c *Client) Room(ctx context.Context, bytes int64) error {
	defer c.pruned.Add(1)
	if err := c.bk.Prune(ctx, nil, client.PruneAll, client.WithKeepOpt(0, 0, 0, bytes)); err != nil {
		return fmt.Errorf("make room on the disk of BuildKit at %s: %w", c.cfg.Address, err)
	}
	return nil
}
