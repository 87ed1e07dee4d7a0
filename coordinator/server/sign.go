package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/slipway-build/slipway/coordinator/artifact"
	"github.com/slipway-build/slipway/coordinator/config"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/internal/cosign"
)

// signPatience is how long a registry that does not answer is asked again, tryPatience how long each time.
const (
	signPatience = 2 * time.Minute
	tryPatience  = 40 * time.Second
)

// signer signs images with the key of the farm.
type signer struct {
	key   *cosign.Key
	o     cosign.Options
	blobs *artifact.Store
}

// newSigner reads the key; nil: there is none.
func newSigner(c config.Signing, auth authn.Keychain, blobs *artifact.Store) (*signer, error) {
	if len(c.Key) == 0 {
		return nil, nil //nolint:nilnil // nothing is signed
	}
	key, err := cosign.LoadKey(c.Key, []byte(c.Password))
	if err != nil {
		return nil, fmt.Errorf("signing.key_file: %w", err)
	}
	return &signer{key, cosign.Options{Keychain: auth}, blobs}, nil
}

// id of the key; empty: there is none.
func (s *signer) id() string {
	if s == nil {
		return ""
	}
	return s.key.ID()
}

// public half of the key, in PEM; empty: there is none.
func (s *signer) public() string {
	if s == nil {
		return ""
	}
	return string(s.key.Public())
}

// sign signs the image of a build with the key that the plan names, and the build's provenance and SBOM, as far as
// there are any.
func (s *signer) sign(ctx context.Context, key string, built plan.Result) (message string, err error) {
	switch {
	case s.id() != key:
		return "", fmt.Errorf("the plan has the image signed with key %s, and this coordinator has %s: give all coordinators the same signing.key_file, and run the commit anew", key, cmp.Or(s.id(), "none"))
	case built.Image == "":
		return "", errors.New("the build left no image that could be signed")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, signPatience, errors.New("the registry did not answer in time"))
	defer cancel()
	return backoff.Retry(ctx, func() (string, error) {
		try, cancel := context.WithTimeout(ctx, tryPatience)
		defer cancel()
		said, err := s.once(try, built)
		var answer *transport.Error
		switch {
		case err == nil:
			return said, nil
		case errors.As(err, &answer) && slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden}, answer.StatusCode):
			err = fmt.Errorf("%w; registry_auth of the coordinator must allow it to push there", err)
		case errors.Is(err, cosign.ErrNotFound):
			err = fmt.Errorf("%w; it was there when it was built: run the commit anew, which builds it again", err)
		case errors.As(err, &answer) && answer.Temporary(), !errors.As(err, &answer) && try.Err() != nil, errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF):
			return "", err // may be better the next time
		}
		return "", backoff.Permanent(err)
	}, backoff.WithMaxElapsedTime(signPatience))
}

func (s *signer) once(ctx context.Context, built plan.Result) (message string, err error) {
	message = "signed with key " + s.key.ID()
	var attestations []cosign.Attestation
	if built.Index != "" && built.Index != built.Image { // else it has none of its own
		a, ok, err := cosign.Provenance(ctx, built.Index, s.o)
		if err != nil {
			return "", err
		}
		if ok {
			attestations = append(attestations, a)
			message += ", with its provenance"
		}
	}
	if built.SBOM != "" {
		data, err := s.blobs.Get(ctx, built.SBOM)
		if err != nil {
			return "", fmt.Errorf("the SBOM: %w", err)
		}
		attestations = append(attestations, cosign.Attestation{PredicateType: cosign.SPDX, Predicate: data})
		message += ", with its SBOM"
	}
	_, err = cosign.Sign(ctx, built.Image, s.key, attestations, s.o)
	return message, err
}
