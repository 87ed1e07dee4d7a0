package node

import (
	"context"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/slipway-build/slipway/deploy/manifest"
)

func TestAServiceHasTheObjectsThatAreCounted(t *testing.T) {
	objs, refused := manifest.Parse(Manifests(Service(3)))
	if len(objs) != ObjectsOf || len(refused) > 0 {
		t.Fatalf("%d objects, want %d; refused: %v", len(objs), ObjectsOf, refused)
	}
	for _, obj := range objs {
		if _, ok := kinds()[obj.GetKind()]; !ok || obj.GetName() != Service(3) {
			t.Errorf("%s %s is not what client-go applies", obj.GetKind(), obj.GetName())
		}
	}
}

// TestTheReferenceWaitsForEveryService: it has not seen all before the last Deployment works, and what a namespace has anyway
// does not count.
func TestTheReferenceWaitsForEveryService(t *testing.T) {
	object := func(kind, name string, available int64) *unstructured.Unstructured {
		obj := &unstructured.Unstructured{Object: map[string]any{"kind": kind, "metadata": map[string]any{"name": name, "generation": int64(1)}}}
		if kind == "Deployment" {
			obj.Object["spec"] = map[string]any{"replicas": int64(1)}
			obj.Object["status"] = map[string]any{"observedGeneration": int64(1), "updatedReplicas": int64(1), "availableReplicas": available}
		}
		return obj
	}
	for name, c := range map[string]struct {
		kind string
		seen []*unstructured.Unstructured
		all  bool
	}{
		"all":              {"Deployment", []*unstructured.Unstructured{object("Deployment", Service(0), 1), object("Deployment", Service(1), 1)}, true},
		"one is not there": {"Deployment", []*unstructured.Unstructured{object("Deployment", Service(0), 1), object("Deployment", Service(0), 1)}, false},
		"one does not work": {
			"Deployment", []*unstructured.Unstructured{object("Deployment", Service(0), 1), object("Deployment", Service(1), 0)}, false,
		},
		"others": {"ConfigMap", []*unstructured.Unstructured{object("ConfigMap", Service(0), 0), object("ConfigMap", "kube-root-ca.crt", 0)}, false},
	} {
		w := watch.NewFakeWithChanSize(len(c.seen), false)
		for _, obj := range c.seen {
			w.Modify(obj)
		}
		w.Stop() // a watch that ends before all are seen is begun again, and here in vain
		again := func() (watch.Interface, error) { return nil, errNotHealthy }
		if err := (Rollouts{Services: 2}).seen(context.Background(), w, c.kind, again); (err == nil) != c.all {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestADeploymentWorksOnceItsNewestPodsDo(t *testing.T) {
	d := &unstructured.Unstructured{Object: map[string]any{
		"kind": "Deployment", "metadata": map[string]any{"generation": int64(2)}, "spec": map[string]any{"replicas": int64(1)},
		"status": map[string]any{"observedGeneration": int64(1), "updatedReplicas": int64(1), "availableReplicas": int64(1)},
	}}
	if works(d) {
		t.Error("what the controller has not looked at yet passes for working")
	}
	_ = unstructured.SetNestedField(d.Object, int64(2), "status", "observedGeneration")
	if !works(d) {
		t.Error("it works")
	}
	_ = unstructured.SetNestedField(d.Object, int64(0), "status", "updatedReplicas")
	if works(d) {
		t.Error("old pods pass for new ones")
	}
}
