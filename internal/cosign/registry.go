package cosign

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// ErrNotFound means that the registry has no such image.
var ErrNotFound = errors.New("the registry has no such image: push it first")

// Options say how a registry is spoken to.
type Options struct {
	Keychain authn.Keychain // finds credentials by registry; nil: there are none
	Insecure []string       // hosts that are spoken to without TLS, "host:port"; loopback always is
}

// registry is where an image is.
type registry struct {
	image name.Digest
	desc  *remote.Descriptor // of the image
	with  []remote.Option
}

func open(ctx context.Context, ref string, o Options) (*registry, error) {
	var names []name.Option
	if host, _, _ := strings.Cut(ref, "/"); slices.Contains(o.Insecure, host) {
		names = append(names, name.Insecure)
	}
	image, err := name.NewDigest(ref, append(names, name.StrictValidation)...)
	if err != nil {
		return nil, fmt.Errorf("expected <registry>/<repository>@sha256:…, as a tag may mean another image tomorrow: %w", err)
	}
	r := &registry{image: image, with: []remote.Option{remote.WithContext(ctx)}}
	if o.Keychain != nil {
		r.with = append(r.with, remote.WithAuthFromKeychain(o.Keychain))
	}
	r.desc, err = remote.Get(image, r.with...)
	if missing(err) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read the image: %w", err)
	}
	return r, nil
}

func missing(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}

// under is the image under a tag, or one without layers.
func (r *registry) under(tag name.Tag) (v1.Image, error) {
	desc, err := remote.Get(tag, r.with...)
	if missing(err) {
		return nothing(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", tag, err)
	}
	if !desc.MediaType.IsImage() {
		return nil, fmt.Errorf("%s is no image but %s, and so holds no signatures of cosign: delete it", tag, desc.MediaType)
	}
	return desc.Image()
}

// blob is the content of a layer of the image's repository, if its size is within the limit.
func (r *registry) blob(d v1.Descriptor) ([]byte, error) {
	if d.Size > maxEnvelope {
		return nil, fmt.Errorf("%s has %d bytes, and no more than %d are read", d.Digest, d.Size, maxEnvelope)
	}
	layer, err := remote.Layer(r.image.Context().Digest(d.Digest.String()), r.with...)
	if err != nil {
		return nil, err
	}
	body, err := layer.Compressed() // as it is in the registry
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, d.Size+1))
	if err == nil && int64(len(data)) != d.Size {
		err = fmt.Errorf("%s has another size than its manifest says", d.Digest)
	}
	return data, err
}

// referrers are the manifests that say that they are about the image; none where the registry does not
// tell, as cosign then takes it too. They are read, as registries do not agree on what the list says.
func (r *registry) referrers() (out []*v1.Manifest, err error) {
	index, err := remote.Referrers(r.image, r.with...)
	var answer *transport.Error
	if errors.As(err, &answer) && answer.StatusCode/100 == 4 && answer.StatusCode != http.StatusTooManyRequests {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what refers to the image: %w", err)
	}
	all, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("read what refers to the image: %w", err)
	}
	if len(all.Manifests) > maxLayers {
		return nil, fmt.Errorf("%d manifests refer to the image, and no more than %d are read: delete some", len(all.Manifests), maxLayers)
	}
	for _, d := range all.Manifests {
		if !d.MediaType.IsImage() {
			continue
		}
		m, err := r.manifest(d.Digest)
		if missing(err) { // deleted meanwhile
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read what refers to the image: %w", err)
		}
		out = append(out, m)
	}
	return out, nil
}

// manifest is one of the image's repository.
func (r *registry) manifest(digest v1.Hash) (*v1.Manifest, error) {
	desc, err := remote.Get(r.image.Context().Digest(digest.String()), r.with...)
	if err != nil {
		return nil, err
	}
	m, err := v1.ParseManifest(bytes.NewReader(desc.Manifest))
	if err != nil {
		return nil, fmt.Errorf("%s is no manifest: %w", digest, err)
	}
	return m, nil
}
