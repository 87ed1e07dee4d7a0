// Package plantest makes plans for tests of what carries plans out. How a plan is made of
// a repository's files is coordinator/planner's business.
package plantest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/coordinator/plan"
)

// Shop is a plan with services, tests of each, and environments with their clusters.
func Shop(name string, services, tests int, environments [][]string) *plan.Plan {
	p := &plan.Plan{Version: plan.Version, Project: name, Ref: "main", Commit: "c"}
	add := func(t plan.Task) string { p.Tasks = append(p.Tasks, t); return t.ID }
	add(plan.Task{ID: plan.CheckoutID, Kind: plan.KindCheckout})
	service := func(i int) string { return fmt.Sprintf("s%d", i) }
	gate := []string{}
	for i := range services {
		s := service(i)
		b := add(plan.Task{ID: plan.BuildID(s), Kind: plan.KindBuild, Service: s, Needs: []string{plan.CheckoutID}, Can: plan.CapabilityBuild, Digest: "digest of " + s, Build: &plan.Build{}})
		gate = append(gate, b)
		for j := range tests {
			gate = append(gate, add(plan.Task{ID: plan.TestID(s, fmt.Sprint(j)), Kind: plan.KindTest, Service: s, Needs: []string{b}, Can: plan.CapabilityBuild, Test: &plan.Test{}}))
		}
		for e, clusters := range environments {
			for _, c := range clusters {
				t := plan.Target{Environment: fmt.Sprintf("e%d", e), Cluster: c, Namespace: "n"}
				gate = append(gate, add(plan.Task{ID: plan.RenderID(s, t), Kind: plan.KindRender, Service: s, Target: &t, Needs: []string{b}, Can: plan.CapabilityRender, Render: &plan.Render{Image: b}}))
			}
		}
	}
	before := add(plan.Task{ID: plan.ReleaseID, Kind: plan.KindRelease, Needs: gate})
	for e, clusters := range environments {
		env := fmt.Sprintf("e%d", e)
		enter := add(plan.Task{ID: plan.RolloutID(env), Kind: plan.KindRollout, Needs: []string{before}, Target: &plan.Target{Environment: env}})
		var promotes []string
		for i := range services {
			var applies []string
			for _, c := range clusters {
				t := plan.Target{Environment: env, Cluster: c, Namespace: "n"}
				needs := []string{enter}
				if i > 0 {
					needs = append(needs, plan.ApplyID(service(i-1), t))
				}
				spec := &plan.Apply{Manifests: plan.RenderID(service(i), t)}
				applies = append(applies, add(plan.Task{ID: plan.ApplyID(service(i), t), Kind: plan.KindApply, Service: service(i), Target: &t, Needs: needs, Can: plan.CapabilityDeployPrefix + c, Apply: spec}))
				p.Rollbacks = append(p.Rollbacks, plan.Task{ID: plan.RollbackID(service(i), t), Kind: plan.KindRollback, Service: service(i), Target: &t, Needs: []string{plan.ApplyID(service(i), t)}, Can: plan.CapabilityDeployPrefix + c, Apply: spec})
			}
			promotes = append(promotes, add(plan.Task{ID: plan.PromoteID(service(i), env), Kind: plan.KindPromote, Service: service(i), Target: &plan.Target{Environment: env}, Needs: applies}))
		}
		before = add(plan.Task{ID: plan.VerifiedID(env), Kind: plan.KindVerified, Target: &plan.Target{Environment: env}, Needs: promotes})
	}
	return p
}

// Tolerate has the environments of a plan go on without so many clusters, and catch them up.
func Tolerate(p *plan.Plan, clusters int) *plan.Plan {
	for i := range p.Tasks {
		switch t := &p.Tasks[i]; t.Kind { //nolint:exhaustive // what tolerates, and what is caught up
		case plan.KindRollout:
			t.Tolerate = clusters
		case plan.KindApply:
			p.Rollbacks = append(p.Rollbacks, plan.Task{
				ID: plan.CatchUpID(t.Service, *t.Target), Kind: plan.KindCatchUp, Service: t.Service, Target: t.Target, Needs: []string{t.ID}, Can: t.Can, Apply: t.Apply,
			})
		}
	}
	return p
}

// OneByOne makes each cluster of a plan's environments a wave of its own, in the order of names.
func OneByOne(p *plan.Plan) *plan.Plan {
	applies := map[plan.Target][]string{} // of each target
	clusters := map[string][]string{}     // of each environment
	for _, t := range p.Tasks {
		if t.Kind == plan.KindApply {
			if len(applies[*t.Target]) == 0 {
				clusters[t.Target.Environment] = append(clusters[t.Target.Environment], t.Target.Cluster)
			}
			applies[*t.Target] = append(applies[*t.Target], t.ID)
		}
	}
	gates := map[plan.Target]string{}
	var barriers []plan.Task
	for env, names := range clusters {
		slices.Sort(names)
		for i, name := range names[1:] {
			before := plan.Target{Environment: env, Cluster: names[i], Namespace: "n"}
			barrier := plan.Task{ID: plan.WaveID(env, names[i]), Kind: plan.KindWave, Target: &plan.Target{Environment: env}, Needs: applies[before]}
			gates[plan.Target{Environment: env, Cluster: name, Namespace: "n"}] = barrier.ID
			barriers = append(barriers, barrier)
		}
	}
	for i, t := range p.Tasks {
		if t.Kind == plan.KindApply && gates[*t.Target] != "" {
			p.Tasks[i].Needs = append(slices.Clone(t.Needs), gates[*t.Target])
		}
	}
	p.Tasks = inOrder(append(p.Tasks, barriers...))
	return p
}

