package render_test

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/render"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
)

const limits = "object.spec.template.spec.containers.all(c, has(c.resources.limits))"

// TestPoliciesRefuse: a refusal names file, object, field, rule and where that is said, and nothing is stored.
func TestPoliciesRefuse(t *testing.T) {
	w := work(runner.UsingKustomize)
	w.Policies = []runner.Policy{
		{Name: "limits", Kinds: []string{"Deployment"}, CEL: limits, Message: "every container needs limits", At: "targets.yaml:14:9"},
		{Name: "paused", Kinds: []string{"Deployment"}, CEL: "!object.spec.paused", At: "targets.yaml:18:9"},
		{Name: "soft", Kinds: []string{"Deployment"}, CEL: "object.spec.replicas > 10", Message: "few", Warn: true, At: "targets.yaml:20:9"},
		{Name: "names", CEL: `service == "api" && environment == "prod" && cluster == "prod-eu"`, At: "targets.yaml:22:9"},
		{Name: "other", Kinds: []string{"StatefulSet"}, CEL: "false", At: "targets.yaml:24:9"},
	}
	kept := blobs{}
	task := runner.Task{ID: "render/api@prod/prod-eu", Service: "api", Workspace: workspace(t, shop), Work: w}
	report := &runnertest.Recorder{}
	outcome := render.New(kept, render.Registries{}).Run(t.Context(), task, report)
	if outcome.Kind != runner.Failed || len(kept) != 0 {
		t.Fatalf("%v, %d blobs; want a failure that stores nothing", outcome.Kind, len(kept))
	}
	want := strings.Join([]string{
		"deploy/api/base/deployment.yaml: Deployment shop/api: spec.template.spec.containers[0].resources.limits: every container needs limits [the policy cannot tell: no such key: resources] (policy limits, targets.yaml:14:9)",
		"deploy/api/base/deployment.yaml: Deployment shop/api: spec.paused: it does not hold that !object.spec.paused [the policy cannot tell: no such key: paused] (policy paused, targets.yaml:18:9)",
	}, "\n")
	if outcome.Message != want {
		t.Errorf("message:\n%s\nwant:\n%s", outcome.Message, want)
	}
	if log := report.Log(); !strings.Contains(log, "warning: deploy/api/base/deployment.yaml: Deployment shop/api: spec.replicas: few (policy soft, targets.yaml:20:9)\n") {
		t.Errorf("the log does not tell the warning:\n%s", log)
	}
	w.Policies = w.Policies[2:]
	task.Work = w
	if outcome := render.New(kept, render.Registries{}).Run(t.Context(), task, &runnertest.Recorder{}); outcome.Kind != runner.Succeeded || len(kept) != 1 {
		t.Errorf("with a warning alone: %v %s", outcome.Kind, outcome.Message)
	}
}

// TestPoliciesOfCharts: the file is the template.
func TestPoliciesOfCharts(t *testing.T) {
	w := helmWork()
	w.Policies = []runner.Policy{{Name: "labels", Kinds: []string{"Deployment"}, CEL: `object.metadata.labels["team"] == "core"`, At: "targets.yaml:14:9"}}
	_, err := render.Render(t.Context(), workspace(t, chart), "api", w, render.Registries{})
	if want := "deploy/api/templates/deployment.yaml:1: Deployment shop/api: metadata.labels.team: it does not hold that"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
}
