package submit

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Registry implements Images by asking registries.
type Registry struct {
	// Keychain finds credentials by registry.
	Keychain authn.Keychain
}

// Exists asks for the manifest without reading it.
func (r Registry) Exists(ctx context.Context, ref string) (bool, error) {
	d, err := name.NewDigest(ref)
	if err != nil {
		return false, fmt.Errorf("image %s: %w", ref, err)
	}
	_, err = remote.Head(d, remote.WithContext(ctx), remote.WithAuthFromKeychain(r.Keychain))
	var answer *transport.Error
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		return false, nil
	case errors.As(err, &answer):
		return false, fmt.Errorf("%w: %s answers %d to a request for %s", ErrRegistry, d.RegistryStr(), answer.StatusCode, d.RepositoryStr())
	default:
		return false, fmt.Errorf("%w: %s: %w", ErrRegistry, d.RegistryStr(), err)
	}
}
