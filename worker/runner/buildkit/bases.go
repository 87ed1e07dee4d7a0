package buildkit

import (
	"context"
	"encoding/json"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/internal/dockerfile"
	"github.com/slipway-build/slipway/worker/runner"
)

// labelHomemade marks base images that slipway images bootstrap made in place of
// official ones.
const labelHomemade = "dev.slipway.homemade"

// attrHomemade is how the provenance names them: BuildKit records the attributes of
// the frontend, which does not know this one.
const attrHomemade = "slipway:homemade-bases"

// homemade answers which of the images that a Dockerfile builds on are home-made, by
// asking the daemon, which has the mirrors. What cannot be resolved is left to the
// build, whose error says more.
func homemade(ctx context.Context, gw gateway.Client, src []byte, b runner.Build) []string {
	opt := sourceresolver.Opt{ImageOpt: &sourceresolver.ResolveImageOpt{ResolveMode: "default"}}
	if b.Platform != "" {
		if p, err := platforms.Parse(b.Platform); err == nil {
			opt.ImageOpt.Platform = &p
		}
	}
	var found []string
	for _, ref := range bases(src, b) {
		opt.LogName = "[internal] load metadata for " + ref // as the frontend says it: one line for both
		_, _, config, err := gw.ResolveImageConfig(ctx, ref, opt)
		if err != nil {
			continue
		}
		var image ocispecs.Image
		if json.Unmarshal(config, &image) == nil && image.Config.Labels[labelHomemade] == "true" {
			found = append(found, ref)
		}
	}
	return found
}

// bases of a Dockerfile; none where it cannot be parsed, for the build says more of that.
func bases(src []byte, b runner.Build) []string {
	how := dockerfile.Build{Args: b.Args, Contexts: map[string]struct{}{}, Platform: b.Platform}
	for name := range b.Contexts {
		how.Contexts[name] = struct{}{}
	}
	refs, err := dockerfile.Bases(src, how)
	if err != nil {
		return nil
	}
	return refs
}
