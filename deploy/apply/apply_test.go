package apply_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/internal/kubetest"
)

func TestMain(m *testing.M) { os.Exit(kubetest.Main(m)) }

const api = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  replicas: 1
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec: {containers: [{name: api, image: "example.com/api:1"}]}
---
apiVersion: v1
kind: Service
metadata: {name: api}
spec: {selector: {app: api}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: blue}
`

func open(t *testing.T) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Open(cluster.Spec{Name: "test", Kubeconfig: kubetest.Kubeconfig(t), QPS: 500, Burst: 500})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func request(namespace, release, text string, counter uint64) apply.Request {
	return apply.Request{
		Target:    apply.Target{Project: "shop", Service: "api", Environment: "dev", Namespace: namespace},
		Stamp:     apply.Stamp{Fence: apply.Fence{Epoch: 1, Counter: counter}, Release: release, Run: "run-" + release},
		Manifests: []byte(text),
	}
}

// must applies a release that the test expects to be accepted.
func must(t *testing.T, c *cluster.Cluster, req apply.Request) apply.Outcome {
	t.Helper()
	out, err := apply.Apply(t.Context(), c, req)
	if err != nil || len(out.Refused) > 0 {
		t.Fatalf("apply: %v, refused %v", err, out.Refused)
	}
	return out
}

func actions(changes []apply.Change) map[string]apply.Action {
	got := map[string]apply.Action{}
	for _, change := range changes {
		got[change.Ref.String()] = change.Action
	}
	return got
}

func expect(t *testing.T, changes []apply.Change, want map[string]apply.Action) {
	t.Helper()
	if diff := cmp.Diff(want, actions(changes)); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
}

func refusedWith(t *testing.T, out apply.Outcome, parts ...string) {
	t.Helper()
	var all []string
	for _, refusal := range out.Refused {
		all = append(all, refusal.String())
	}
	text := strings.Join(all, "\n")
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("refusals lack %q:\n%s", part, text)
		}
	}
}

func TestCreateUnchangedChange(t *testing.T) {
	c, ns, client := open(t), kubetest.Namespace(t), kubetest.Client(t)

	out := must(t, c, request(ns, "r1", api, 1))
	if !out.NamespaceCreated {
		t.Error("the namespace was not reported as created")
	}
	expect(t, out.Changes, map[string]apply.Action{
		"ConfigMap/settings": apply.Created, "Service/api": apply.Created, "Deployment/api": apply.Created,
	})
	if order := out.Changes[0].Ref.Kind; order != "ConfigMap" {
		t.Errorf("%s was written first, before the configuration others need", order)
	}
	namespace, err := client.CoreV1().Namespaces().Get(t.Context(), ns, metav1.GetOptions{})
	if err != nil || namespace.Labels[apply.LabelProject] != "shop" || namespace.Labels[apply.LabelEnvironment] != "dev" {
		t.Errorf("namespace labels %v, %v", namespace.Labels, err)
	}
	before, err := client.CoreV1().ConfigMaps(ns).Get(t.Context(), "settings", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}

	// A later lease with the same content writes nothing: the versions and the fence stay those of the first.
	out = must(t, c, request(ns, "r2", api, 2))
	if out.Wrote() != 0 {
		t.Errorf("the unchanged release wrote %d objects: %v", out.Wrote(), actions(out.Changes))
	}
	after, err := client.CoreV1().ConfigMaps(ns).Get(t.Context(), "settings", metav1.GetOptions{})
	if err != nil || after.ResourceVersion != before.ResourceVersion || after.Annotations[apply.AnnotationFence] != "1.1" {
		t.Errorf("unchanged object moved from %s to %s, fence %s, %v",
			before.ResourceVersion, after.ResourceVersion, after.Annotations[apply.AnnotationFence], err)
	}

	changed := strings.ReplaceAll(api, "blue", "green")
	out = must(t, c, request(ns, "r3", changed, 3))
	expect(t, out.Changes, map[string]apply.Action{
		"ConfigMap/settings": apply.Updated, "Service/api": apply.Unchanged, "Deployment/api": apply.Unchanged,
	})
	after, err = client.CoreV1().ConfigMaps(ns).Get(t.Context(), "settings", metav1.GetOptions{})
	want := map[string]string{apply.AnnotationFence: "1.3", apply.AnnotationRelease: "r3", apply.AnnotationRun: "run-r3"}
	if diff := cmp.Diff(want, after.Annotations); diff != "" || err != nil || after.Data["color"] != "green" {
		t.Errorf("after the change: %v, %v\n%s", after.Data, err, diff)
	}
}

func TestStampsStayOffThePodTemplate(t *testing.T) {
	c, ns := open(t), kubetest.NewNamespace(t)
	must(t, c, request(ns, "r1", api, 1))
	deployment, err := kubetest.Client(t).AppsV1().Deployments(ns).Get(t.Context(), "api", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(deployment.Spec.Template.Annotations) != 0 || len(deployment.Spec.Template.Labels) != 1 {
		t.Errorf("pod template carries %v %v", deployment.Spec.Template.Annotations, deployment.Spec.Template.Labels)
	}
}

func TestRemovedFieldGoes(t *testing.T) {
	c, ns := open(t), kubetest.NewNamespace(t)
	both := strings.ReplaceAll(api, "{color: blue}", "{color: blue, size: big}")
	must(t, c, request(ns, "r1", both, 1))
	must(t, c, request(ns, "r2", api, 2))
	live, err := kubetest.Client(t).CoreV1().ConfigMaps(ns).Get(t.Context(), "settings", metav1.GetOptions{})
	if err != nil || len(live.Data) != 1 {
		t.Errorf("data is %v, %v; size should be gone", live.Data, err)
	}
}

func TestNewerFenceRefused(t *testing.T) {
	c, ns, client := open(t), kubetest.NewNamespace(t), kubetest.Client(t)
	newer := request(ns, "r2", api, 9)
	newer.Stamp.Fence.Epoch = 2
	must(t, c, newer)
	_, err := apply.Apply(t.Context(), c, request(ns, "r1", strings.ReplaceAll(api, "blue", "red"), 100))
	var superseded *apply.SupersededError
	if !errors.Is(err, apply.ErrSuperseded) || !errors.As(err, &superseded) {
		t.Fatalf("got %v, want a *SupersededError", err)
	}
	if superseded.Live != (apply.Fence{Epoch: 2, Counter: 9}) || superseded.Release != "r2" {
		t.Errorf("the error names fence %s and release %s", superseded.Live, superseded.Release)
	}
	live, err := client.CoreV1().ConfigMaps(ns).Get(t.Context(), "settings", metav1.GetOptions{})
	if err != nil || live.Data["color"] != "blue" {
		t.Errorf("the stale deployer wrote: %v, %v", live.Data, err)
	}
}

func TestForeignFieldNamed(t *testing.T) {
	c, ns, client := open(t), kubetest.NewNamespace(t), kubetest.Client(t)
	must(t, c, request(ns, "r1", api, 1))
	_, err := client.CoreV1().ConfigMaps(ns).Patch(t.Context(), "settings", types.MergePatchType,
		[]byte(`{"data":{"color":"purple"}}`), metav1.PatchOptions{FieldManager: "somebody"})
	if err != nil {
		t.Fatal(err)
	}
	out, err := apply.Apply(t.Context(), c, request(ns, "r2", strings.ReplaceAll(api, "blue", "green"), 2))
	if err != nil {
		t.Fatal(err)
	}
	refusedWith(t, out, "ConfigMap/settings", "data.color", "somebody (Update)")
	if out.Wrote() != 0 {
		t.Errorf("wrote %v", actions(out.Changes))
	}
}

func TestForeignObjectNotAdopted(t *testing.T) {
	c, ns, client := open(t), kubetest.NewNamespace(t), kubetest.Client(t)
	_, err := client.CoreV1().ConfigMaps(ns).Patch(t.Context(), "settings", types.ApplyPatchType,
		[]byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings"},"data":{"color":"blue"}}`), metav1.PatchOptions{FieldManager: "platform"})
	if err != nil {
		t.Fatal(err)
	}
	out, err := apply.Apply(t.Context(), c, request(ns, "r1", api, 1))
	if err != nil {
		t.Fatal(err)
	}
	refusedWith(t, out, "ConfigMap/settings", `"platform"`, "not to Slipway")

	other := request(ns, "r1", strings.ReplaceAll(api, "settings", "more"), 1)
	must(t, c, other)
	other.Target.Service = "web"
	out, err = apply.Apply(t.Context(), c, other)
	if err != nil {
		t.Fatal(err)
	}
	refusedWith(t, out, "Deployment/api", "belongs to service api of project shop")
}

