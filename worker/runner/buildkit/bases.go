package buildkit

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

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
func homemade(ctx context.Context, gw gateway.Client, dockerfile []byte, b runner.Build) []string {
	opt := sourceresolver.Opt{ImageOpt: &sourceresolver.ResolveImageOpt{ResolveMode: "default"}}
	if b.Platform != "" {
		if p, err := platforms.Parse(b.Platform); err == nil {
			opt.ImageOpt.Platform = &p
		}
	}
	var found []string
	for _, ref := range bases(dockerfile, b) {
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

// bases are the full names of the images that a Dockerfile names in FROM, sorted; of stages that the
// target does not need too.
func bases(dockerfile []byte, b runner.Build) []string {
	tree, err := parser.Parse(bytes.NewReader(dockerfile))
	if err != nil {
		return nil
	}
	stages, meta, err := instructions.Parse(tree.AST, nil)
	if err != nil {
		return nil
	}
	lex, args := shell.NewLex(tree.EscapeToken), given(b)
	for _, m := range meta {
		for _, a := range m.Args {
			if _, ok := b.Args[a.Key]; ok || a.Value == nil {
				continue
			}
			if value, _, err := lex.ProcessWord(*a.Value, shell.EnvsFromSlice(args)); err == nil {
				args = append(args, a.Key+"="+value)
			}
		}
	}
	var names, refs []string
	for _, s := range stages {
		ref, _, err := lex.ProcessWord(s.BaseName, shell.EnvsFromSlice(args))
		_, context := b.Contexts[ref]
		if err == nil && ref != "scratch" && !context && !slices.Contains(names, strings.ToLower(ref)) {
			if full, err := reference.ParseNormalizedNamed(ref); err == nil {
				refs = append(refs, reference.TagNameOnly(full).String())
			}
		}
		names = append(names, strings.ToLower(s.Name))
	}
	slices.Sort(refs)
	return slices.Compact(refs)
}

// given are the arguments that FROM may use without an ARG of its own, and those of
// the build.
func given(b runner.Build) []string {
	var args []string
	if p, err := platforms.Parse(b.Platform); err == nil {
		for _, of := range []string{"TARGET", "BUILD"} {
			args = append(args, of+"PLATFORM="+platforms.Format(p), of+"OS="+p.OS, of+"ARCH="+p.Architecture, of+"VARIANT="+p.Variant)
		}
	}
	for k, v := range b.Args {
		args = append(args, k+"="+v)
	}
	return args
}
