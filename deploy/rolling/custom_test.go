package rolling_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/slipway-build/slipway/deploy/rolling"
	"github.com/slipway-build/slipway/internal/kubetest"
)

const widgets = `{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.org"},
"spec": {"group": "example.org", "scope": "Namespaced", "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
"versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
"schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}}`

// TestAnOperatorSaysWhetherItsObjectWorks: a rollout waits for what an operator says of an object of its kind, and ends when that is hopeless.
func TestAnOperatorSaysWhetherItsObjectWorks(t *testing.T) {
	c, ns := open(t, kubetest.Kubeconfig(t)), kubetest.NewNamespace(t)
	definition := &unstructured.Unstructured{}
	if err := definition.UnmarshalJSON([]byte(widgets)); err != nil {
		t.Fatal(err)
	}
	definitions := c.Dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	if _, err := definitions.Create(t.Context(), definition, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = definitions.Delete(t.Context(), "widgets.example.org", metav1.DeleteOptions{}) })
	client := c.Dynamic.Resource(schema.GroupVersionResource{Group: "example.org", Version: "v1", Resource: "widgets"}).Namespace(ns)
	says := func(status string) error {
		_, err := client.Patch(t.Context(), "w", types.MergePatchType, []byte(`{"status":{"conditions":[`+status+`]}}`), metav1.PatchOptions{}, "status")
		return err
	}
	kubetest.Eventually(t, "the definition is served", func() bool {
		_, err := client.List(t.Context(), metav1.ListOptions{})
		return err == nil
	})
	text := func(size string) string {
		return app("1", "") + "---\n{apiVersion: example.org/v1, kind: Widget, metadata: {name: w}, spec: {size: " + size + "}}\n"
	}
	if result := deploy(t, c, request(ns, "r1", text("1"), 1)); result.Verdict != rolling.Healthy { // nobody says anything of it
		t.Fatalf("%s: %s", result.Verdict, result.Explanation())
	}
	if err := says(`{"type": "Ready", "status": "False", "reason": "Growing"}`); err != nil {
		t.Fatal(err)
	}
	done := make(chan rolling.Result, 1)
	waits := make(chan bool, 1)
	go func() {
		result, err := rolling.Deploy(t.Context(), c, request(ns, "r2", text("2"), 2), rolling.Check{}, hasty(), rolling.Listener{Step: func(s rolling.Step) {
			if s.Name == "apply" {
				waits <- true
			}
		}})
		if err != nil {
			t.Error(err)
		}
		done <- result
	}()
	<-waits
	select {
	case r := <-done:
		t.Fatalf("it is %s while the operator works on it", r.Verdict)
	default:
	}
	if err := says(`{"type": "Ready", "status": "True"}`); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.Verdict != rolling.Healthy {
		t.Errorf("%s: %s", r.Verdict, r.Explanation())
	}
	if err := says(`{"type": "Ready", "status": "False"}, {"type": "Stalled", "status": "True", "reason": "BadSize", "message": "too large"}`); err != nil {
		t.Fatal(err)
	}
	result := deploy(t, c, request(ns, "r3", text("3"), 3))
	if result.Verdict != rolling.Unhealthy || result.Health.TimedOut || !strings.Contains(result.Explanation(), "Widget/w: BadSize: too large") {
		t.Errorf("%s (timed out: %v): %s", result.Verdict, result.Health.TimedOut, result.Explanation())
	}
}
