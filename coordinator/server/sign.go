package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/slipway-build/slipway/coordinator/artifact"
	"github.com/slipway-build/slipway/coordinator/config"
	"github.com/slipway-build/slipway/internal/cosign"
)

// signPatience is how long a registry that does not answer is asked again.
const signPatience = 2 * time.Minute

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

// sign signs an image, the provenance in an index, and the SBOM of a digest, as far as there are any.
func (s *signer) sign(ctx context.Context, image, index, sbom string) (key, message string, err error) {
	if s == nil {
		return "", "", errors.New("this coordinator has no signing.key_file, and the one that planned the run had: give all coordinators the same key")
	}
	if image == "" {
		return "", "", errors.New("the build left no image that could be signed")
	}
	said, err := backoff.Retry(ctx, func() (string, error) {
		said, err := s.once(ctx, image, index, sbom)
		var answer *transport.Error
		switch {
		case errors.As(err, &answer) && slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden}, answer.StatusCode):
			return "", backoff.Permanent(fmt.Errorf("%w; registry_auth of the coordinator must allow it to push there", err))
		case errors.Is(err, cosign.ErrNotFound), errors.Is(err, artifact.ErrNotFound), errors.Is(err, artifact.ErrCorrupt):
			return "", backoff.Permanent(err)
		}
		return said, err
	}, backoff.WithMaxElapsedTime(signPatience))
	if err != nil {
		return "", "", err
	}
	return s.key.ID(), said, nil
}

func (s *signer) once(ctx context.Context, image, index, sbom string) (message string, err error) {
	message = "signed with key " + s.key.ID()
	var attestations []cosign.Attestation
	if index != "" {
		a, ok, err := cosign.Provenance(ctx, index, s.o)
		if err != nil {
			return "", err
		}
		if ok {
			attestations = append(attestations, a)
			message += ", with its provenance"
		}
	}
	if sbom != "" {
		data, err := s.blobs.Get(ctx, sbom)
		if err != nil {
			return "", fmt.Errorf("the SBOM: %w", err)
		}
		attestations = append(attestations, cosign.Attestation{PredicateType: cosign.SPDX, Predicate: data})
		message += ", with its SBOM"
	}
	_, err = cosign.Sign(ctx, image, s.key, attestations, s.o)
	return message, err
}