// Canary has each service go to the clusters of an environment in steps, of a percentage each, before it is applied.
func Canary(p *plan.Plan, percents ...int) *plan.Plan {
	type rollout struct{ service, environment string }
	behind := map[rollout]string{}
	var added []plan.Task
	for _, percent := range percents {
		analyses := map[rollout][]string{}
		for _, t := range p.Tasks {
			if t.Kind != plan.KindApply {
				continue
			}
			of := rollout{t.Service, t.Target.Environment}
			needs := t.Needs
			if before := behind[of]; before != "" {
				needs = []string{before}
			}
			shift := plan.Task{
				ID: plan.ShiftID(t.Service, *t.Target, percent), Kind: plan.KindShift, Service: t.Service, Target: t.Target, Needs: needs, Can: t.Can,
				Apply: &plan.Apply{Manifests: t.Apply.Manifests, Weight: percent},
			}
			analysis := plan.Task{
				ID: plan.AnalyzeID(t.Service, *t.Target, percent), Kind: plan.KindAnalyze, Service: t.Service, Target: t.Target, Needs: []string{shift.ID}, Can: t.Can,
				Analyze: &plan.Analyze{Manifests: t.Apply.Manifests, Weight: percent},
			}
			added = append(added, shift, analysis)
			analyses[of] = append(analyses[of], analysis.ID)
		}
		for of, list := range analyses {
			behind[of] = plan.StepID(of.service, of.environment, "", percent)
			added = append(added, plan.Task{ID: behind[of], Kind: plan.KindStep, Service: of.service, Target: &plan.Target{Environment: of.environment}, Needs: list})
		}
	}
	for i := range p.Tasks {
		if t := &p.Tasks[i]; t.Kind == plan.KindApply {
			t.Needs = []string{behind[rollout{t.Service, t.Target.Environment}]}
		}
	}
	slices.SortFunc(added, func(a, b plan.Task) int { return strings.Compare(a.ID, b.ID) })
	p.Tasks = inOrder(append(p.Tasks, added...))
	return p
}

// Gathered has the tests of each service gathered by one task, as the shards of one test are.
func Gathered(p *plan.Plan) *plan.Plan {
	shards := map[string][]string{} // of each service
	for i := range p.Tasks {
		if t := &p.Tasks[i]; t.Kind == plan.KindTest {
			t.Test = &plan.Test{Shard: &plan.Shard{Test: plan.TestID(t.Service, "all"), List: "list"}}
			shards[t.Service] = append(shards[t.Service], t.ID)
		}
	}
	for i := range p.Tasks {
		gate := &p.Tasks[i]
		if gate.Kind != plan.KindRelease {
			continue
		}
		for _, service := range slices.Sorted(maps.Keys(shards)) {
			id := plan.TestID(service, "all")
			gate.Needs = append(gate.Needs, id)
			p.Tasks = append(p.Tasks, plan.Task{ID: id, Kind: plan.KindGather, Service: service, Needs: shards[service], Digest: "digest of all of " + service})
		}
		break
	}
	p.Tasks = inOrder(p.Tasks)
	return p
}

// Scanned has the sources of each service scanned, and the release wait for what is said of that.
func Scanned(p *plan.Plan) *plan.Plan {
	p.Findings = &plan.Findings{Block: "high"}
	services := map[string]bool{}
	for _, t := range p.Tasks {
		if t.Kind == plan.KindBuild {
			services[t.Service] = true
		}
	}
	var added []string
	for _, s := range slices.Sorted(maps.Keys(services)) {
		scan := plan.Task{
			ID: plan.ScanID(s, "secrets"), Kind: plan.KindScan, Service: s, Needs: []string{plan.CheckoutID}, Can: plan.CapabilityRender,
			Scan: &plan.Scan{Name: "secrets", Using: "secrets"},
		}
		judge := plan.Task{ID: plan.FindingsID(s), Kind: plan.KindFindings, Service: s, Needs: []string{scan.ID}}
		p.Tasks = append(p.Tasks, scan, judge)
		added = append(added, judge.ID)
	}
	for i := range p.Tasks {
		if p.Tasks[i].Kind == plan.KindRelease {
			p.Tasks[i].Needs = append(p.Tasks[i].Needs, added...)
		}
	}
	p.Tasks = inOrder(p.Tasks)
	return p
}

// inOrder puts tasks behind what they need.
func inOrder(tasks []plan.Task) []plan.Task {
	placed := map[string]bool{}
	out := make([]plan.Task, 0, len(tasks))
	for len(out) < len(tasks) {
		for _, t := range tasks {
			ready := !slices.ContainsFunc(t.Needs, func(need string) bool { return !placed[need] })
			if ready && !placed[t.ID] {
				placed[t.ID] = true
				out = append(out, t)
			}
		}
	}
	return out
}
