// Package rollout makes the deploy part of a plan: from the release on, through the
// environments in their order, to the last cluster, and the compensation that a
// failure would need.
//
// For each environment there is one task that begins the rollout, behind the
// environment before it; an apply for each service and cluster, behind the services
// that it needs on the same cluster; a promotion of each service once it is healthy in
// every cluster; and one barrier at the end. Between two waves of an environment there
// is a barrier, too.
//
// With a canary, the apply of a service in a cluster stands behind its steps: a shift gives
// the candidate a part, an analysis watches it, and a barrier waits for all clusters of the
// wave before the next shift, and before the apply, which is the last step. Blue-green is two
// steps: a candidate that stands beside and gets nothing, and one that gets all.
//
// The package does not know how a service is built or tested, and does not make the
// renders: it is given their ids.
package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/plan"
)

// infra is how often an apply is tried again when a cluster cannot be reached.
const infra = 3

// Service is a service that is deployed.
type Service struct {
	Name    string
	Needs   []string // services that are rolled out before it; those that are not deployed may be among them
	Health  *plan.Health
	Timeout int  // seconds until it must be healthy
	Beside  int  // seconds that what is carried out before and after may take
	OneWay  bool // a migration is among that which cannot be undone
	Adopt   bool
}

// Part is what the rollout adds to a plan, in no particular order.
type Part struct {
	Tasks     []plan.Task
	Rollbacks []plan.Task
}

// Targets are the places of an environment, in the order of clusters.
func Targets(e *pipeline.Environment) []plan.Target {
	out := make([]plan.Target, len(e.Clusters))
	for i, cluster := range e.Clusters {
		out[i] = plan.Target{Environment: e.Name, Cluster: cluster, Namespace: e.Namespace}
	}
	return out
}

// gates says for each cluster of an environment what its applies wait for: the
// beginning of the rollout, or the barrier after the wave before.
func gates(e *pipeline.Environment) map[string]string {
	out := make(map[string]string, len(e.Clusters))
	for _, cluster := range e.Clusters {
		out[cluster] = plan.RolloutID(e.Name)
	}
	for i, w := range e.Waves[min(1, len(e.Waves)):] {
		for _, cluster := range w.Clusters {
			out[cluster] = plan.WaveID(e.Name, e.Waves[i].Name)
		}
	}
	return out
}

// Make plans the rollout of all services to all environments, which are given in the
// order of targets.yaml. Without a service there is nothing to roll out.
func Make(services []Service, environments []*pipeline.Environment) Part {
	var p Part
	if len(services) == 0 {
		return p
	}
	sorted := slices.SortedFunc(slices.Values(services), func(a, b Service) int { return cmp.Compare(a.Name, b.Name) })
	deployed := make(map[string]bool, len(sorted))
	for _, s := range sorted {
		deployed[s.Name] = true
	}
	for _, whole := range environments {
		e := inParts(whole)
		p.begin(e)
		p.waves(e, sorted)
		promotions := make([]string, 0, len(sorted))
		for _, s := range sorted {
			applies := p.applies(s, e, deployed)
			where := &plan.Target{Environment: e.Name, Namespace: e.Namespace}
			promote := plan.Task{
				ID: plan.PromoteID(s.Name, e.Name), Kind: plan.KindPromote, Service: s.Name, Target: where,
				Needs: applies, Reason: "makes the candidate stable once it is healthy in every cluster of " + e.Name,
			}
			p.Tasks = append(p.Tasks, promote)
			promotions = append(promotions, promote.ID)
		}
		p.Tasks = append(p.Tasks, plan.Task{
			ID: plan.VerifiedID(e.Name), Kind: plan.KindVerified,
			Target: &plan.Target{Environment: e.Name, Namespace: e.Namespace},
			Needs:  sortedIDs(promotions), Reason: "every service is promoted in " + e.Name,
		})
	}
	return p
}

// inParts is an environment whose waves that go so many clusters at a time are waves of that many, one after the other. The soak comes behind the last.
func inParts(e *pipeline.Environment) *pipeline.Environment {
	out := *e
	out.Waves = nil
	for _, w := range e.Waves {
		if w.Parallel == 0 || w.Parallel >= len(w.Clusters) {
			out.Waves = append(out.Waves, w)
			continue
		}
		n := 0
		for clusters := range slices.Chunk(w.Clusters, w.Parallel) {
			n++
			part := *w
			part.Name, part.Clusters, part.Soak = fmt.Sprintf("%s.%d", w.Name, n), clusters, 0 // no name that is given has a dot
			out.Waves = append(out.Waves, &part)
		}
		out.Waves[len(out.Waves)-1].Soak = w.Soak
	}
	return &out
}

