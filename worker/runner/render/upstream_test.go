package render_test

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/render"
)

const small = `
-- deploy/api/Chart.yaml --
apiVersion: v2
name: small
version: 0.1.0
dependencies: [ { name: extra, version: 1.0.0, condition: extra.enabled } ]
-- deploy/api/values.yaml --
extra: { enabled: false }
-- deploy/api/charts/extra/Chart.yaml --
apiVersion: v2
name: extra
version: 1.0.0
-- deploy/api/charts/extra/crds/thing.yaml --
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: things.example.com }
-- deploy/api/templates/all.yaml --
apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: old, annotations: { helm.sh/hook: crd-install } }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: typo, annotations: { helm.sh/hook: "pre-install,pre-start" } }
`

// TestChartsAsHelmTakesThem: what the comparison with helm template found once.
func TestChartsAsHelmTakesThem(t *testing.T) {
	w := helmWork()
	w.Images = nil
	out, err := render.Render(t.Context(), workspace(t, small), "api", w, render.Registries{})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(out.Objects, ", "); got != "ConfigMap settings" {
		t.Errorf("objects %s, want the settings alone: subcharts that are off bring no CRDs, and Helm leaves out hooks that it does not know", got)
	}
	if len(out.Warnings) != 2 || !strings.Contains(out.Warnings[0], "crd-install") {
		t.Errorf("warnings %q, want one for each hook", out.Warnings)
	}
	marked := strings.Replace(small, "\napiVersion: v1\nkind: ConfigMap\nmetadata: { name: settings }", "\n\uFEFFapiVersion: v1\nkind: ConfigMap\nmetadata: { name: settings }", 1)
	text, err := render.Upstream(t.Context(), workspace(t, marked), "api", w)
	if err != nil || strings.Contains(string(text), "\uFEFF") {
		t.Errorf("a byte order mark of a template is kept: %v\n%s", err, text)
	}
	for old, want := range map[string]string{
		"version: 0.1.0\n":              "the chart is for Kubernetes < 1.2.0, and charts are rendered for v1.",
		"apiVersion: v2\nname: small\n": "deploy/api/Chart.yaml: apiVersion v3 is not supported",
	} {
		broken := strings.Replace(small, old, map[bool]string{true: "version: 0.1.0\nkubeVersion: < 1.2.0\n", false: "apiVersion: v3\nname: small\n"}[strings.HasPrefix(old, "version")], 1)
		if _, err := render.Render(t.Context(), workspace(t, broken), "api", w, render.Registries{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

const sorted = `
-- deploy/api/kustomization.yaml --
resources: [all.yaml]
sortOptions: { order: fifo }
buildMetadata: [originAnnotations]
openapi: { path: schema.json }
patches: [ { path: patch.yaml } ]
-- deploy/api/all.yaml --
apiVersion: example.com/v1
kind: Thing
metadata: { name: z, namespace: shop }
parts: [ { id: a, x: 1 }, { id: b, x: 1 } ]
---
apiVersion: v1
kind: Namespace
metadata: { name: a }
-- deploy/api/patch.yaml --
apiVersion: example.com/v1
kind: Thing
metadata: { name: z, namespace: shop }
parts: [ { id: b, x: 2 } ]
-- deploy/api/schema.json --
{ "definitions": { "com.example.v1.Thing": {
  "type": "object",
  "x-kubernetes-group-version-kind": [ { "group": "example.com", "version": "v1", "kind": "Thing" } ],
  "properties": { "parts": { "type": "array", "x-kubernetes-patch-merge-key": "id", "x-kubernetes-patch-strategy": "merge",
    "items": { "type": "object", "properties": { "id": { "type": "string" }, "x": { "type": "integer" } } } } }
} } }
`

// TestWhatTheOutermostKustomizationSays: order, annotations and schema of the user's hold although ours is around it.
func TestWhatTheOutermostKustomizationSays(t *testing.T) {
	w := work(runner.UsingKustomize)
	w.Images, w.Namespace = nil, ""
	text, err := render.Upstream(t.Context(), workspace(t, sorted), "api", w)
	if err != nil {
		t.Fatal(err)
	}
	thing, namespace, found := strings.Cut(string(text), "---\n")
	if !found || !strings.Contains(namespace, "kind: Namespace") {
		t.Errorf("the order of the kustomization does not hold:\n%s", text)
	}
	for _, want := range []string{"path: all.yaml", "- id: a\n  x: 1", "- id: b\n  x: 2"} {
		if !strings.Contains(thing, want) {
			t.Errorf("the object lacks %q:\n%s", want, thing)
		}
	}
}

// TestAKustomizationAtTheRoot of the repository has ours around it, too.
func TestAKustomizationAtTheRoot(t *testing.T) {
	w := work(runner.UsingKustomize)
	w.Path, w.Paths, w.Images = ".", []string{"."}, nil
	const files = "-- kustomization.yaml --\nresources: [all.yaml]\n-- all.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\n"
	out, err := render.Render(t.Context(), workspace(t, files), "api", w, render.Registries{})
	if err != nil || strings.Join(out.Objects, ", ") != "ConfigMap a" {
		t.Errorf("objects %q, error %v", out.Objects, err)
	}
	_, err = render.Render(t.Context(), workspace(t, strings.Replace(files, "name: a", "nam: a", 1)), "api", w, render.Registries{})
	if err == nil || strings.Contains(err.Error(), "repository") || strings.Contains(err.Error(), "slipway-render") {
		t.Errorf("error %v, want one with the repository's own paths", err)
	}
}
