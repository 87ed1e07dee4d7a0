package rolling

import (
	"context"
	"time"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/health"
	"github.com/slipway-build/slipway/deploy/manifest"
	"github.com/slipway-build/slipway/deploy/release"
)

// afterDeadline is how long the cluster has for saying that a Job's deadline is over.
const afterDeadline = 20 * time.Second

// survey asks whether the whole release would be accepted before a first hook is carried out, and whether Helm's record of it
// could be written. Without either there is nothing to do: applying begins with the same question.
func (r *rollout) survey(ctx context.Context) error {
	helm := r.clean && manifest.ChartOf(r.record.Manifests) != nil
	if len(r.before)+len(r.after) == 0 && !helm {
		return nil
	}
	return r.step("check", func() error {
		out, err := apply.Check(ctx, r.cluster, r.req)
		if err != nil {
			return err
		}
		if helm {
			refused, err := release.Check(ctx, r.cluster, r.record)
			if err != nil {
				return err
			}
			out.Refused = append(refused, out.Refused...)
		}
		if len(out.Refused) > 0 {
			r.result.Verdict, r.result.Applied.Refused = Refused, out.Refused
		}
		return nil
	})
}

// prepare creates what the pods of hooks may refer to and what the release before did not
// have: a migration of the first release finds its configuration.
func (r *rollout) prepare(ctx context.Context) error {
	if len(r.before) == 0 {
		return nil
	}
	return r.step("prepare", func() error {
		r.result.Touched = true
		req := r.req
		req.Missing = true
		out, err := apply.Apply(ctx, r.cluster, req)
		if len(out.Refused) > 0 {
			r.result.Verdict, r.result.Applied.Refused = Refused, out.Refused
		}
		return err
	})
}

// hooks carries out those of a phase, one after the other. The first that does not
// succeed is the verdict.
func (r *rollout) hooks(ctx context.Context, phase []manifest.Hook) error {
	for _, hook := range phase {
		if r.result.Verdict != "" && r.result.Verdict != Healthy {
			return nil
		}
		if err := r.step("hook "+hook.Ref.String(), func() error { return r.hook(ctx, hook) }); err != nil {
			return err
		}
	}
	return nil
}

func (r *rollout) hook(ctx context.Context, hook manifest.Hook) error {
	r.result.Touched = true
	req := r.req
	req.Hook = hook.Ref.Key()
	if err := apply.ClearHook(ctx, r.cluster, req, hook); err != nil {
		return err
	}
	req.Since = time.Now()
	out, err := apply.Apply(ctx, r.cluster, req)
	r.result.Hooks = append(r.result.Hooks, out.Changes...)
	if err != nil {
		return err
	}
	if len(out.Refused) > 0 {
		r.result.Verdict, r.result.Applied.Refused = Refused, out.Refused
		return nil
	}
	within := r.set.Timeout
	if hook.Deadline > 0 { // the cluster itself ends it then, and says so
		within = hook.Deadline + afterDeadline
	}
	report, err := health.Wait(ctx, r.cluster, health.Request{
		Namespace: r.target.Namespace, Objects: out.Refs(), Timeout: within, Patience: r.set.Patience,
		Grace: r.set.Grace, Progress: r.to.Progress,
	})
	if err != nil {
		return err
	}
	if !report.Healthy {
		r.result.Verdict, r.result.Health, r.result.hook = Unhealthy, report, hook
	}
	return nil
}

// hookRefs are the hooks that stand on the cluster: they are part of the release and not pruned.
func (r *rollout) hookRefs() []manifest.Ref { return apply.Outcome{Changes: r.result.Hooks}.Refs() }
