package rollout

import (
	"fmt"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/plan"
)

// slack is what an analysis may take beyond its pause, in seconds.
const slack = 120

// step is what a candidate is given at a time, and how long it is watched then.
type step struct {
	percent int
	router  string
	flag    string
	pause   int // seconds
	reason  string
	metrics []plan.Analysis
}

// stepsOf are those of an environment's strategy before the last, which is the apply.
func stepsOf(e *pipeline.Environment) []step {
	var out []step
	switch {
	case e.Canary != nil:
		for _, percent := range e.Canary.Steps {
			if percent < 100 {
				out = append(out, step{percent: percent, pause: seconds(e.Canary.Pause), reason: fmt.Sprintf("gives the candidate %d %%", percent), metrics: metrics(e.Canary.Measured, e.Canary.Pause)})
			}
		}
	case e.Flag != nil:
		for _, percent := range e.Flag.Steps {
			if percent < 100 {
				out = append(out, step{
					percent: percent, router: plan.RouterFlag, flag: e.Flag.Name, pause: seconds(e.Flag.Pause),
					reason: fmt.Sprintf("brings the release, and moves flag %s to %d %%", e.Flag.Name, percent), metrics: metrics(e.Flag.Measured, e.Flag.Pause),
				})
			}
		}
	case e.BlueGreen != nil:
		b := e.BlueGreen
		out = []step{
			{percent: 0, router: plan.RouterService, pause: seconds(b.Verify), reason: "brings a whole candidate beside what serves"},
			{percent: 100, router: plan.RouterService, pause: seconds(b.Warm), reason: "switches to the candidate, and keeps what served before", metrics: metrics(b.Measured, b.Warm)},
		}
	}
	return out
}

// steps adds those of a service before all of it is replaced, and returns for each
// cluster the barrier behind the last; nothing: there are none.
func (p *Part) steps(s Service, e *pipeline.Environment, gate map[string]string, deployed map[string]bool) map[string]string {
	steps, waves := stepsOf(e), e.Waves
	if len(waves) == 0 {
		waves = []*pipeline.Wave{{Clusters: e.Clusters}}
	}
	behind := make(map[string]string, len(e.Clusters))
	for _, w := range waves {
		for _, at := range steps {
			p.step(s, e, w, at, gate, deployed, behind)
		}
	}
	return behind
}

// step adds one step in all clusters of a wave; behind holds the barrier before it, and then its own.
func (p *Part) step(s Service, e *pipeline.Environment, w *pipeline.Wave, at step, gate map[string]string, deployed map[string]bool, behind map[string]string) {
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
		beside, oneWay := 0, false
		if at.router == plan.RouterFlag { // whose first step carries out what comes before a release
			beside, oneWay = s.Beside, s.OneWay
		}
		shift := plan.Task{
			ID: plan.ShiftID(s.Name, target, at.percent), Kind: plan.KindShift, Service: s.Name, Target: &target, Needs: sortedIDs(needs), Can: can,
			Reason: at.reason, Timeout: s.Timeout + beside, Infra: infra,
			Apply: &plan.Apply{Manifests: render, Health: s.Health, Weight: at.percent, Router: at.router, Flag: at.flag, Adopt: s.Adopt, OneWay: oneWay},
		}
		analysis := plan.Task{
			ID: plan.AnalyzeID(s.Name, target, at.percent), Kind: plan.KindAnalyze, Service: s.Name, Target: &target, Needs: []string{shift.ID}, Can: can,
			Reason: fmt.Sprintf("watches the candidate at %d %% for %s", at.percent, time.Duration(at.pause)*time.Second), Timeout: at.pause + slack, Infra: infra,
			Analyze: &plan.Analyze{Manifests: render, Weight: at.percent, Router: at.router, Flag: at.flag, Pause: at.pause, Health: s.Health, Metrics: at.metrics},
		}
		p.Tasks = append(p.Tasks, shift, analysis)
		analyses = append(analyses, analysis.ID)
	}
	barrier := plan.Task{
		ID: plan.StepID(s.Name, e.Name, w.Name, at.percent), Kind: plan.KindStep, Service: s.Name,
		Target: &plan.Target{Environment: e.Name, Namespace: e.Namespace},
		Needs:  sortedIDs(analyses), Reason: fmt.Sprintf("the candidate does well at %d %% in %s", at.percent, strings.Join(w.Clusters, ", ")),
	}
	p.Tasks = append(p.Tasks, barrier)
	for _, cluster := range w.Clusters {
		behind[cluster] = barrier.ID
	}
}

// metrics are what is measured in a pause, at least once.
func metrics(of pipeline.Measured, pause time.Duration) []plan.Analysis {
	var out []plan.Analysis
	for _, a := range of.Analyses {
		m := a.Analysis
		m.Interval = max(1, min(m.Interval, seconds(pause)))
		out = append(out, m)
	}
	return out
}
