package buildkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	sessioncontent "github.com/moby/buildkit/session/content"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/cachestore"
)

const (
	// attrImports is how the Dockerfile frontend is told which caches there are.
	attrImports = "cache-imports"
	// believed is how long the daemon is taken to have what it had, and a registry what was found there.
	believed = time.Hour
	// away is how long a registry that did not answer is not asked again.
	away = 30 * time.Second
	// identified is how long the daemon may take to say which one it is.
	identified = 2 * time.Second
)

// CacheConfig says where the cache of builds is that workers share.
type CacheConfig struct {
	Registry string // "<host>[/<path>]", below which each service has a repository
	// Later carries out what may be done after the build: newer work of a key replaces older that waits, and done is called
	// once it has ended or is dropped.
	Later func(key string, run func(context.Context) error, done func())
	Count func(result string) // counts how builds found the cache
	Log   *slog.Logger
	// Answer and Stall are those of cachestore.Options.
	Answer, Stall time.Duration
}

// How a build found the cache, for CacheConfig.Count.
const (
	CacheFound   = "found"
	CacheMissing = "missing"
	CacheFailed  = "failed"
)

// Cache is what workers share of what they built, in a registry. A nil Cache is none.
type Cache struct {
	cfg      CacheConfig
	client   *Client
	registry *cachestore.Registry

	mu     sync.Mutex
	daemon string // what is known is of this one
	known  map[string]known
	asked  time.Time // when the registry did not answer
	// refused are the services whose cache may not be read, which was said.
	refused map[string]bool
}

// known is what is known of a service, by its reference.
type known struct {
	at time.Time
	// from is the cache with which the daemon built it. It is offered again: of what was taken from it the daemon has
	// the names, and fetches layers when it needs them. Nil: the daemon has it all.
	from *cachestore.Cache
}

// NewCache makes the cache of a client's daemon. Close ends its connections.
func NewCache(c *Client, cfg CacheConfig) *Cache {
	return &Cache{cfg: cfg, client: c, known: map[string]known{}, refused: map[string]bool{}, registry: cachestore.New(cachestore.Options{
		Keychain: keychain(c.cfg.Auth), Answer: cfg.Answer, Stall: cfg.Stall,
	})}
}

// Close ends connections that are idle.
func (c *Cache) Close() { c.registry.Close() }

// use is what one build has to do with the cache.
type use struct {
	ref     string            // empty: nothing
	from    *cachestore.Cache // to take steps from; nil: none
	missing bool              // the registry has none
}

// uses decides what a build takes. It asks the registry only for a service that this daemon may not have, and never for long.
func (c *Cache) uses(ctx context.Context, t runner.Task, b runner.Build) use {
	if c == nil {
		return use{}
	}
	u := use{ref: CacheRef(c.cfg.Registry, t.Project, t.Service, b.Platform)}
	if b.Fresh {
		return u
	}
	daemon := c.which(ctx)
	now := time.Now()
	c.mu.Lock()
	if c.daemon != daemon {
		c.daemon = daemon
		clear(c.known)
	}
	k, ok := c.known[u.ref]
	silent := now.Sub(c.asked) < away
	c.mu.Unlock()
	if ok && now.Sub(k.at) < believed {
		u.from = k.from
		return u
	}
	if silent || daemon == "" {
		return u
	}
	from, err := c.registry.Open(ctx, u.ref, c.client.insecure(u.ref))
	switch {
	case errors.Is(err, cachestore.ErrMissing):
		u.missing = true
		c.cfg.Count(CacheMissing)
	case errors.Is(err, cachestore.ErrDenied): // which says nothing of other services
		u.missing = true
		c.denied(u, err)
	case err != nil && ctx.Err() == nil:
		c.failed(u, err)
		u.missing = errors.Is(err, cachestore.ErrUnusable)
	case err == nil:
		u.from = from
		c.cfg.Count(CacheFound)
	}
	return u
}

// which daemon it is, and how often it was emptied; empty: it does not say.
func (c *Cache) which(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, identified)
	defer cancel()
	id, err := c.client.CacheID(ctx)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s %d", id, c.client.pruned.Load())
}

// denied says once of each service that it may not be read.
func (c *Cache) denied(u use, err error) {
	c.cfg.Count(CacheMissing)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.refused[u.ref] {
		c.refused[u.ref] = true
		c.cfg.Log.Warn("the build cache is not used", "cache", u.ref, "err", err)
	}
}

// failed says that the cache of a service could not be read.
func (c *Cache) failed(u use, err error) {
	c.cfg.Log.Warn("the build cache is not used", "cache", u.ref, "err", err)
	c.cfg.Count(CacheFailed)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, u.ref)
	if !errors.Is(err, cachestore.ErrUnusable) {
		c.asked = time.Now()
	}
}

// solve solves with what the cache has. When that turns out to be broken it solves once more, without.
func (c *Cache) solve(ctx context.Context, bk *Client, opt client.SolveOpt, w *Watch, u *use, prepare func(context.Context, gateway.Client, map[string]string)) (map[string]string, error) {
	if u.from == nil {
		return bk.solve(ctx, opt, w, prepare)
	}
	w.cache = u.ref
	with, store := offer(ctx, opt, u.from)
	defer store.Close()
	resp, err := bk.solve(ctx, with, w, prepare)
	broken := store.Failed()
	if broken == nil || ctx.Err() != nil {
		return resp, err
	}
	c.failed(*u, broken)
	u.from = nil
	if err == nil {
		return resp, nil
	}
	w.again(broken)
	return bk.solve(ctx, opt, w, prepare)
}

