package submit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// remember is how long it is remembered how a repository wants to be asked: a ping and a token, for each of a
// hundred services, take longer than the questions. Credentials that were changed count after it at the latest.
const remember = 5 * time.Minute

// Registry implements Images by asking registries.
type Registry struct {
	keychain authn.Keychain

	mu    sync.Mutex
	asks  *remote.Puller
	since time.Time
}

// NewRegistry makes a Registry; the keychain finds credentials by registry.
func NewRegistry(keychain authn.Keychain) *Registry { return &Registry{keychain: keychain} }

func (r *Registry) puller() (*remote.Puller, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asks != nil && time.Since(r.since) < remember {
		return r.asks, nil
	}
	p, err := remote.NewPuller(remote.WithAuthFromKeychain(r.keychain))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRegistry, err)
	}
	r.asks, r.since = p, time.Now()
	return p, nil
}

// forget has the next question begin anew: a puller remembers failures too.
func (r *Registry) forget(p *remote.Puller) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asks == p {
		r.asks = nil
	}
}

// Exists asks for the manifest without reading it.
func (r *Registry) Exists(ctx context.Context, ref string) (bool, error) {
	d, err := name.NewDigest(ref)
	if err != nil {
		return false, fmt.Errorf("image %s: %w", ref, err)
	}
	p, err := r.puller()
	if err != nil {
		return false, err
	}
	_, err = p.Head(ctx, d)
	var answer *transport.Error
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		return false, nil
	}
	r.forget(p)
	switch {
	case errors.As(err, &answer):
		return false, fmt.Errorf("%w: %s answers %d to a request for %s", ErrRegistry, d.RegistryStr(), answer.StatusCode, d.RepositoryStr())
	default:
		return false, fmt.Errorf("%w: %s: %w", ErrRegistry, d.RegistryStr(), err)
	}
}
