package render_test

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/render"
)

const chart = `
-- deploy/api/Chart.yaml --
apiVersion: v2
name: anything
version: 0.1.0
dependencies:
  - { name: cache, version: 1.0.0, repository: "https://charts.example.com", condition: cache.enabled }
-- deploy/api/values.yaml --
replicas: 1
image: { repository: api, tag: latest }
cache: { enabled: true }
-- deploy/api/values-prod.yaml --
replicas: 3
-- deploy/api/values-prod-eu.yaml --
color: blue
-- deploy/api/values.schema.json --
{ "type": "object", "properties": { "replicas": { "type": "integer" } } }
-- deploy/api/crds/thing.yaml --
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: things.example.com }
-- deploy/api/templates/_names.tpl --
{{- define "name" -}}{{ .Release.Name }}{{- end -}}
-- deploy/api/templates/deployment.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: { name: {{ include "name" . }}, labels: { color: {{ .Values.color | default "none" }} } }
spec:
  replicas: {{ .Values.replicas }}
  template: { spec: { containers: [ { name: api, image: "{{ .Values.image.repository }}:{{ .Values.image.tag }}" } ] } }
-- deploy/api/templates/migrate.yaml --
apiVersion: batch/v1
kind: Job
metadata:
  name: migrate
  annotations: { helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-weight: "-5" }
spec: { template: { spec: { containers: [ { name: m, image: "api" } ] } } }
-- deploy/api/templates/bye.yaml --
apiVersion: batch/v1
kind: Job
metadata: { name: bye, annotations: { helm.sh/hook: pre-delete } }
-- deploy/api/templates/NOTES.txt --
Thank you.
-- deploy/api/charts/cache/Chart.yaml --
apiVersion: v2
name: cache
version: 1.0.0
-- deploy/api/charts/cache/templates/service.yaml --
apiVersion: v1
kind: Service
metadata: { name: {{ .Release.Name }}-cache, namespace: elsewhere }
`

func helmWork(values ...string) runner.Render {
	w := work(runner.UsingHelm)
	w.Values = values
	return w
}

