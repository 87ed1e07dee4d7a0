package planner

import (
	"slices"
	"strings"

	"github.com/slipway-build/slipway/coordinator/plan"
)

// policies gives a render those of its target's environment, with the key of the farm. asked: what they say depends on what registries
// say when they are asked, so what one of these renders made stands in for no other. That something is signed is required of a release alone: what is only compared
// with the targets is written nowhere, and nobody has signed it.
func (p *planner) policies(r *plan.Render, target plan.Target) (asked bool) {
	e, ok := p.in.Targets.Environment(target.Environment)
	if !ok {
		return false
	}
	for _, policy := range e.Policies {
		if policy.Verifies() {
			if policy = p.verifying(policy); len(policy.Require) == 0 {
				continue
			}
		}
		asked = asked || policy.Asks()
		r.Policies = append(r.Policies, policy)
	}
	return asked
}

func (p *planner) verifying(policy plan.Policy) plan.Policy {
	if p.until < stageRelease {
		policy.Keys = nil
		policy.Require = slices.DeleteFunc(slices.Clone(policy.Require), func(r string) bool { return plan.Policy{Require: []string{r}}.Verifies() })
		return policy
	}
	if p.in.PublicKey != "" {
		own := plan.PublicKey{Name: "the key of the farm, " + p.in.Key, PEM: p.in.PublicKey, Farm: true}
		policy.Keys = append([]plan.PublicKey{own}, policy.Keys...)
	}
	return policy
}

// said is what policies say, as an input. Where they stand is none: a line above them rendered nothing anew.
func said(policies []plan.Policy) string {
	if len(policies) == 0 {
		return ""
	}
	policies = slices.Clone(policies)
	for i := range policies {
		policies[i].At = ""
	}
	return encoded(policies)
}

// signed are the tasks that sign the images of builds.
func (p *planner) signed(builds []string) []string {
	var out []string
	for _, id := range builds {
		service, ok := strings.CutPrefix(id, "build/")
		if ok && p.signs[service] {
			out = append(out, plan.SignID(service))
		}
	}
	return out
}

// checkPolicies reports those that nothing could satisfy, for want of a key.
func (p *planner) checkPolicies() {
	if p.until < stageRelease || p.in.Targets == nil {
		return
	}
	for _, e := range p.in.Targets.Environments {
		if i := slices.IndexFunc(e.Policies, func(policy plan.Policy) bool { return policy.Verifies() && len(policy.Keys) == 0 }); i >= 0 && p.in.PublicKey == "" {
			p.report.Add(e.Pos, "give the coordinator a key with signing.key_file, or name public keys with keys",
				"the policy %s of environment %s requires what is signed, and there is no key that could have", e.Policies[i].Name, e.Name)
		}
	}
}
