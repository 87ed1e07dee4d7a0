package apply_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/internal/kubetest"
)

// theirs is the Deployment of api before Slipway came: another image, and a variable that
// the release does not have.
const theirs = `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: api
  labels: {LABELS}
  annotations: {ANNOTATIONS}
spec:
  replicas: 1
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec: {containers: [{name: api, image: "example.com/api:0", env: [{name: OLD, value: hidden-value}]}]}
`

func marked(labels, annotations string) string {
	return strings.NewReplacer("LABELS", labels, "ANNOTATIONS", annotations).Replace(theirs)
}

// byKubectl makes the object as kubectl apply does without --server-side.
func byKubectl(t *testing.T, namespace, text string) {
	t.Helper()
	var d appsv1.Deployment
	if err := yaml.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	last, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	d.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": string(last)}
	if _, err := kubetest.Client(t).AppsV1().Deployments(namespace).Create(t.Context(), &d, metav1.CreateOptions{FieldManager: "kubectl-client-side-apply"}); err != nil {
		t.Fatal(err)
	}
}

// byServerSide makes it as Helm 4 and Argo CD do.
func byServerSide(t *testing.T, namespace, manager, text string) {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kubetest.Client(t).AppsV1().Deployments(namespace).Patch(t.Context(), "api", types.ApplyPatchType, data,
		metav1.PatchOptions{FieldManager: manager}); err != nil {
		t.Fatal(err)
	}
}

