package planner

import (
	"github.com/slipway-build/slipway/coordinator/affected"
	"github.com/slipway-build/slipway/coordinator/plan"
)

// sign adds the tasks that sign the image of each service, once its tests have passed and what was found in it does not
// say no. The runs of strangers, of pull requests and of working trees sign nothing, and neither does one that is not
// for a release.
func (p *planner) sign() {
	if p.in.Key == "" || p.until < stageRelease || p.in.Untrusted || p.in.Dirty || p.in.Onto != "" {
		return
	}
	needs := map[string][]string{} // of each service that has an image
	for i := range p.tasks {
		switch t := &p.tasks[i]; t.Kind {
		case plan.KindBuild, plan.KindTest, plan.KindGather, plan.KindFindings:
			needs[t.Service] = append(needs[t.Service], t.ID)
		default:
		}
	}
	for _, s := range p.in.Pipeline.Services {
		if s.Build == nil {
			continue
		}
		p.signs[s.Name] = true
		p.add(plan.Task{
			ID: plan.SignID(s.Name), Kind: plan.KindSign, Service: s.Name, Needs: needs[s.Name], Key: p.in.Key, Reason: "the image is signed with the key of the farm",
			Digest: affected.SignDigest(affected.SignInputs{Build: p.digests[s.Name], Key: p.in.Key}),
		})
	}
}
