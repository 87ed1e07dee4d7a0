package apply_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/internal/kubetest"
)

// compared shows what a comparison says, a line for each object and field.
func compared(t *testing.T, c *cluster.Cluster, req apply.Request) []string {
	t.Helper()
	out, err := apply.Compare(t.Context(), c, req)
	if err != nil || len(out.Refused) > 0 {
		t.Fatalf("compare: %v, refused %v", err, out.Refused)
	}
	var lines []string
	for _, change := range out.Changes {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s", change.Action, change.Ref, change.Reason)))
		for _, f := range change.Fields {
			lines = append(lines, fmt.Sprintf("  %s: %s → %s", f.Path, f.From, f.To))
		}
	}
	return lines
}

const secretive = api + `
---
apiVersion: v1
kind: Secret
metadata: {name: key}
data: {key: b25l}
`

func TestCompareSaysWhatAReleaseWouldChange(t *testing.T) {
	c, ns, client := open(t), kubetest.Namespace(t), kubetest.Client(t)
	want := []string{"created Secret/key", "created ConfigMap/settings", "created Service/api", "created Deployment/api"}
	if diff := cmp.Diff(want, compared(t, c, request(ns, "r1", secretive, 1))); diff != "" {
		t.Errorf("before the first release:\n%s", diff)
	}
	if _, err := client.AppsV1().Deployments(ns).Get(t.Context(), "api", metav1.GetOptions{}); err == nil {
		t.Error("a comparison wrote")
	}
	must(t, c, request(ns, "r1", secretive, 5))
	want = []string{"unchanged Secret/key", "unchanged ConfigMap/settings", "unchanged Service/api", "unchanged Deployment/api"}
	// Under an older fence than what is live: nothing is written, so it does not matter.
	if diff := cmp.Diff(want, compared(t, c, request(ns, "r2", secretive, 1))); diff != "" {
		t.Errorf("the same release again:\n%s", diff)
	}
	text := strings.NewReplacer("api:1", "api:2", "replicas: 1", "replicas: 3", "{port: 80, targetPort: 8080}", "{port: 80, targetPort: 9090}, {name: admin, port: 81}", "b25l", "dHdv",
		"spec: {containers: [{name: api,", "spec: {containers: [{name: api, env: [{name: COLOR, value: red}],").Replace(secretive)
	text = strings.ReplaceAll(text, "ports: [{port: 80,", "ports: [{name: web, port: 80,")
	text = strings.Replace(text, "kind: ConfigMap\nmetadata: {name: settings}", "kind: ConfigMap\nmetadata: {name: more, annotations: {example.com/by: me}}", 1)
	want = []string{
		"changed Secret/key",
		"  data.key: (not shown) → (not shown)",
		"created ConfigMap/more",
		"changed Service/api",
		`  spec.ports[port=80].name:  → "web"`,
		`  spec.ports[port=80].targetPort: 8080 → 9090`,
		`  spec.ports[port=81]:  → {"name":"admin","port":81,"protocol":"TCP","targetPort":81}`,
		"changed Deployment/api",
		"  spec.replicas: 1 → 3",
		`  spec.template.spec.containers[name="api"].env:  → [{"name":"COLOR","value":"(not shown)"}]`,
		`  spec.template.spec.containers[name="api"].image: "example.com/api:1" → "example.com/api:2"`,
		"deleted ConfigMap/settings",
	}
	if diff := cmp.Diff(want, compared(t, c, request(ns, "r2", text, 6))); diff != "" {
		t.Errorf("the next release:\n%s", diff)
	}
	must(t, c, request(ns, "r2", text, 6))
	want = []string{
		"unchanged Secret/key", "unchanged ConfigMap/more", "unchanged Service/api", "changed Deployment/api",
		`  spec.template.spec.containers[name="api"].env[name="COLOR"].value: (not shown) → (not shown)`,
		"deleted ConfigMap/settings", // the test prunes nothing
	}
	if diff := cmp.Diff(want, compared(t, c, request(ns, "r3", strings.Replace(text, "value: red", "value: blue", 1), 7))); diff != "" {
		t.Errorf("a variable:\n%s", diff)
	}
}

func TestCompareWithoutItsNamespace(t *testing.T) {
	c := open(t)
	ns := kubetest.Namespace(t) + "-not-there"
	hooked := api + `
---
apiVersion: batch/v1
kind: Job
metadata: {name: migrate, annotations: {slipway.dev/hook: before}}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: migrate, image: "example.com/api:1"}]}}}
`
	want := []string{"created ConfigMap/settings", "created Service/api", "created Deployment/api", "carried out Job/migrate before the rest"}
	if diff := cmp.Diff(want, compared(t, c, request(ns, "r1", hooked, 1))); diff != "" {
		t.Error(diff)
	}
	if _, err := kubetest.Client(t).CoreV1().Namespaces().Get(t.Context(), ns, metav1.GetOptions{}); err == nil {
		t.Error("a comparison made the namespace")
	}
}

func TestCompareNamesWhatOthersHold(t *testing.T) {
	c, ns, client := open(t), kubetest.Namespace(t), kubetest.Client(t)
	must(t, c, request(ns, "r1", api, 1))
	patch := []byte(`{"spec":{"replicas":5}}`)
	if _, err := client.AppsV1().Deployments(ns).Patch(t.Context(), "api", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "somebody"}); err != nil {
		t.Fatal(err)
	}
	req := request(ns, "r2", strings.Replace(api, "replicas: 1", "replicas: 3", 1), 2)
	out, err := apply.Compare(t.Context(), c, req)
	if err != nil {
		t.Fatal(err)
	}
	refusedWith(t, out, "Deployment/api: spec.replicas: is 5, the release wants 3; held by somebody (Update)", "--adopt")
	req.Adopt = true
	want := []string{"unchanged ConfigMap/settings", "unchanged Service/api", "taken over Deployment/api fields of somebody (Update)", "  spec.replicas: 5 → 3"}
	if diff := cmp.Diff(want, compared(t, c, req)); diff != "" {
		t.Error(diff)
	}
	if live, err := client.AppsV1().Deployments(ns).Get(t.Context(), "api", metav1.GetOptions{}); err != nil || *live.Spec.Replicas != 5 {
		t.Errorf("a comparison wrote: %v %v", live.Spec.Replicas, err)
	}
}