func deployment(t *testing.T, namespace string) *appsv1.Deployment {
	t.Helper()
	d, err := kubetest.Client(t).AppsV1().Deployments(namespace).Get(t.Context(), "api", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// content is what a person would call the object.
func content(d *appsv1.Deployment) any {
	delete(d.Annotations, "deployment.kubernetes.io/revision")
	return []any{d.Generation, d.Labels, d.Annotations, d.Spec}
}

func refusals(t *testing.T, namespace string, out apply.Outcome) string {
	t.Helper()
	lines := make([]string, 0, len(out.Refused))
	for _, refusal := range out.Refused {
		lines = append(lines, strings.ReplaceAll(refusal.String(), namespace, "NS"))
	}
	return strings.Join(lines, "\n")
}

func TestWhatOthersMadeIsRefusedThenTakenOver(t *testing.T) {
	const image = `Deployment/api: spec.template.spec.containers[name="api"].image: is "example.com/api:0", the release wants "example.com/api:1"; held by `
	const helmLabels = `app.kubernetes.io/managed-by: Helm`
	const helmAnnotations = `meta.helm.sh/release-name: shop, meta.helm.sh/release-namespace: NS`
	const helmSentence = `Deployment/api: exists in namespace NS already and belongs to Helm release "shop" of namespace "NS", not to Slipway; ` +
		`slipway run --adopt takes it over, or give the release's object another name. ` +
		`Helm goes on until its release is gone, upgrade writes to it and uninstall deletes it: ` +
		`annotate it in the chart with helm.sh/resource-policy: keep, upgrade once, then uninstall` + "\n"
	const argoSentence = `slipway run --adopt takes it over, or give the release's object another name. ` +
		`Argo CD goes on writing to it until its application lets go: remove it from the application without pruning, ` +
		`or run argocd app delete shop --cascade=false` + "\n"
	tests := []struct {
		name, who, want string
		holders         string
		create          func(t *testing.T, ns string)
	}{
		{
			"kubectl", "kubectl apply", "Deployment/api: exists in namespace NS already and belongs to kubectl apply, not to Slipway; " +
				"slipway run --adopt takes it over, or give the release's object another name. Do not apply it with kubectl any more\n" +
				image + "kubectl-client-side-apply (Update)",
			"kubectl-client-side-apply (Update)",
			func(t *testing.T, ns string) { t.Helper(); byKubectl(t, ns, marked("", "")) },
		},
		{
			"helm", `Helm release "shop" of namespace "NS"`, helmSentence + image + "helm (Apply)", "helm (Apply)",
			func(t *testing.T, ns string) {
				t.Helper()
				byServerSide(t, ns, "helm", marked(helmLabels, strings.ReplaceAll(helmAnnotations, "NS", ns)))
			},
		},
		{
			"argo", `Argo CD application "shop"`, `Deployment/api: exists in namespace NS already and belongs to Argo CD application "shop", not to Slipway; ` +
				argoSentence + image + "argocd-controller (Apply)", "argocd-controller (Apply)",
			func(t *testing.T, ns string) {
				t.Helper()
				byServerSide(t, ns, "argocd-controller", marked("", `argocd.argoproj.io/tracking-id: "shop:apps/Deployment:NS/api"`))
			},
		},
	}
	c := open(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ns, client := kubetest.NewNamespace(t), kubetest.Client(t)
			test.create(t, ns)
			before := deployment(t, ns)

			out, err := apply.Apply(t.Context(), c, request(ns, "r1", api, 1))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, refusals(t, ns, out)); diff != "" {
				t.Errorf("refusal (-want +got):\n%s", diff)
			}
			// The configuration comes before the Deployment, and is not written either.
			if _, err := client.CoreV1().ConfigMaps(ns).Get(t.Context(), "settings", metav1.GetOptions{}); err == nil {
				t.Error("an object before the refused one was written")
			}
			if diff := cmp.Diff(content(before), content(deployment(t, ns))); diff != "" { // its status moves by itself
				t.Errorf("the refused object changed:\n%s", diff)
			}

			adopt := request(ns, "r1", api, 2)
			adopt.Adopt = true
			out = must(t, c, adopt)
			expect(t, out.Changes, map[string]apply.Action{
				"ConfigMap/settings": apply.Created, "Service/api": apply.Created, "Deployment/api": apply.Adopted,
			})
			who := strings.ReplaceAll(test.who, "NS", ns)
			for _, change := range out.Changes {
				if change.Action == apply.Adopted && !strings.HasPrefix(change.Reason, "from "+who+", with fields of "+test.holders) {
					t.Errorf("taken over %s", change.Reason)
				}
			}
			live := deployment(t, ns)
			if live.UID != before.UID || !adopt.Target.Owns(live) || live.Annotations[apply.AnnotationFence] != "1.2" ||
				live.Annotations[apply.AnnotationAdopted] != who {
				t.Errorf("labels %v, annotations %v", live.Labels, live.Annotations)
			}
			for _, key := range []string{"kubectl.kubernetes.io/last-applied-configuration", "meta.helm.sh/release-name", "argocd.argoproj.io/tracking-id"} {
				if live.Annotations[key] != "" {
					t.Errorf("annotation %s is still there", key)
				}
			}
			container := live.Spec.Template.Spec.Containers[0]
			if container.Image != "example.com/api:1" || len(container.Env) != 0 {
				t.Errorf("image %s, variables %v: the release has none", container.Image, container.Env)
			}
			for _, entry := range live.ManagedFields {
				if entry.Subresource == "" && entry.Manager != apply.FieldManager && entry.Manager != "kube-controller-manager" {
					t.Errorf("%s still holds fields", entry.Manager)
				}
			}

			again := must(t, c, adopt)
			if again.Wrote() != 0 {
				t.Errorf("adopting again wrote %v", actions(again.Changes))
			}
			// From now on it is a release like any other: what it gives up goes.
			more := strings.Replace(api, `image: "example.com/api:1"`, `image: "example.com/api:2", env: [{name: NEW, value: x}]`, 1)
			must(t, c, request(ns, "r2", more, 3))
			must(t, c, request(ns, "r3", api, 4))
			live = deployment(t, ns)
			if len(live.Spec.Template.Spec.Containers[0].Env) != 0 || live.Annotations[apply.AnnotationAdopted] != who {
				t.Errorf("variables %v, annotations %v", live.Spec.Template.Spec.Containers[0].Env, live.Annotations)
			}
		})
	}
}

