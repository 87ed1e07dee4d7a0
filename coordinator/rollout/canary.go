package rollout

import (
	"fmt"
	"strings"

	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/plan"
)

// slack is what an analysis may take beyond its pause, in seconds.
const slack = 120

// canary adds the steps of a service before all of it is replaced, and returns for each
// cluster the barrier behind the last; nothing: there are none.
func (p *Part) canary(s Service, e *pipeline.Environment, gate map[string]string, deployed map[string]bool) map[string]string {
	if e.Canary == nil {
		return nil
	}
	waves := e.Waves
	if len(waves) == 0 {
		waves = []*pipeline.Wave{{Clusters: e.Clusters}}
	}
	behind := make(map[string]string, len(e.Clusters))
	for _, w := range waves {
		for _, percent := range e.Canary.Steps {
			if percent < 100 {
				p.step(s, e, w, percent, gate, deployed, behind)
			}
		}
	}
	return behind
}

// step adds one step in all clusters of a wave; behind holds the barrier before it, and then its own.
func (p *Part) step(s Service, e *pipeline.Environment, w *pipeline.Wave, percent int, gate map[string]string, deployed map[string]bool, behind map[string]string) {
	var analyses []string
	for _, cluster := range w.Clusters {
		target := plan.Target{Environment: e.Name, Cluster: cluster, Namespace: e.Namespace}
		render := plan.RenderID(s.Name, target)
		needs := []string{render}
		if before, ok := behind[cluster]; ok {
			needs = append(needs, before)
		} else {
			needs = append(needs, first(s, target, gate[cluster], deployed)...)
		}
		can := plan.CapabilityDeployPrefix + cluster
		shift := plan.Task{
			ID: plan.ShiftID(s.Name, target, percent), Kind: plan.KindShift, Service: s.Name, Target: &target, Needs: sortedIDs(needs), Can: can,
			Reason: fmt.Sprintf("gives the candidate %d %%", percent), Timeout: s.Timeout, Infra: infra,
			Apply: &plan.Apply{Manifests: render, Health: s.Health, Weight: percent, Adopt: s.Adopt},
		}
		pause := seconds(e.Canary.Pause)
		analysis := plan.Task{
			ID: plan.AnalyzeID(s.Name, target, percent), Kind: plan.KindAnalyze, Service: s.Name, Target: &target, Needs: []string{shift.ID}, Can: can,
			Reason: fmt.Sprintf("watches the candidate at %d %% for %s", percent, e.Canary.Pause), Timeout: pause + slack, Infra: infra,
			Analyze: &plan.Analyze{Manifests: render, Weight: percent, Pause: pause, Health: s.Health, Metrics: metrics(e.Canary)},
		}
		p.Tasks = append(p.Tasks, shift, analysis)
		analyses = append(analyses, analysis.ID)
	}
	barrier := plan.Task{
		ID: plan.StepID(s.Name, e.Name, w.Name, percent), Kind: plan.KindStep, Service: s.Name,
		Target: &plan.Target{Environment: e.Name, Namespace: e.Namespace},
		Needs:  sortedIDs(analyses), Reason: fmt.Sprintf("the candidate does well at %d %% in %s", percent, strings.Join(w.Clusters, ", ")),
	}
	p.Tasks = append(p.Tasks, barrier)
	for _, cluster := range w.Clusters {
		behind[cluster] = barrier.ID
	}
}

// metrics are what is measured in a pause, at least once.
func metrics(c *pipeline.Canary) []plan.Analysis {
	var out []plan.Analysis
	for _, a := range c.Analyses {
		m := a.Analysis
		m.Interval = max(1, min(m.Interval, seconds(c.Pause)))
		out = append(out, m)
	}
	return out
}