// Session is Client.Session with what the cache has for the service. fn is called once more when that turns out to be broken.
func (c *Cache) Session(ctx context.Context, t runner.Task, b runner.Build, w *Watch, fn gateway.BuildFunc) error {
	opt, err := c.client.options(t, b)
	if err != nil {
		return err
	}
	opt.FrontendAttrs = map[string]string{}
	u := c.uses(ctx, t, b)
	if u.from == nil {
		return c.client.session(ctx, opt, w, fn)
	}
	w.cache = u.ref
	with, store := offer(ctx, opt, u.from)
	defer store.Close()
	err = c.client.session(ctx, with, w, fn)
	broken := store.Failed()
	if broken == nil || ctx.Err() != nil {
		return err
	}
	c.failed(u, broken)
	if err == nil {
		return nil
	}
	w.again(broken)
	return c.client.session(ctx, opt, w, fn)
}

// offer is opt with a cache from which steps may be taken, as long as the store is open.
func offer(ctx context.Context, opt client.SolveOpt, from *cachestore.Cache) (client.SolveOpt, *cachestore.Store) {
	imports, err := json.Marshal([]client.CacheOptionsEntry{{Type: "local", Attrs: map[string]string{"src": from.Name, "digest": from.Digest.String()}}})
	if err != nil {
		panic(fmt.Sprintf("encode strings: %v", err))
	}
	store := from.Store(ctx)
	opt.FrontendAttrs = maps.Clone(opt.FrontendAttrs)
	opt.FrontendAttrs[attrImports] = string(imports)
	opt.Session = append(slices.Clone(opt.Session), sessioncontent.NewAttachable(map[string]content.Store{"local:" + from.Name: store}))
	return opt, store
}

// built remembers that the daemon has a service now, and has its steps exported, if they are new and may be.
func (c *Cache) built(t runner.Task, b runner.Build, attrs map[string]string, w *Watch, u use) {
	// What a stranger's commit or somebody's working tree left need not be what others are about to build.
	if c == nil || !b.Cacheable {
		return
	}
	c.remember(u)
	if !w.worked() && !u.missing || t.Keep == nil {
		return
	}
	release := t.Keep()
	if release == nil {
		return
	}
	t.Secrets, t.Mask = nil, nil
	attrs = maps.Clone(attrs)
	delete(attrs, attrNoCache)
	c.cfg.Later(u.ref, func(ctx context.Context) error { return c.export(ctx, t, b, attrs, u) }, release)
}

func (c *Cache) remember(u use) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, ok := c.known[u.ref]; ok && u.from != nil && k.from == u.from {
		return // it is as old as it is
	}
	maps.DeleteFunc(c.known, func(_ string, k known) bool { return now.Sub(k.at) >= believed })
	c.known[u.ref] = known{at: now, from: u.from}
}

// Keychain has credentials by registry in the form of who reads registries.
func Keychain(auth map[string]Credentials) authn.Keychain { return keychain(auth) }

// keychain has the credentials in the form of who reads registries for us.
type keychain map[string]Credentials

// Resolve finds those of a registry.
func (k keychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	c, ok := k[authHost(r.RegistryStr())]
	switch {
	case !ok:
		return authn.Anonymous, nil
	case c.User == "":
		return authn.FromConfig(authn.AuthConfig{IdentityToken: c.Secret}), nil
	default:
		return &authn.Basic{Username: c.User, Password: c.Secret}, nil
	}
}

// again has what was seen not count: it is solved once more, without the cache.
func (w *Watch) again(why error) {
	w.mu.Lock()
	var progress []runner.Progress
	for _, x := range w.order {
		x.err = ""
		progress = append(progress, x.progress())
		x.forget()
	}
	w.mu.Unlock()
	_, _ = fmt.Fprintf(w.report, "\nthe build cache cannot be used, so everything is built here: %s\n\n", w.mask.Text(why.Error()))
	w.report.Progress(progress...)
}

// forget what is known of the vertex, but for its number and name: it may begin once more.
func (x *vertex) forget() {
	x.gone, x.err, x.header, x.footer, x.cached = true, "", false, false, false
	x.started, x.finished = time.Time{}, time.Time{}
	x.output, x.status = nil, client.VertexStatus{}
	clear(x.announced)
}

const importing = "importing cache manifest from "

func isImport(vertex string) bool { return strings.HasPrefix(vertex, importing) }

// called is what a vertex is called for people.
func (w *Watch) called(vertex string) string {
	if isImport(vertex) && w.cache != "" {
		return importing + w.cache
	}
	return vertex
}

// worked says that the daemon had to carry out something: not only what is the same for every build.
func (w *Watch) worked() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range w.order {
		if x.kind == "" && !x.gone && !x.cached && !x.started.IsZero() && !beside(x.name) {
			return true
		}
	}
	return false
}

// beside are vertices that no cache has.
func beside(vertex string) bool {
	for _, p := range []string{"[internal] ", "[auth] ", importing, "exporting ", "resolve image config for ", "docker-image://"} {
		if strings.HasPrefix(vertex, p) {
			return true
		}
	}
	return strings.Contains(vertex, "] FROM ")
}