func TestAllConflictsOfAllObjectsAtOnce(t *testing.T) {
	c, ns, client := open(t), kubetest.NewNamespace(t), kubetest.Client(t)
	byKubectl(t, ns, marked("", ""))
	keys, err := client.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "keys"}, StringData: map[string]string{"token": "hidden-value"},
	}, metav1.CreateOptions{FieldManager: "platform"})
	if err != nil {
		t.Fatal(err)
	}
	release := strings.Replace(api, `image: "example.com/api:1"`, `image: "example.com/api:1", env: [{name: OLD, value: hidden-too}]`, 1) +
		"\n---\n{apiVersion: v1, kind: Secret, metadata: {name: keys}, stringData: {token: hidden-too}}\n"
	out, err := apply.Apply(t.Context(), c, request(ns, "r1", release, 1))
	if err != nil {
		t.Fatal(err)
	}
	refusedWith(t, out, "Secret/keys: exists in namespace "+ns+` already and belongs to "platform"`,
		"Deployment/api: exists in namespace", `containers[name="api"].image: is "example.com/api:0"`,
		`env[name="OLD"].value: is not what the release wants (values of variables are not shown); held by kubectl-client-side-apply (Update)`)
	if text := refusals(t, ns, out); strings.Contains(text, "hidden") || strings.Contains(text, "aGlkZGVu") {
		t.Errorf("a secret's value is in the refusal:\n%s", text)
	}
	after, err := client.CoreV1().Secrets(ns).Get(t.Context(), "keys", metav1.GetOptions{})
	if out.Wrote() != 0 || err != nil || after.ResourceVersion != keys.ResourceVersion {
		t.Errorf("wrote %v; the secret moved from %s to %s, %v", actions(out.Changes), keys.ResourceVersion, after.ResourceVersion, err)
	}
}

func TestFieldsOfAnOwnObjectAreTakenBack(t *testing.T) {
	c, ns, client := open(t), kubetest.NewNamespace(t), kubetest.Client(t)
	must(t, c, request(ns, "r1", api, 1))
	if _, err := client.CoreV1().ConfigMaps(ns).Patch(t.Context(), "settings", types.MergePatchType,
		[]byte(`{"data":{"color":"purple"}}`), metav1.PatchOptions{FieldManager: "kubectl-edit"}); err != nil {
		t.Fatal(err)
	}
	out, err := apply.Apply(t.Context(), c, request(ns, "r2", strings.ReplaceAll(api, "blue", "green"), 2))
	if err != nil {
		t.Fatal(err)
	}
	want := `ConfigMap/settings: data.color: is "purple", the release wants "green"; held by kubectl-edit (Update); ` +
		"slipway run --adopt takes it, or remove it from the manifest"
	if diff := cmp.Diff(want, refusals(t, ns, out)); diff != "" {
		t.Errorf("refusal (-want +got):\n%s", diff)
	}
	req := request(ns, "r2", strings.ReplaceAll(api, "blue", "green"), 3)
	req.Adopt = true
	expect(t, must(t, c, req).Changes, map[string]apply.Action{
		"ConfigMap/settings": apply.Adopted, "Service/api": apply.Unchanged, "Deployment/api": apply.Unchanged,
	})
	live, err := client.CoreV1().ConfigMaps(ns).Get(t.Context(), "settings", metav1.GetOptions{})
	if err != nil || live.Data["color"] != "green" || live.Annotations[apply.AnnotationAdopted] != "" || len(live.ManagedFields) != 1 {
		t.Errorf("%v %v %v", live, live.ManagedFields, err)
	}
}

func TestReplicasOfAnAutoscalerAreNotTaken(t *testing.T) {
	c, ns, client := open(t), kubetest.NewNamespace(t), kubetest.Client(t)
	byKubectl(t, ns, marked("", ""))
	if _, err := client.AppsV1().Deployments(ns).Patch(t.Context(), "api", types.MergePatchType, []byte(`{"spec":{"replicas":7}}`),
		metav1.PatchOptions{FieldManager: "kube-controller-manager"}, "scale"); err != nil {
		t.Fatal(err)
	}
	req := request(ns, "r1", api, 1)
	req.Adopt = true
	out, err := apply.Apply(t.Context(), c, req)
	if err != nil {
		t.Fatal(err)
	}
	want := "Deployment/api: spec.replicas: is 7, the release wants 1; held by kube-controller-manager (Update, subresource scale); " +
		"it is set as the cluster runs, by an autoscaler for one: remove it from the manifest"
	if diff := cmp.Diff(want, refusals(t, ns, out)); diff != "" {
		t.Errorf("refusal (-want +got):\n%s", diff)
	}
	req.Manifests = []byte(strings.Replace(api, "  replicas: 1\n", "", 1))
	must(t, c, req)
	if replicas := *deployment(t, ns).Spec.Replicas; replicas != 7 {
		t.Errorf("%d replicas are left of 7", replicas)
	}
}

