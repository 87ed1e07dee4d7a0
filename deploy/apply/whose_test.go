package apply_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/internal/kubetest"
)

// TestCompareSaysWhoHoldsAFieldAndSinceWhen: of each field that somebody else set, by merge or by apply, in maps and in lists.
func TestCompareSaysWhoHoldsAFieldAndSinceWhen(t *testing.T) {
	c, ns, client := open(t), kubetest.Namespace(t), kubetest.Client(t)
	text := strings.Replace(api, `image: "example.com/api:1"`, `image: "example.com/api:1", ports: [{name: http, containerPort: 8080}]`, 1)
	req := request(ns, "r1", text, 1)
	must(t, c, req)
	before := time.Now().Add(-2 * time.Second) // times of managed fields are whole seconds
	patch := func(kind types.PatchType, text, by string) {
		t.Helper()
		if _, err := client.AppsV1().Deployments(ns).Patch(t.Context(), "api", kind, []byte(text), metav1.PatchOptions{FieldManager: by}); err != nil {
			t.Fatal(err)
		}
	}
	patch(types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"api","image":"example.com/api:hot"}]}}}}`, "kubectl-edit")
	patch(types.JSONPatchType, `[{"op":"replace","path":"/spec/template/spec/containers/0/ports/0/name","value":"web"}]`, "portal")
	if _, err := client.CoreV1().ConfigMaps(ns).Patch(t.Context(), "settings", types.MergePatchType, []byte(`{"data":{"color":null,"mine":"too"}}`), metav1.PatchOptions{FieldManager: "kubectl-edit"}); err != nil {
		t.Fatal(err)
	}
	req.Adopt = true
	out, err := apply.Compare(t.Context(), c, req)
	if err != nil || len(out.Refused) > 0 {
		t.Fatalf("%v %v", out.Refused, err)
	}
	got := map[string]string{}
	for _, change := range out.Changes {
		for _, f := range change.Fields {
			got[change.Ref.String()+" "+f.Path] = f.By
			if f.By != "" && (f.At.Before(before) || f.At.After(time.Now().Add(2*time.Second))) {
				t.Errorf("%s of %s was written at %s", f.Path, change.Ref, f.At)
			}
		}
	}
	want := map[string]string{
		`Deployment/api spec.template.spec.containers[name="api"].image`:              "kubectl-edit (Update)",
		`Deployment/api spec.template.spec.containers[name="api"].ports[name="web"]`:  "portal (Update)",
		`Deployment/api spec.template.spec.containers[name="api"].ports[name="http"]`: "portal (Update)",
		`ConfigMap/settings data.color`:                                               "", // gone: nobody holds it, and what is beside it is nobody's business
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("who holds what (-want +got):\n%s", diff)
	}
}

// TestReplicasOfAnAutoscalerAreSpared: what somebody else changed is taken back, and what an autoscaler set stays with it.
func TestReplicasOfAnAutoscalerAreSpared(t *testing.T) {
	c, ns, client := open(t), kubetest.NewNamespace(t), kubetest.Client(t)
	req := request(ns, "r1", api, 1)
	must(t, c, req)
	scale := func(replicas string) {
		t.Helper()
		if _, err := client.AppsV1().Deployments(ns).Patch(t.Context(), "api", types.MergePatchType, []byte(`{"spec":{"replicas":`+replicas+`}}`),
			metav1.PatchOptions{FieldManager: "kube-controller-manager"}, "scale"); err != nil {
			t.Fatal(err)
		}
	}
	scale("7")
	req.Adopt = true
	for _, line := range compared(t, c, req) {
		if !strings.HasPrefix(line, "unchanged") {
			t.Errorf("what an autoscaler set differs: %s", line)
		}
	}
	if _, err := client.AppsV1().Deployments(ns).Patch(t.Context(), "api", types.StrategicMergePatchType,
		[]byte(`{"spec":{"template":{"spec":{"containers":[{"name":"api","image":"example.com/api:hot"}]}}}}`), metav1.PatchOptions{FieldManager: "kubectl-edit"}); err != nil {
		t.Fatal(err)
	}
	req.Stamp.Fence.Counter = 2
	must(t, c, req)
	if d := deployment(t, ns); *d.Spec.Replicas != 7 || d.Spec.Template.Spec.Containers[0].Image != "example.com/api:1" {
		t.Errorf("%d replicas of %s, want 7 of example.com/api:1", *d.Spec.Replicas, d.Spec.Template.Spec.Containers[0].Image)
	}
	scale("3")
	for _, line := range compared(t, c, req) {
		if !strings.HasPrefix(line, "unchanged") {
			t.Errorf("after it was restored, and scaled again, differs: %s", line)
		}
	}
}
