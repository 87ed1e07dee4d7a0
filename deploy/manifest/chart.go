package manifest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// The document in front of the objects of a chart whose release Helm is to know, in JSON. Rendering writes it, and no cluster
// ever gets it.
const (
	ChartVersion = "slipway.dev/v1"
	ChartKind    = "HelmRelease"
)

// Chart is what Helm wants to know of a release beyond its objects.
type Chart struct {
	Release  string         // name
	Metadata map[string]any // Chart.yaml
	Defaults map[string]any // values.yaml of the chart
	Values   map[string]any // of the service's files, merged
}

// ChartOf reads the document; nil: Helm is to know nothing of the release.
func ChartOf(text []byte) *Chart {
	doc, err := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))).Read()
	if err != nil {
		return nil // nothing, or what Parse will complain of
	}
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Name string `json:"name"`
		} `json:"metadata"`
		Chart    map[string]any `json:"chart"`
		Defaults map[string]any `json:"defaults"`
		Values   map[string]any `json:"values"`
	}
	if json.NewDecoder(bytes.NewReader(doc)).Decode(&head) != nil || head.APIVersion != ChartVersion || head.Kind != ChartKind {
		return nil
	}
	return &Chart{Release: head.Metadata.Name, Metadata: head.Chart, Defaults: head.Defaults, Values: head.Values}
}

func isChart(obj *unstructured.Unstructured) bool {
	return obj.GetAPIVersion() == ChartVersion && obj.GetKind() == ChartKind
}

// Document is one object of a release as text, for those who only pass it on.
type Document struct {
	Ref    Ref
	Text   string
	Hook   Phase // empty: it is none
	Weight int   // of the hook
}

// Documents are the objects of a release in the order in which they are written, and hooks.
func Documents(text []byte) ([]Document, error) {
	objs, refused := Parse(text)
	if len(refused) > 0 {
		return nil, errors.New(refused[0].String())
	}
	out := make([]Document, 0, len(objs))
	for _, obj := range objs {
		d := Document{Ref: RefOf(obj), Hook: Phase(obj.GetAnnotations()[AnnotationHook])}
		for _, hook := range Hooks([]*unstructured.Unstructured{obj}, d.Hook) {
			d.Weight = hook.Weight
			unstructured.RemoveNestedField(obj.Object, "metadata", "annotations", AnnotationHookDigest)
		}
		data, err := yaml.Marshal(obj.Object)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Ref, err)
		}
		d.Text = string(data)
		out = append(out, d)
	}
	return out, nil
}
