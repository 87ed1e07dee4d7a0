package submit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/planner"
	"github.com/slipway-build/slipway/coordinator/source"
)

// unusable reads what the commit has that no task can use, and whose image does without.
func (s *Submitter) unusable(ctx context.Context, req Request, commit string, pipe *pipeline.Pipeline, paths []string) ([]planner.Unusable, error) {
	repository := req.Repository
	found, err := s.cfg.Mirror.Unusable(ctx, repository, commit, paths)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	for _, u := range found {
		if u.Why == source.Submodule && !req.Untrusted && slices.Contains(pipe.Source.Submodules, u.Path) {
			if err := s.cfg.Mirror.Submodule(ctx, repository, commit, u.Path); err != nil {
				return nil, err
			}
		}
	}
	out := make([]planner.Unusable, 0, len(found))
	for _, u := range found {
		out = append(out, planner.Unusable{Path: u.Path, Why: planner.Why(u.Why), Target: u.Target})
	}
	for _, service := range pipe.Services {
		if service.Build == nil {
			continue
		}
		ignored, err := s.ignored(ctx, repository, commit, service)
		if err != nil {
			return nil, err
		}
		if ignored == nil {
			continue
		}
		for i := range out {
			// A worker refuses a link to elsewhere before BuildKit is asked.
			if rel, ok := below(out[i].Path, service.Build.Context); ok && out[i].Why != planner.LeavesRepository && ignored(rel) {
				out[i].Spared = append(out[i].Spared, service.Name)
			}
		}
	}
	return out, nil
}

// ignored reads the .dockerignore that BuildKit will take: the Dockerfile's own, or that
// of the context; nil: there is none.
func (s *Submitter) ignored(ctx context.Context, repository, commit string, service *pipeline.Service) (func(path string) bool, error) {
	for _, name := range service.IgnoreFiles() {
		data, err := s.cfg.Mirror.File(ctx, repository, commit, name)
		if errors.Is(err, source.ErrFileNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		patterns, err := ignorefile.ReadAll(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		matcher, err := patternmatcher.New(patterns)
		if err != nil {
			return nil, nil //nolint:nilerr,nilnil // the build says what is wrong with it
		}
		return func(path string) bool {
			ok, err := matcher.MatchesOrParentMatches(path)
			return ok && err == nil
		}, nil
	}
	return nil, nil //nolint:nilnil // as above
}

// below is a path as it is seen from a folder.
func below(name, folder string) (string, bool) {
	if folder == "." {
		return name, true
	}
	return strings.CutPrefix(name, folder+"/")
}
