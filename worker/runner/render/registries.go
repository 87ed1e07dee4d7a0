package render

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/slipway-build/slipway/internal/cosign"
	"github.com/slipway-build/slipway/worker/runner"
)

// Limits of what registries are waited for.
const (
	registryTime   = time.Minute     // one question
	registriesTime = 3 * time.Minute // all of a task, which has five: what is not answered in time is no failure of the user's
)

var errNoTag = errors.New("the registry has no such tag")

// Registries are where policies have images looked up.
type Registries struct {
	Keychain authn.Keychain // finds credentials by registry; nil: there are none
	Insecure []string       // hosts that are spoken to without TLS, "host:port"; loopback always is
}

// resolve is the digest that a tag means; errNoTag: it means nothing.
func (r Registries) resolve(ctx context.Context, tagged string) (string, error) {
	tag, err := name.NewTag(tagged)
	if err == nil && slices.Contains(r.Insecure, tag.RegistryStr()) {
		tag, err = name.NewTag(tagged, name.Insecure)
	}
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, registryTime, errors.New("the registry did not answer in time"))
	defer cancel()
	with := []remote.Option{remote.WithContext(ctx)}
	if r.Keychain != nil {
		with = append(with, remote.WithAuthFromKeychain(r.Keychain))
	}
	d, err := remote.Head(tag, with...)
	var answer *transport.Error
	if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		return "", errNoTag
	}
	if err != nil {
		return "", explained(ctx, fmt.Errorf("look up %s: %w", tagged, err))
	}
	return d.Digest.String(), nil
}

// verify says what of wants is not signed with one of the keys.
func (r Registries) verify(ctx context.Context, image string, wants []cosign.Want, keys []runner.PublicKey) (doubts []string, err error) {
	public := make([]*cosign.PublicKey, 0, len(keys))
	for _, k := range keys {
		p, err := cosign.LoadPublicKey([]byte(k.PEM))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.Name, err)
		}
		if p.Name = k.Name; k.Farm {
			p.Builder = runner.BuilderID
		}
		public = append(public, p)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, registryTime, errors.New("the registry did not answer in time"))
	defer cancel()
	found, err := cosign.Verify(ctx, image, wants, public, cosign.Options(r))
	if err != nil {
		return nil, explained(ctx, err)
	}
	for _, d := range found {
		doubts = append(doubts, d.Reason)
	}
	return doubts, nil
}

func explained(ctx context.Context, err error) error {
	var answer *transport.Error
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	case errors.As(err, &answer) && slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden}, answer.StatusCode):
		return fmt.Errorf("%w; the image must be there, and registry_auth of the worker must allow it to pull", err)
	}
	return err
}

func matches(pattern, text string) bool {
	ok, err := path.Match(pattern, text)
	return ok && err == nil
}
