package planner

import (
	"github.com/slipway-build/slipway/coordinator/plan"
)

// team is whose share of the workers a task takes: its service's owner's.
func (p *planner) team(t plan.Task) string {
	if t.Service == "" || t.Can == plan.CapabilityCoordinator {
		return ""
	}
	owners := p.in.Pipeline
	if p.in.Owners != nil {
		owners = p.in.Owners
	}
	s, ok := owners.Service(t.Service)
	if !ok {
		return ""
	}
	return s.Owner
}

// teams are the quotas of those that have tasks in the plan, in the order of targets.yaml,
// which is by name.
func (p *planner) teams() []plan.Team {
	if p.in.Targets == nil {
		return nil
	}
	has := map[string]bool{}
	for i := range p.tasks {
		has[p.tasks[i].Team] = true
	}
	var out []plan.Team
	for _, q := range p.in.Targets.Quotas {
		if has[q.Team] {
			out = append(out, plan.Team{Name: q.Team, Share: q.Share, Running: q.Running})
		}
	}
	return out
}

// groups are those with room for more than one task, of those that tasks of the plan are in, in
// the order of targets.yaml, which is by name.
func (p *planner) groups() []plan.Group {
	if p.in.Targets == nil {
		return nil
	}
	has := map[string]bool{}
	for i := range p.tasks {
		has[p.tasks[i].Group] = true
	}
	var out []plan.Group
	for _, g := range p.in.Targets.Groups {
		if has[g.Name] && g.Running > 1 {
			out = append(out, plan.Group{Name: g.Name, Running: g.Running})
		}
	}
	return out
}
