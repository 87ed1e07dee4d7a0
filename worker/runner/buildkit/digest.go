package buildkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// referenceType marks the manifest of an attestation within an index.
const referenceType = "vnd.docker.reference.type"

// imageDigest finds the digest of the image itself in what was pushed.
//
// With an attestation BuildKit pushes an index of the image and its attestation. The
// attestation holds times, so the index has another digest after every build; the
// image has not. It is the image's digest that goes into manifests: a rebuild that
// changed nothing must not restart a pod.
func (c *Client) imageDigest(ctx context.Context, repository string, resp map[string]string) (digests, error) {
	pushed := resp[exptypes.ExporterImageDigestKey]
	d, err := digest.Parse(pushed)
	if err != nil {
		return digests{}, fmt.Errorf("BuildKit answered no digest (%q): %w", pushed, err)
	}
	raw, err := c.manifest(ctx, repository, d)
	if err != nil {
		return digests{}, fmt.Errorf("read %s: %w", d, err)
	}
	var index ocispecs.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return digests{}, fmt.Errorf("read %s: %w", d, err)
	}
	if len(index.Manifests) == 0 {
		return digests{image: pushed, pushed: pushed}, nil
	}
	var images []string
	for _, m := range index.Manifests {
		if m.Annotations[referenceType] == "" {
			images = append(images, m.Digest.String())
		}
	}
	if len(images) != 1 {
		// Several platforms: the index is the image.
		return digests{image: pushed, pushed: pushed}, nil
	}
	return digests{image: images[0], pushed: pushed}, nil
}

// manifest that was pushed: as the daemon has it or, if that has thrown it away since, as the registry does.
func (c *Client) manifest(ctx context.Context, repository string, d digest.Digest) ([]byte, error) {
	raw, err := content.ReadBlob(ctx, proxy.NewContentStore(c.bk.ContentClient()), ocispecs.Descriptor{Digest: d})
	switch {
	case errdefs.IsNotFound(err):
		var names []name.Option
		if c.insecure(repository) {
			names = append(names, name.Insecure)
		}
		ref, err := name.NewDigest(repository+"@"+d.String(), names...)
		if err != nil {
			return nil, err
		}
		got, err := remote.Get(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(keychain(c.cfg.Auth)))
		if err != nil {
			return nil, fmt.Errorf("BuildKit does not have it any more, and the registry: %w", err)
		}
		return got.Manifest, nil // its digest was compared
	case err != nil:
		return nil, err
	case digest.FromBytes(raw) != d:
		return nil, errors.New("BuildKit's content of it is damaged")
	}
	return raw, nil
}