func TestChart(t *testing.T) {
	dir := workspace(t, chart)
	out, err := render.Render(t.Context(), dir, "api", helmWork("deploy/api/values-prod.yaml", "deploy/api/values-prod-eu.yaml"), render.Registries{})
	if err != nil {
		t.Fatal(err)
	}
	text := string(out.YAML)
	for _, want := range []string{
		"replicas: 3", "color: blue", image, "name: api-cache", "namespace: shop", "kind: CustomResourceDefinition",
		"slipway.dev/hook: before", `slipway.dev/hook-weight: "-5"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the objects lack %q:\n%s", want, text)
		}
	}
	for _, not := range []string{"elsewhere", "Thank you", "name: bye"} {
		if strings.Contains(text, not) {
			t.Errorf("the objects have %q:\n%s", not, text)
		}
	}
	if len(out.Warnings) != 2 || !strings.Contains(out.Warnings[0], "deploy/api/templates/bye.yaml") || !strings.Contains(out.Warnings[0], "pre-delete") ||
		!strings.Contains(out.Warnings[1], "Service api-cache is written for namespace elsewhere, and goes to shop") {
		t.Errorf("warnings %q, want one about the hook of a deletion and one about another namespace", out.Warnings)
	}
	again, err := render.Render(t.Context(), dir, "api", helmWork("deploy/api/values-prod.yaml", "deploy/api/values-prod-eu.yaml"), render.Registries{})
	if err != nil || string(again.YAML) != text {
		t.Errorf("a repeat differs: %v", err)
	}
}

// TestHelmRelease: what Helm wants to know goes in front, and the objects stay what they are.
func TestHelmRelease(t *testing.T) {
	dir := workspace(t, chart)
	w := helmWork("deploy/api/values-prod.yaml", "deploy/api/values-prod-eu.yaml")
	without, err := render.Render(t.Context(), dir, "api", w, render.Registries{})
	if err != nil {
		t.Fatal(err)
	}
	w.HelmRelease = true
	out, err := render.Render(t.Context(), dir, "api", w, render.Registries{})
	if err != nil {
		t.Fatal(err)
	}
	front, rest, _ := strings.Cut(string(out.YAML), "\n---\n")
	if rest != string(without.YAML) {
		t.Errorf("the objects are others than without a release:\n%s", rest)
	}
	for _, want := range []string{
		`"kind":"HelmRelease"`, `"metadata":{"name":"api"}`, `"version":"0.1.0"`, `"values":{"color":"blue","replicas":3}`,
		`"defaults":{"cache":{"enabled":true},"image":{"repository":"api","tag":"latest"},"replicas":1}`,
	} {
		if !strings.Contains(front, want) {
			t.Errorf("no %s in %s", want, front)
		}
	}
}

func TestChartConditionAndRandom(t *testing.T) {
	dir := workspace(t, chart+`
-- deploy/api/templates/secret.yaml --
apiVersion: v1
kind: Secret
metadata: { name: s }
stringData: { password: {{ randAlphaNum 20 }} }
-- deploy/off.yaml --
cache: { enabled: false }
`)
	out, err := render.Render(t.Context(), dir, "api", helmWork("deploy/off.yaml"), render.Registries{})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out.YAML), "api-cache") {
		t.Error("a subchart that a value switches off was rendered")
	}
	if !strings.Contains(strings.Join(out.Warnings, "\n"), "deploy/api/templates/secret.yaml is different each time") {
		t.Errorf("warnings %q lack the random value", out.Warnings)
	}
}

func TestChartMistakes(t *testing.T) {
	tests := []struct {
		name, archive string
		values        []string
		want          []string
	}{
		{"no chart", "-- deploy/api/deployment.yaml --\nkind: x\n", nil, []string{"deploy/api holds no Chart.yaml"}},
		{"no folder", "-- other --\n", nil, []string{"deploy/api does not exist"}},
		{"broken chart file", "-- deploy/api/Chart.yaml --\nname: [\n", nil, []string{"deploy/api/Chart.yaml", "cannot load Chart.yaml"}},
		{"subchart missing", "-- deploy/api/Chart.yaml --\n{apiVersion: v2, name: a, version: 1.0.0, dependencies: [{name: redis, version: ~18, repository: https://charts.example.com}]}\n", nil, []string{"redis ~18", "helm dependency build deploy/api"}},
		{"library", "-- deploy/api/Chart.yaml --\n{apiVersion: v2, name: a, version: 1.0.0, type: library}\n", nil, []string{"library chart"}},
		{"values missing", chart, []string{"deploy/none.yaml"}, []string{"deploy/none.yaml does not exist"}},
		{"values broken", chart + "-- deploy/bad.yaml --\na: 1\nb: [\n", []string{"deploy/bad.yaml"}, []string{"deploy/bad.yaml:"}},
		{"schema", chart + "-- deploy/bad.yaml --\nreplicas: many\n", []string{"deploy/bad.yaml"}, []string{"deploy/api", "replicas", "want integer"}},
		{"schema from elsewhere", chart + "-- deploy/api/charts/cache/values.schema.json --\n{\"$ref\": \"http://127.0.0.1:1/schema\"}\n", nil, []string{"deploy/api/charts/cache/values.schema.json refers to http://127.0.0.1:1/schema"}},
		{"template", chart + "-- deploy/api/templates/bad.yaml --\na: {{ .Values.x.y }}\n", nil, []string{"deploy/api/templates/bad.yaml:1:"}},
		{"required", chart + "-- deploy/api/templates/bad.yaml --\na: {{ required \"set the host\" .Values.host }}\n", nil, []string{"deploy/api/templates/bad.yaml:1:", "set the host"}},
		{"no YAML", chart + "-- deploy/api/templates/bad.yaml --\na: [\n", nil, []string{"deploy/api/templates/bad.yaml:"}},
		{"no object", chart + "-- deploy/api/templates/bad.yaml --\na: 1\n", nil, []string{"deploy/api/templates/bad.yaml:1: apiVersion is missing"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := render.Render(t.Context(), workspace(t, test.archive), "api", helmWork(test.values...), render.Registries{})
			if err == nil {
				t.Fatal("it was rendered")
			}
			t.Log(err)
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q lacks %q", err, want)
				}
			}
		})
	}
}

func TestJobsAreMadeOfTheServicesPod(t *testing.T) {
	dir := workspace(t, `
-- deploy/api/a.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: { name: other }
spec: { template: { spec: { containers: [ { name: other, image: "redis:7" } ] } } }
-- deploy/api/b.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: { name: api }
spec:
  template:
    metadata: { labels: { app: api } }
    spec:
      serviceAccountName: api
      initContainers: [ { name: wait, image: "busybox:1" } ]
      containers:
        - name: proxy
          image: envoy:1
        - name: server
          image: api
          args: [serve]
          ports: [ { containerPort: 8080 } ]
          readinessProbe: { httpGet: { path: /, port: 8080 } }
          env: [ { name: COLOR, value: red }, { name: DATABASE_URL, valueFrom: { secretKeyRef: { name: db, key: url } } } ]
`)
	w := work(runner.UsingManifests)
	w.Jobs = []runner.Job{
		{Name: "migrate", Phase: "before", Run: "./migrate up", Timeout: 60},
		{Name: "smoke", Phase: "after", Run: "./smoke", Env: map[string]string{"COLOR": "$(blue)"}, Services: []string{"cart-v2"}, Timeout: 30},
	}
	out, err := render.Render(t.Context(), dir, "api", w, render.Registries{})
	if err != nil {
		t.Fatal(err)
	}
	documents := strings.Split(string(out.YAML), "---\n")
	if len(documents) != 4 {
		t.Fatalf("%d objects:\n%s", len(documents), out.YAML)
	}
	for i, want := range [][]string{
		{"kind: Job", "name: api-migrate", "namespace: shop", "slipway.dev/hook: before", image, "./migrate up", "secretKeyRef", "value: red", "serviceAccountName: api", "activeDeadlineSeconds: 60", "restartPolicy: Never"},
		{"name: api-smoke", "slipway.dev/hook: after", "name: SLIPWAY_URL_CART_V2", "value: http://$(CART_V2_SERVICE_HOST):$(CART_V2_SERVICE_PORT)", "value: $$(blue)"},
	} {
		for _, w := range want {
			if !strings.Contains(documents[2+i], w) {
				t.Errorf("the Job lacks %q:\n%s", w, documents[2+i])
			}
		}
		for _, not := range []string{"readinessProbe", "containerPort", "serve\n", "initContainers", "envoy", "app: api"} {
			if strings.Contains(documents[2+i], not) {
				t.Errorf("the Job has %q:\n%s", not, documents[2+i])
			}
		}
	}
	if strings.Contains(documents[3], "value: red") {
		t.Errorf("the container's own value is left beside the test's:\n%s", documents[3])
	}
	if !strings.Contains(documents[1], "readinessProbe") || !strings.Contains(documents[1], "- serve") {
		t.Errorf("the Deployment itself was changed:\n%s", documents[1])
	}

	w.Images = map[string]string{}
	if _, err := render.Render(t.Context(), dir, "api", w, render.Registries{}); err == nil || !strings.Contains(err.Error(), "migrate of service api needs a Deployment") {
		t.Errorf("without an image: %v", err)
	}
}
