package buildkit

import (
	"context"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
)

// DigestOf is what a build answers whose push was answered with a digest.
func (c *Client) DigestOf(ctx context.Context, repository, pushed string) (image string, err error) {
	d, err := c.imageDigest(ctx, repository, map[string]string{exptypes.ExporterImageDigestKey: pushed})
	return d.image, err
}
