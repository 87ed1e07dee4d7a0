package submit

import (
	"context"
	"maps"
	"slices"

	"github.com/slipway-build/slipway/coordinator/plan"
)

// Artifacts tells whether what a test left is still kept.
type Artifacts interface {
	Exists(ctx context.Context, digest string) (bool, error)
}

// missing answers the ids of reused tests of which an artifact is not there that a task is given which is carried out.
// there is what was asked before.
func (s *Submitter) missing(ctx context.Context, p plan.Plan, there map[string]bool) (map[string]bool, error) {
	reused := map[string]*plan.Reuse{}
	for i := range p.Tasks {
		if r := p.Tasks[i].Reuse; r != nil {
			reused[p.Tasks[i].ID] = r
		}
	}
	out := map[string]bool{}
	for _, t := range p.Tasks {
		if t.Reuse != nil || t.Test == nil {
			continue
		}
		for _, u := range t.Test.Use {
			maker, ok := reused[u.Task]
			if !ok {
				continue
			}
			a, _ := maker.Result.Artifact(u.Artifact)
			if _, asked := there[a.Digest]; !asked && a.Digest != "" {
				var err error
				if there[a.Digest], err = s.cfg.Artifacts.Exists(ctx, a.Digest); err != nil {
					return nil, err
				}
			}
			if !there[a.Digest] {
				out[u.Task] = true
			}
		}
	}
	return out, nil
}

// withArtifacts adds to what is gone of a plan the tests of which an artifact is not there that is needed, since what is
// gone, and what needs that, is carried out again.
func (s *Submitter) withArtifacts(ctx context.Context, p plan.Plan, gone map[string]bool) error {
	p.Tasks = slices.Clone(p.Tasks)
	there := map[string]bool{}
	for {
		for i := range p.Tasks { // a task comes behind what it needs
			t := &p.Tasks[i]
			if t.Reuse != nil && (gone[t.ID] || slices.ContainsFunc(t.Needs, func(need string) bool { return gone[need] })) {
				gone[t.ID], t.Reuse = true, nil
			}
		}
		missing, err := s.missing(ctx, p, there)
		if err != nil || len(missing) == 0 {
			return err
		}
		maps.Copy(gone, missing)
	}
}