func TestInvalidRefusedBeforeAnythingIsWritten(t *testing.T) {
	tests := []struct{ name, old, new, want string }{
		{"unknown field", "replicas: 1", "replica: 1", "replica"},
		{"wrong type", "replicas: 1", `replicas: "many"`, "replicas"},
		{"invalid value", "replicas: 1", "replicas: -1", "spec.replicas"},
		{"unknown kind", "kind: Deployment", "kind: Deploymnt", "knows no kind Deploymnt"},
		{"missing name", "metadata: {name: api}\nspec:\n", "spec:\n", "metadata.name: is missing"},
		{"other namespace", "metadata: {name: settings}", "metadata: {name: settings, namespace: kube-system}", `"kube-system"`},
		{"cluster scoped", "kind: ConfigMap\nmetadata: {name: settings}\ndata: {color: blue}",
			"kind: Namespace\nmetadata: {name: settings}", "Slipway creates the environment's namespace itself"},
		{"host path", "spec: {containers:", "spec: {volumes: [{name: x, hostPath: {path: /}}], containers:",
			"spec.template.spec.volumes[0].hostPath"},
		{"duplicate key", "data: {color: blue}", "data: {color: blue, color: red}", "color"},
		{"twice", "kind: ConfigMap\nmetadata: {name: settings}\ndata: {color: blue}",
			"kind: Service\nmetadata: {name: api}\nspec: {ports: [{port: 1}]}", "Service/api: is in the release twice"},
	}
	c, client := open(t), kubetest.Client(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ns := kubetest.NewNamespace(t)
			text := strings.Replace(api, test.old, test.new, 1)
			if text == api {
				t.Fatal("the case changes nothing")
			}
			out, err := apply.Apply(t.Context(), c, request(ns, "r1", text, 1))
			if err != nil {
				t.Fatal(err)
			}
			refusedWith(t, out, test.want)
			for _, refusal := range out.Refused {
				t.Log(refusal)
			}
			services, err := client.CoreV1().Services(ns).List(t.Context(), metav1.ListOptions{})
			if err != nil || len(services.Items) > 0 || out.Wrote() > 0 {
				t.Errorf("%d services were written, %v", len(services.Items), err)
			}
		})
	}
}