func TestWhatIsNotAdopted(t *testing.T) {
	c, ns, client := open(t), kubetest.NewNamespace(t), kubetest.Client(t)
	web := request(ns, "r1", "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}}", 1)
	web.Target.Service = "web"
	must(t, c, web)
	yes := true
	if _, err := client.CoreV1().Services(ns).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "api", OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "example.com/v1", Kind: "Shop", Name: "main", UID: "1", Controller: &yes},
		}},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "api"}, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	req := request(ns, "r1", api, 2)
	req.Adopt = true
	out, err := apply.Apply(t.Context(), c, req)
	if err != nil {
		t.Fatal(err)
	}
	refusedWith(t, out, "ConfigMap/settings: belongs to service web of project shop", "Service/api: exists in namespace "+ns+" and is controlled by Shop/main")

	// A stale lease adopts nothing that a newer one wrote.
	newer := request(ns, "r9", strings.ReplaceAll(api, "name: api", "name: other"), 9)
	newer.Manifests = []byte(strings.ReplaceAll(string(newer.Manifests), "settings", "others"))
	must(t, c, newer)
	stale := newer
	stale.Stamp.Fence.Counter, stale.Adopt = 3, true
	stale.Manifests = []byte(strings.ReplaceAll(string(newer.Manifests), "blue", "red"))
	if _, err := apply.Apply(t.Context(), c, stale); !errors.Is(err, apply.ErrSuperseded) {
		t.Errorf("a stale deployer got %v", err)
	}
}

func TestTakeoverThatTheClusterRefusesInTheEndWritesNothing(t *testing.T) {
	c, ns, client := open(t), kubetest.NewNamespace(t), kubetest.Client(t)
	byKubectl(t, ns, strings.ReplaceAll(marked("", ""), "{app: api}", "{app: api, release: old}"))
	before := deployment(t, ns)
	req := request(ns, "r1", api, 1)
	req.Adopt = true
	out, err := apply.Apply(t.Context(), c, req)
	if err != nil {
		t.Fatal(err)
	}
	refusedWith(t, out, "Deployment/api: spec.selector: ", "field is immutable", "give the object another name, or delete it first")
	if diff := cmp.Diff(content(before), content(deployment(t, ns))); diff != "" {
		t.Errorf("the refused object changed:\n%s", diff)
	}
	if _, err := client.CoreV1().ConfigMaps(ns).Get(t.Context(), "settings", metav1.GetOptions{}); err == nil {
		t.Error("an object before the refused one was written")
	}
}

func TestWhatOthersAddStays(t *testing.T) {
	c, ns, client := open(t), kubetest.NewNamespace(t), kubetest.Client(t)
	byServerSide(t, ns, "helm", marked("app.kubernetes.io/managed-by: Helm", ""))
	if _, err := client.AppsV1().Deployments(ns).Patch(t.Context(), "api", types.MergePatchType,
		[]byte(`{"spec":{"template":{"metadata":{"annotations":{"example.com/injected":"yes"}}}}}`), metav1.PatchOptions{FieldManager: "injector"}); err != nil {
		t.Fatal(err)
	}
	req := request(ns, "r1", api, 1)
	req.Adopt = true
	out := must(t, c, req)
	for _, change := range out.Changes {
		if strings.Contains(change.Reason, "injector") {
			t.Errorf("taken over: %s", change.Reason)
		}
	}
	if live := deployment(t, ns); live.Spec.Template.Annotations["example.com/injected"] != "yes" || len(live.Spec.Template.Spec.Containers[0].Env) > 0 {
		t.Errorf("template %v", live.Spec.Template)
	}
}