// begin adds the task that takes the environment's lock.
func (p *Part) begin(e *pipeline.Environment) {
	needs, reason, wait := []string{plan.ReleaseID}, "nothing comes before "+e.Name, 0
	if e.After != nil {
		needs = append(needs, plan.VerifiedID(e.After.Env))
		reason, wait = "after "+e.After.Env, seconds(e.After.Soak)
	}
	if wait > 0 {
		reason += ", and a soak of " + e.After.Soak.String()
	}
	if a := e.Approve; a != nil {
		ask := plan.Task{
			ID: plan.ApproveID(e.Name), Kind: plan.KindApprove, Target: &plan.Target{Environment: e.Name, Namespace: e.Namespace}, Needs: sortedIDs(needs),
			Reason:  fmt.Sprintf("the group %s approves the release for %s", a.Team, e.Name),
			Approve: &plan.Approve{Team: a.Team, Min: a.Min, Self: a.Self, Within: seconds(a.Within)},
		}
		p.Tasks = append(p.Tasks, ask)
		needs = append(slices.Clone(needs), ask.ID)
	}
	p.Tasks = append(p.Tasks, plan.Task{
		ID: plan.RolloutID(e.Name), Kind: plan.KindRollout,
		Target: &plan.Target{Environment: e.Name, Namespace: e.Namespace},
		Needs:  sortedIDs(needs), Reason: reason, Wait: wait, Hold: e.Hold, Tolerate: e.Tolerate, Windows: e.Windows,
	})
}

// waves adds the barriers between the waves of an environment.
func (p *Part) waves(e *pipeline.Environment, services []Service) {
	for i := range max(0, len(e.Waves)-1) {
		w := e.Waves[i]
		needs := make([]string, 0, len(services)*len(w.Clusters))
		for _, cluster := range w.Clusters {
			for _, s := range services {
				needs = append(needs, plan.ApplyID(s.Name, plan.Target{Environment: e.Name, Cluster: cluster}))
			}
		}
		p.Tasks = append(p.Tasks, plan.Task{
			ID: plan.WaveID(e.Name, w.Name), Kind: plan.KindWave,
			Target: &plan.Target{Environment: e.Name, Namespace: e.Namespace},
			Needs:  sortedIDs(needs), Reason: "every service is healthy in " + strings.Join(w.Clusters, ", ") + soaked(w.Soak) + ", before " + e.Waves[i+1].Name,
			Wait: seconds(w.Soak), Windows: e.Windows,
		})
	}
}

// applies adds the tasks of one service in one environment, with their compensation,
// and returns their ids.
func (p *Part) applies(s Service, e *pipeline.Environment, deployed map[string]bool) []string {
	targets, gate := Targets(e), gates(e)
	ids := make([]string, 0, len(targets))
	behind := p.steps(s, e, gate, deployed)
	for _, target := range targets {
		needs := []string{plan.RenderID(s.Name, target)}
		if last, ok := behind[target.Cluster]; ok {
			needs = append(needs, last)
		} else {
			needs = append(needs, first(s, target, gate[target.Cluster], deployed)...)
		}
		apply := plan.Task{
			ID: plan.ApplyID(s.Name, target), Kind: plan.KindApply, Service: s.Name, Target: &target,
			Needs: sortedIDs(needs), Can: plan.CapabilityDeployPrefix + target.Cluster,
			Reason: reason(s), Timeout: s.Timeout + s.Beside, Infra: infra,
			Apply: &plan.Apply{Manifests: plan.RenderID(s.Name, target), Health: s.Health, Beside: s.Beside, Adopt: s.Adopt, OneWay: s.OneWay},
		}
		p.Tasks = append(p.Tasks, apply)
		ids = append(ids, apply.ID)
		if e.Tolerate > 0 {
			p.Rollbacks = append(p.Rollbacks, plan.Task{
				ID: plan.CatchUpID(s.Name, target), Kind: plan.KindCatchUp, Service: s.Name, Target: &target, Needs: []string{apply.ID}, Can: apply.Can,
				Reason:  "brings the release once the cluster can be reached, if it cannot while it is rolled out",
				Timeout: apply.Timeout, Apply: apply.Apply,
			})
		}
		if e.Rollback == pipeline.RollbackNone {
			continue
		}
		p.Rollbacks = append(p.Rollbacks, plan.Task{
			ID: plan.RollbackID(s.Name, target), Kind: plan.KindRollback, Service: s.Name, Target: &target,
			Needs: []string{apply.ID}, Can: apply.Can,
			Reason: "back to the last good release, if " + s.Name + " does not become healthy everywhere in " + e.Name,
			Apply:  &plan.Apply{Manifests: apply.Apply.Manifests, Health: s.Health}, Timeout: s.Timeout, Infra: infra,
		})
	}
	return sortedIDs(ids)
}

// first is what the first change of a service on a target waits for.
func first(s Service, target plan.Target, gate string, deployed map[string]bool) []string {
	needs := []string{gate}
	for _, other := range s.Needs {
		if deployed[other] {
			needs = append(needs, plan.ApplyID(other, target))
		}
	}
	return needs
}

func seconds(d time.Duration) int { return int(d / time.Second) }

func soaked(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return " and has been for " + d.String()
}

func reason(s Service) string {
	if s.Adopt {
		return "every release is applied; what others made or hold there is taken over"
	}
	return "every release is applied; what is there already is left alone"
}

func sortedIDs(ids []string) []string {
	slices.Sort(ids)
	return slices.Compact(ids)
}