func TestPrune(t *testing.T) {
	c, ns, client := open(t), kubetest.NewNamespace(t), kubetest.Client(t)
	more := api + `
---
apiVersion: v1
kind: ConfigMap
metadata: {name: old}
---
apiVersion: v1
kind: Secret
metadata: {name: precious, annotations: {slipway.dev/keep: "true"}}
`
	must(t, c, request(ns, "r1", more, 1))
	web := request(ns, "r1", "{apiVersion: v1, kind: ConfigMap, metadata: {name: web}}", 1)
	web.Target.Service = "web"
	must(t, c, web)
	kubetest.Eventually(t, "the endpoint slice of the service", func() bool {
		slices, err := client.DiscoveryV1().EndpointSlices(ns).List(t.Context(), metav1.ListOptions{})
		return err == nil && len(slices.Items) > 0
	})

	req := request(ns, "r2", api, 2)
	out := must(t, c, req)
	changes, err := apply.Prune(t.Context(), c, req.Target, req.Stamp.Fence, out.Refs(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	expect(t, changes, map[string]apply.Action{"ConfigMap/old": apply.Deleted, "Secret/precious": apply.Kept})
	list, err := client.CoreV1().ConfigMaps(ns).List(t.Context(), metav1.ListOptions{LabelSelector: apply.LabelManagedBy})
	if err != nil || len(list.Items) != 2 {
		t.Errorf("%d config maps are left, want settings and the other service's, %v", len(list.Items), err)
	}
	again, err := apply.Prune(t.Context(), c, req.Target, req.Stamp.Fence, out.Refs(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	expect(t, again, map[string]apply.Action{"Secret/precious": apply.Kept})

	stale := apply.Fence{Epoch: 1, Counter: 0}
	if _, err := apply.Prune(t.Context(), c, req.Target, stale, nil, time.Now()); !errors.Is(err, apply.ErrSuperseded) {
		t.Errorf("a stale prune got %v", err)
	}
}
