//go:build e2e

package rendering_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// found is what is in a text.
type found struct {
	objects    []string // each as JSON, sorted
	incomplete bool     // one of them is no object of Kubernetes
	hooks      int      // those that are left out
}

// objects are those of a text as kubectl and Helm read them, without what Slipway means to change.
func objects(t *testing.T, text []byte) found {
	t.Helper()
	var out found
	docs := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			slices.Sort(out.objects)
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := yaml.Unmarshal(doc, &fields); err != nil {
			t.Fatalf("%v:\n%s", err, doc)
		}
		out.add(t, fields)
	}
}

func (f *found) add(t *testing.T, fields map[string]any) {
	t.Helper()
	if len(fields) == 0 {
		return
	}
	kind, _ := fields["kind"].(string)
	if items, ok := fields["items"].([]any); ok && strings.HasSuffix(kind, "List") {
		for _, item := range items {
			f.add(t, item.(map[string]any))
		}
		return
	}
	meta, _ := fields["metadata"].(map[string]any)
	if fields["apiVersion"] == nil || kind == "" || meta["name"] == nil {
		f.incomplete = true
	}
	delete(meta, "namespace")
	subjects, _ := fields["subjects"].([]any)
	for _, s := range subjects {
		delete(s.(map[string]any), "namespace")
	}
	notes, _ := meta["annotations"].(map[string]any)
	if hook, ok := notes["helm.sh/hook"].(string); ok && !carriedOut(hook) {
		f.hooks++
		return
	}
	delete(notes, "slipway.dev/hook")
	delete(notes, "slipway.dev/hook-weight")
	data, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	f.objects = append(f.objects, string(data))
}

// carriedOut says whether a hook of these events is carried out: before a release or after it, and not both.
func carriedOut(events string) bool {
	before := strings.Contains(events, "pre-install") || strings.Contains(events, "pre-upgrade")
	after := strings.Contains(events, "post-install") || strings.Contains(events, "post-upgrade")
	return before != after
}
