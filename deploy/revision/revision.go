package revision

import (
	"context"
	"fmt"
	"slices"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/manifest"
	"github.com/slipway-build/slipway/internal/failpoint"
)

// Release is a release that once was good.
type Release struct {
	ID        string
	Manifests []byte
}

// Request asks to take a candidate back.
type Request struct {
	Target      apply.Target
	Candidate   string   // release id
	Stable      *Release // nil: the candidate was the first
	Fence       apply.Fence
	Run         string
	Traceparent string
	Policy      manifest.Policy
	Changed     func(apply.Change)
}

// Rollback ends with the stable release's objects on the cluster, or without the candidate's. Outcome.Refused means that the
// cluster did not accept the stable manifests; ErrSuperseded in the error that another release was there first; any other error
// that the farm could not tell.
func Rollback(ctx context.Context, c *cluster.Cluster, req Request) (apply.Outcome, error) {
	live, err := apply.Owned(ctx, c, req.Target)
	if err != nil {
		return apply.Outcome{}, err
	}
	mine := written(live, req.Candidate)
	if err := stillOurs(live, mine, req); err != nil {
		return apply.Outcome{}, err
	}
	failpoint.Hit(failpoint.RollbackBegun)
	if req.Stable == nil {
		return remove(ctx, c, req, mine)
	}
	stable := apply.Request{
		Target: req.Target, Manifests: req.Stable.Manifests, Policy: req.Policy, Changed: req.Changed,
		Stamp: apply.Stamp{Fence: req.Fence, Release: req.Stable.ID, Run: req.Run, Traceparent: req.Traceparent},
	}
	if len(mine) == 0 {
		if err := untouched(ctx, c, stable, req); err != nil {
			return apply.Outcome{}, err
		}
	}
	if beside(mine, req.Stable.Manifests) {
		removed, err := remove(ctx, c, req, mine)
		if err != nil {
			return removed, err
		}
		failpoint.Hit(failpoint.RollbackRemoved)
		out, err := apply.Apply(ctx, c, stable)
		out.Changes = slices.Concat(removed.Changes, out.Changes)
		return out, err
	}
	out, err := apply.Apply(ctx, c, stable)
	if err != nil || len(out.Refused) > 0 {
		return out, err
	}
	if err := unblock(ctx, c, out.Refs(), req.Changed); err != nil {
		return out, err
	}
	removed, err := remove(ctx, c, req, added(mine, out))
	out.Changes = append(out.Changes, removed.Changes...)
	return out, err
}

// beside reports a candidate that only stands beside the stable release: it goes first then, since everything that is to serve
// does. One that replaced something serves until the stable release does again.
func beside(mine []apply.Live, stable []byte) bool {
	objs, _ := manifest.Parse(stable)
	has := map[string]bool{}
	for _, obj := range objs {
		has[plain(manifest.RefOf(obj))] = true
	}
	return len(mine) > 0 && !slices.ContainsFunc(mine, func(l apply.Live) bool { return has[plain(l.Ref)] })
}

// plain is the key of an object of the target's namespace, which manifests may leave out.
func plain(ref manifest.Ref) string {
	ref.Namespace = ""
	return ref.Key()
}

// untouched decides a candidate of which nothing is left. When a rollback is already done or the candidate never wrote,
// nothing differs from stable; a difference is the work of somebody later.
func untouched(ctx context.Context, c *cluster.Cluster, stable apply.Request, req Request) error {
	plan, err := apply.DryRun(ctx, c, stable)
	if err != nil {
		return err
	}
	foreign := map[string]bool{}
	live, err := apply.Owned(ctx, c, req.Target)
	if err != nil {
		return err
	}
	for _, object := range live {
		if release := object.Release(); release != req.Stable.ID {
			foreign[object.Ref.Key()] = true
		}
	}
	for _, change := range plan.Changes {
		if change.Action == apply.Updated && foreign[change.Ref.Key()] {
			return fmt.Errorf("%s no longer carries release %s and differs from release %s; nothing is taken back: %w",
				change.Ref, req.Candidate, req.Stable.ID, apply.ErrSuperseded)
		}
	}
	return nil
}

// stillOurs returns an error in ErrSuperseded's chain when a release that is neither of the two wrote after the candidate.
func stillOurs(live, mine []apply.Live, req Request) error {
	first, known := oldest(mine)
	for _, object := range live {
		if err := object.Superseded(req.Fence); err != nil {
			return err
		}
		release := object.Release()
		if !known || release == req.Candidate || (req.Stable != nil && release == req.Stable.ID) {
			continue
		}
		fence, err := apply.ParseFence(object.Annotations[apply.AnnotationFence])
		if err == nil && fence.Compare(first) > 0 {
			return fmt.Errorf("%s was written by release %s after release %s; nothing is taken back: %w",
				object.Ref, release, req.Candidate, apply.ErrSuperseded)
		}
	}
	return nil
}

func oldest(mine []apply.Live) (first apply.Fence, known bool) {
	for _, object := range mine {
		fence, err := apply.ParseFence(object.Annotations[apply.AnnotationFence])
		if err == nil && (!known || fence.Compare(first) < 0) {
			first, known = fence, true
		}
	}
	return first, known
}

func written(live []apply.Live, release string) []apply.Live {
	var out []apply.Live
	for _, object := range live {
		if object.Release() == release {
			out = append(out, object)
		}
	}
	return out
}

// added are the candidate's objects that the stable release does not have.
func added(mine []apply.Live, stable apply.Outcome) []apply.Live {
	has := map[string]bool{}
	for _, ref := range stable.Refs() {
		has[ref.Key()] = true
	}
	var out []apply.Live
	for _, object := range mine {
		if !has[object.Ref.Key()] {
			out = append(out, object)
		}
	}
	return out
}

// remove deletes what the candidate brought. What was there before it, and was taken over, is not the candidate's to delete.
func remove(ctx context.Context, c *cluster.Cluster, req Request, objects []apply.Live) (apply.Outcome, error) {
	var changes []apply.Change
	var ours []apply.Live
	for _, object := range objects {
		if from := object.Adopted(); from != "" {
			changes = append(changes, apply.Change{Ref: object.Ref, Action: apply.Kept, Reason: "it belonged to " + from +
				" before Slipway, and is not deleted; it stands as the candidate left it"})
			continue
		}
		ours = append(ours, object)
	}
	deleted, err := apply.Delete(ctx, c, req.Fence, ours)
	changes = append(changes, deleted...)
	if req.Changed != nil {
		for _, change := range changes {
			req.Changed(change)
		}
	}
	return apply.Outcome{Changes: changes}, err
}
