// Package bases finds out which images the tags that Dockerfiles and sidecars stand on mean now, so
// that a tag that moved is another input (DESIGN D5).
package bases

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/coordinator/planner"
)

const (
	// atOnce is how many tags are asked for at a time.
	atOnce = 16
	// wait is how long one is asked for, and how long a plan waits for all that it names: what is
	// not answered by then is what it was.
	wait = 5 * time.Second
	// most is how many answers are remembered: a stranger's Dockerfiles name what they like.
	most = 10_000
)

// Config of a Resolver.
type Config struct {
	// Mirrors are asked before the registry itself, by its host; each "host[:port][/path]".
	Mirrors map[string][]string
	// Keychain finds credentials by registry.
	Keychain authn.Keychain
	Memory   *Memory
	// Trusted are hosts that are asked wherever they are, as the farm's own registry: "host[:port]".
	Trusted []string
	// Wait is how long Resolve waits for registries; 0: 5 s.
	Wait time.Duration
	// Fresh is how long an answer is believed, also that there was none.
	Fresh time.Duration
	Now   func() time.Time
	Log   *slog.Logger
}

// Resolver answers which digests tags have. It may be used from many goroutines.
type Resolver struct {
	cfg     Config
	careful *http.Transport

	mu    sync.Mutex
	known map[string]*answer // by full name
}

// answer of the registries; done is closed when there is one.
type answer struct {
	done chan struct{}
	at   time.Time
	tag  planner.Tag // zero: nobody has ever told
}

// New makes a Resolver.
func New(cfg Config) *Resolver {
	return &Resolver{cfg: cfg, careful: careful(cfg.Trusted), known: map[string]*answer{}}
}

// careful is a transport that does not go where a registry is not: a stranger's Dockerfile may name
// the coordinator's own machine, or the metadata of its cloud. The addresses of hosts that
// the configuration names are not looked at.
func careful(trusted []string) *http.Transport {
	plain := &net.Dialer{Timeout: wait}
	guarded := &net.Dialer{Timeout: wait, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("address %s: %w", address, err)
		}
		if ip := at.Addr().Unmap(); ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast() {
			return fmt.Errorf("%w: %s", errNoRegistry, ip)
		}
		return nil
	}}
	t := remote.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is one
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if slices.Contains(trusted, address) || slices.Contains(trusted, strings.TrimSuffix(address, ":443")) {
			return plain.DialContext(ctx, network, address)
		}
		return guarded.DialContext(ctx, network, address)
	}
	return t
}

var errNoRegistry = errors.New("no registry is asked at this address: it is the machine's own, or of its link")

// Resolve answers the digests of images, by the full names given. Where no registry can tell now, it is
// what one said last; one that nobody ever could tell is not in the answer. Both are logged.
func (r *Resolver) Resolve(ctx context.Context, images []string) map[string]planner.Tag {
	within, cancel := context.WithTimeout(ctx, cmp.Or(r.cfg.Wait, wait))
	defer cancel()
	tags := make([]planner.Tag, len(images))
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i, image := range images {
		if _, digest, ok := strings.Cut(image, "@"); ok { // it cannot move
			tags[i].Digest = digest
			continue
		}
		g.Go(func() error {
			t, ok := r.one(within, image)
			if !ok {
				t, _ = r.cfg.Memory.Last(ctx, image) // find says what is wrong
			}
			tags[i] = t
			return nil
		})
	}
	_ = g.Wait()
	out := make(map[string]planner.Tag, len(images))
	for i, image := range images {
		if tags[i].Digest != "" {
			out[image] = tags[i]
		}
	}
	return out
}

