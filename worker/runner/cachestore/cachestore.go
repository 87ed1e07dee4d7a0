// Package cachestore reads build caches, as BuildKit writes them to registries, in bounded time. What it reads it offers
// as a content store, from which BuildKit takes it over the session of a solve.
//
// BuildKit could read them itself. But a solve of it that waits for a registry which does not answer cannot be ended: it
// holds up every later one that has a step in common. So the worker reads, and has limits. The package writes nothing.
package cachestore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

var (
	// ErrMissing: there is no cache by that name yet.
	ErrMissing = errors.New("no cache is there")
	// ErrDenied: the registry is there, and does not allow it to be read.
	ErrDenied = errors.New("the registry does not allow its cache to be read")
	// ErrUnusable: what is there is none that BuildKit would take.
	ErrUnusable = errors.New("no build cache")
)

// configType is what BuildKit calls the configuration of a cache: which step has which layers.
const configType = "application/vnd.buildkit.cacheconfig.v0"

// maxSmall is how large a manifest or a configuration may be for BuildKit to take it.
const maxSmall = 1 << 20

// Options of a Registry.
type Options struct {
	Keychain authn.Keychain // nil: no credentials
	// Answer is how long a cache may take to be found; 0: 5 seconds.
	Answer time.Duration
	// Stall is how long a layer may bring nothing; 0: 20 seconds. All of it may take so long and a second for each MiB.
	Stall time.Duration
}

// Registry reads caches. It may be used from many goroutines.
type Registry struct {
	opt       Options
	transport *http.Transport
}

// New makes a Registry. Close ends its connections.
func New(o Options) *Registry {
	if o.Keychain == nil {
		o.Keychain = authn.NewMultiKeychain()
	}
	if o.Answer == 0 {
		o.Answer = 5 * time.Second
	}
	if o.Stall == 0 {
		o.Stall = 20 * time.Second
	}
	return &Registry{opt: o, transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: o.Answer}).DialContext, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: o.Answer, ResponseHeaderTimeout: o.Stall, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 8,
	}}
}

// Close ends connections that are idle.
func (r *Registry) Close() { r.transport.CloseIdleConnections() }

// Cache is what a registry has under a name: its manifest and configuration. Layers stay there until they are read.
type Cache struct {
	Name   string
	Digest digest.Digest // of the manifest

	small  map[digest.Digest][]byte
	sizes  map[digest.Digest]int64
	repo   name.Repository
	puller *remote.Puller
	stall  time.Duration
}

// Open finds the cache with a name, "<registry>/<repository>:<tag>". insecure: the registry is spoken to without TLS.
func (r *Registry) Open(ctx context.Context, ref string, insecure bool) (*Cache, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.opt.Answer, fmt.Errorf("%s has not answered for %s", ref, r.opt.Answer))
	defer cancel()
	c, err := r.open(ctx, ref, insecure)
	var answer *transport.Error
	switch {
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%w: %s", ErrMissing, ref)
	case errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		return nil, fmt.Errorf("%w (registry_auth in worker.yaml): %s: %w", ErrDenied, ref, err)
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, fmt.Errorf("read the build cache %s: %w", ref, err)
	}
	return c, nil
}

func (r *Registry) open(ctx context.Context, ref string, insecure bool) (*Cache, error) {
	var names []name.Option
	if insecure {
		names = append(names, name.Insecure)
	}
	tag, err := name.NewTag(ref, names...)
	if err != nil {
		return nil, err
	}
	puller, err := remote.NewPuller(remote.WithTransport(r.transport), remote.WithAuthFromKeychain(r.opt.Keychain))
	if err != nil {
		return nil, err
	}
	desc, err := puller.Get(ctx, tag)
	if err != nil {
		return nil, err
	}
	var m ocispecs.Manifest
	if err := json.Unmarshal(desc.Manifest, &m); err != nil {
		return nil, fmt.Errorf("%w: its manifest: %w", ErrUnusable, err)
	}
	if m.Config.MediaType != configType || m.Config.Digest.Validate() != nil {
		return nil, fmt.Errorf("%w but %s with %q", ErrUnusable, desc.MediaType, m.Config.MediaType)
	}
	if m.Config.Size > maxSmall || len(desc.Manifest) > maxSmall {
		return nil, fmt.Errorf("%w: its configuration has %d bytes, more than BuildKit takes", ErrUnusable, m.Config.Size)
	}
	c := &Cache{
		Name: ref, Digest: digest.FromBytes(desc.Manifest), repo: tag.Context(), puller: puller, stall: r.opt.Stall,
		small: map[digest.Digest][]byte{}, sizes: map[digest.Digest]int64{},
	}
	body, err := c.blob(ctx, m.Config.Digest)
	if err != nil {
		return nil, err
	}
	config, err := io.ReadAll(io.LimitReader(body, maxSmall+1)) // which checks its digest
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, err
	}
	c.small[c.Digest], c.small[m.Config.Digest] = desc.Manifest, config
	for _, l := range m.Layers {
		c.sizes[l.Digest] = l.Size
	}
	return c, nil
}

// blob begins to read a blob of the cache's repository.
func (c *Cache) blob(ctx context.Context, d digest.Digest) (io.ReadCloser, error) {
	layer, err := c.puller.Layer(ctx, c.repo.Digest(d.String()))
	if err != nil {
		return nil, err
	}
	return layer.Compressed()
}
