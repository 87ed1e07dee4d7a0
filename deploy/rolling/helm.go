package rolling

import (
	"context"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/manifest"
	"github.com/slipway-build/slipway/deploy/release"
)

// tellHelm makes Helm's record say what now stands on the cluster, or takes it away where Helm is to know nothing.
func (r *rollout) tellHelm(ctx context.Context) error {
	write := func() (err error) {
		r.result.Helm, err = release.Write(ctx, r.cluster, r.record)
		if len(r.result.Helm.Refused) > 0 { // it came into being since the survey
			r.result.Verdict, r.result.Applied.Refused = Refused, r.result.Helm.Refused
		}
		return err
	}
	if manifest.ChartOf(r.record.Manifests) == nil {
		return write()
	}
	return r.step("helm release", func() error {
		// Waiting for health took its time: who overtook this lease may have written objects, and not told Helm yet.
		live, err := apply.Owned(ctx, r.cluster, r.target)
		if err != nil {
			return err
		}
		for _, object := range live {
			if err := object.Superseded(r.fence); err != nil {
				return err
			}
		}
		return write()
	})
}
