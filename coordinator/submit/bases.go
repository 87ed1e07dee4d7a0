package submit

import (
	"context"
	"maps"
	"slices"

	"github.com/slipway-build/slipway/coordinator/planner"
	"github.com/slipway-build/slipway/internal/dockerfile"
)

// Bases tells what the tags of images mean now, by their full names. One that it cannot tell is
// not in the answer.
type Bases interface {
	Resolve(ctx context.Context, images []string) map[string]planner.Tag
}

// stands finds out what images and sidecars stand on at the commit. A Dockerfile that is not there or
// cannot be read is the build's to report.
func (s *Submitter) stands(ctx context.Context, in *planner.Input) error {
	if s.cfg.Bases == nil {
		return nil
	}
	var names []string
	for _, svc := range in.Pipeline.Services {
		if svc.Build != nil {
			names = append(names, svc.Build.Dockerfile)
		}
	}
	slices.Sort(names)
	files, err := s.cfg.Mirror.Named(ctx, in.Repository, in.Commit, slices.Compact(names))
	if err != nil {
		return err
	}
	in.Stands = map[string][]string{}
	images := map[string]bool{}
	for _, svc := range in.Pipeline.Services {
		src, ok := []byte(nil), false
		if svc.Build != nil {
			src, ok = files[svc.Build.Dockerfile]
		}
		if !ok {
			continue
		}
		how := dockerfile.Build{Args: svc.Build.Args, Contexts: map[string]struct{}{}, Platform: svc.Build.Platform}
		if how.Platform == "" {
			how.Platform = in.Platform
		}
		for _, c := range svc.Build.Contexts {
			how.Contexts[c.Name] = struct{}{}
		}
		found, err := dockerfile.Bases(src, how)
		if err != nil {
			continue
		}
		in.Stands[svc.Name] = found
		for _, image := range found {
			images[image] = true
		}
	}
	sidecars := map[string]string{} // as the file names them → full names
	for _, c := range in.Pipeline.Sidecars {
		if full, ok := dockerfile.FullName(c.Image); ok {
			sidecars[c.Image] = full
			images[full] = true
		}
	}
	in.Tags = s.cfg.Bases.Resolve(ctx, slices.Sorted(maps.Keys(images)))
	for short, full := range sidecars {
		if t, ok := in.Tags[full]; ok {
			in.Tags[short] = t
		}
	}
	return nil
}