// one answers what a tag means, the zero Tag if nobody can tell; not ok: there was no time to ask.
// Those who ask for the same share an answer.
func (r *Resolver) one(ctx context.Context, image string) (t planner.Tag, ok bool) {
	if ctx.Err() != nil {
		return planner.Tag{}, false
	}
	r.mu.Lock()
	a := r.known[image]
	if a == nil || r.old(a) {
		if len(r.known) >= most {
			maps.DeleteFunc(r.known, func(_ string, a *answer) bool { return r.old(a) })
		}
		if len(r.known) >= most {
			r.mu.Unlock()
			return planner.Tag{}, false
		}
		a = &answer{done: make(chan struct{})}
		r.known[image] = a
		go r.find(context.WithoutCancel(ctx), image, a)
	}
	r.mu.Unlock()
	select {
	case <-a.done:
		return a.tag, true
	case <-ctx.Done():
		return planner.Tag{}, false
	}
}

// old: the answer is there, and believed no more; mu is held.
func (r *Resolver) old(a *answer) bool {
	return !a.at.IsZero() && r.cfg.Now().Sub(a.at) >= r.cfg.Fresh
}

// find ends an answer.
func (r *Resolver) find(ctx context.Context, image string, a *answer) {
	ctx, cancel := context.WithTimeout(ctx, 2*wait)
	defer cancel()
	tag := r.tag(ctx, image)
	r.mu.Lock()
	defer r.mu.Unlock()
	a.tag, a.at = tag, r.cfg.Now()
	close(a.done)
}

func (r *Resolver) tag(ctx context.Context, image string) planner.Tag {
	last, err := r.cfg.Memory.Last(ctx, image)
	if err != nil {
		r.cfg.Log.WarnContext(ctx, "what a base image was is not known", "image", image, "err", err)
	}
	digest, err := r.ask(ctx, image)
	switch {
	case err != nil && last.Digest != "":
		r.cfg.Log.WarnContext(ctx, "no registry says what a base image is now; it is taken for what it was", "image", image, "digest", last.Digest, "err", err)
		return last
	case err != nil:
		r.cfg.Log.WarnContext(ctx, "no registry says what a base image is: when its tag moves, what stands on it is not built again", "image", image, "err", err)
		return planner.Tag{}
	case digest == last.Digest:
		return last
	}
	if last.Digest != "" {
		r.cfg.Log.InfoContext(ctx, "a base image is another one now", "image", image, "was", last.Digest, "is", digest)
	}
	is := planner.Tag{Digest: digest, Was: last.Digest}
	if err := r.cfg.Memory.Keep(ctx, image, is); err != nil {
		r.cfg.Log.WarnContext(ctx, "what a base image is is not kept", "image", image, "err", err)
	}
	return is
}

// ask the mirrors of a registry, and then the registry.
func (r *Resolver) ask(ctx context.Context, image string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	host, path, _ := strings.Cut(image, "/")
	var errs []error
	for _, at := range append(slices.Clone(r.cfg.Mirrors[host]), host) {
		through := remote.DefaultTransport
		if at == host { // a Dockerfile names it, and is anybody's
			through = r.careful
		}
		if at == "docker.io" {
			at = name.DefaultRegistry
		}
		digest, err := r.head(ctx, at+"/"+path, through)
		if err == nil {
			return digest, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", at, err))
		if ctx.Err() != nil {
			break
		}
	}
	return "", errors.Join(errs...)
}

func (r *Resolver) head(ctx context.Context, at string, through http.RoundTripper) (string, error) {
	ref, err := name.ParseReference(at)
	if err != nil {
		return "", fmt.Errorf("name of an image: %w", err)
	}
	opts := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(r.cfg.Keychain), remote.WithTransport(through), remote.WithRetryStatusCodes()}
	d, err := remote.Head(ref, opts...)
	var answer *transport.Error
	if errors.As(err, &answer) && answer.StatusCode == http.StatusMethodNotAllowed {
		full, err := remote.Get(ref, opts...)
		if err != nil {
			return "", fmt.Errorf("ask for the image: %w", err)
		}
		return full.Digest.String(), nil
	}
	if err != nil {
		return "", fmt.Errorf("ask for the image: %w", err)
	}
	return d.Digest.String(), nil
}
