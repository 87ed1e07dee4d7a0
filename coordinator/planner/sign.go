package planner

import (
	"github.com/slipway-build/slipway/coordinator/affected"
	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/plan"
)

// sign adds the task that signs the image of a service, once its tests have passed and what was found in it does not
// say no. The runs of strangers, of pull requests and of working trees sign nothing, and neither does one that is not for a release.
func (p *planner) sign(s *pipeline.Service) {
	if s.Build == nil {
		return
	}
	needs := []string{plan.BuildID(s.Name)}
	for _, t := range p.tasks {
		if t.Service == s.Name && (t.Kind == plan.KindTest || t.Kind == plan.KindGather || t.Kind == plan.KindFindings) {
			needs = append(needs, t.ID)
		}
	}
	p.add(plan.Task{
		ID: plan.SignID(s.Name), Kind: plan.KindSign, Service: s.Name, Needs: needs, Key: p.in.Key, Reason: "the image is signed with the key of the farm",
		Digest: affected.SignDigest(affected.SignInputs{Build: p.digests[s.Name], Key: p.in.Key}),
	})
}
