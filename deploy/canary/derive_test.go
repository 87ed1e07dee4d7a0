package canary_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/deploy/canary"
	"github.com/slipway-build/slipway/deploy/manifest"
)

// TestPodsComeNearestToTheWeight: no other number of pods comes nearer.
func TestPodsComeNearestToTheWeight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		serving, weight := rapid.Int64Range(1, 3000).Draw(t, "serving"), rapid.IntRange(1, canary.MaxWeight).Draw(t, "weight")
		got := canary.Pods(serving, weight)
		if got < 1 || got > serving {
			t.Fatalf("%d pods beside %d", got, serving)
		}
		if weight == canary.MaxWeight && got != serving {
			t.Fatalf("half is %d beside %d", got, serving)
		}
		if more := canary.Pods(serving, min(weight+1, canary.MaxWeight)); more < got {
			t.Fatalf("%d %% are %d pods, and one more are %d", weight, got, more)
		}
		// |c/(c+n) - w/100| of two numbers, in whole numbers
		off := func(c int64) int64 { return max(100*c-int64(weight)*(c+serving), int64(weight)*(c+serving)-100*c) }
		for _, other := range []int64{got - 1, got + 1} {
			if other >= 1 && off(other)*(got+serving) < off(got)*(other+serving) {
				t.Fatalf("%d pods beside %d are nearer to %d %% than %d", other, serving, weight, got)
			}
		}
	})
	for _, c := range []struct {
		serving int64
		weight  int
		want    int64
	}{{1, 1, 1}, {1, 50, 1}, {2, 10, 1}, {10, 5, 1}, {10, 25, 3}, {20, 5, 1}, {95, 5, 5}, {3, 50, 3}} {
		if got := canary.Pods(c.serving, c.weight); got != c.want {
			t.Errorf("%d %% beside %d: %d pods, want %d", c.weight, c.serving, got, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.SampledFrom([]int{63, 253}).Draw(t, "limit")
		name := rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?){0,3}`).
			Filter(func(s string) bool { return len(s) <= limit }).Draw(t, "name")
		got := canary.Name(name, limit)
		if len(got) > limit || len(validation.IsDNS1123Subdomain(got)) > 0 || !strings.HasSuffix(got, "-canary") || got == name {
			t.Fatalf("%q becomes %q", name, got)
		}
		if other := name[:len(name)-1] + "0"; other != name && canary.Name(other, limit) == got {
			t.Fatalf("%q and %q are both %q", name, other, got)
		}
	})
	if got := canary.Name("api", 63); got != "api-canary" {
		t.Error(got)
	}
}

// everything refers to configuration in every way that there is.
const everything = `
{apiVersion: v1, kind: ConfigMap, metadata: {name: c, annotations: {slipway.dev/keep: "true"}}, immutable: true, data: {v: "2"}}
---
{apiVersion: v1, kind: Secret, metadata: {name: s, annotations: {slipway.dev/hook: before, slipway.dev/hook-weight: "1"}}, stringData: {v: "2"}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: unused}}
---
{apiVersion: other.example.com/v1, kind: Secret, metadata: {name: theirs}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: a}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: there}}
---
{apiVersion: v1, kind: Service, metadata: {name: api}, spec: {selector: {app: api}, ports: [{port: 80}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: api, labels: {team: x}}
spec:
  replicas: 7
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec:
      serviceAccountName: a
      imagePullSecrets: [{name: s}, {name: elsewhere}]
      volumes:
      - {name: v1, configMap: {name: c}}
      - {name: v2, secret: {secretName: s}}
      - {name: v3, projected: {sources: [{configMap: {name: c}}, {secret: {name: s}}, {serviceAccountToken: {path: t}}]}}
      - {name: v4, csi: {driver: d, nodePublishSecretRef: {name: s}, volumeAttributes: {secretName: s}}}
      - {name: v5, azureFile: {shareName: x, secretName: s}}
      - {name: v6, iscsi: {secretRef: {name: s}}}
      - {name: v7, persistentVolumeClaim: {claimName: c}}
      containers:
      - {name: m, image: i, envFrom: [{configMapRef: {name: c}}, {secretRef: {name: s}}], env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: v}}}, {name: B, value: c}]}
      initContainers:
      - {name: i, image: i, env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: v}}}, {name: T, valueFrom: {secretKeyRef: {name: theirs, key: v}}}]}
      ephemeralContainers:
      - {name: e, image: i, envFrom: [{configMapRef: {name: outside}}]}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: fresh}, spec: {selector: {matchLabels: {app: f}}, template: {metadata: {labels: {app: f}}, spec: {containers: [{name: m, image: i, envFrom: [{configMapRef: {name: unused}}]}]}}}}
---
{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: db}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: migrate, annotations: {slipway.dev/hook: before}}}
`

func parse(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	objs, refused := manifest.Parse([]byte(text))
	if len(refused) > 0 {
		t.Fatal(refused)
	}
	return objs
}

func request(t *testing.T, text string) canary.Request {
	t.Helper()
	return canary.Request{
		Objects: parse(t, text), Release: "r2", Part: canary.Part{Weight: 10}, Serving: map[string]int64{"api": 9, "gone": 3},
		Absent: map[string]bool{"/ServiceAccount//a": true, "batch/Job//migrate": true},
	}
}

func TestEveryReferenceToConfigurationIsToTheCopy(t *testing.T) {
	req := request(t, everything)
	before, err := json.Marshal(req.Objects)
	if err != nil {
		t.Fatal(err)
	}
	derived, refused := canary.Derive(req)
	if len(refused) > 0 {
		t.Fatal(refused)
	}
	if after, err := json.Marshal(req.Objects); err != nil || string(after) != string(before) {
		t.Error("the manifests of the release were changed")
	}
	if diff := cmp.Diff(map[string]string{"api": "api-canary"}, derived.Deployments); diff != "" {
		t.Error(diff)
	}
	var names []string
	var api *unstructured.Unstructured
	for _, obj := range derived.Objects {
		names = append(names, obj.GetKind()+"/"+obj.GetName())
		if obj.GetName() == "api-canary" {
			api = obj
		}
		if obj.Object["immutable"] != nil {
			t.Errorf("%s cannot be changed by the next release", obj.GetName())
		}
		for _, own := range []string{"slipway.dev/keep", "slipway.dev/hook", "slipway.dev/hook-weight", "slipway.dev/hook-digest"} {
			if _, ok := obj.GetAnnotations()[own]; ok {
				t.Errorf("%s has %s of the original", obj.GetName(), own)
			}
		}
		if own := obj.GetAnnotations()[canary.Annotation]; (own != "r2") != (obj.GetKind() == "ServiceAccount") {
			t.Errorf("%s is marked %q", obj.GetName(), own)
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"ConfigMap/c-canary", "Deployment/api-canary", "Secret/s-canary", "ServiceAccount/a"}, names); diff != "" {
		t.Fatal(diff)
	}
	document := ""
	for text := range strings.SplitSeq(everything, "\n---\n") {
		if strings.Contains(text, "metadata: {name: api, labels") {
			document = text
		}
	}
	spec, err := json.Marshal(api.Object["spec"])
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(parse(t, strings.NewReplacer(
		"replicas: 7", "replicas: 1", "{app: api}", "{app: api, slipway.dev/track: canary}",
		"configMap: {name: c}", "configMap: {name: c-canary}", "configMapRef: {name: c}", "configMapRef: {name: c-canary}",
		"configMapKeyRef: {name: c,", "configMapKeyRef: {name: c-canary,", "secretKeyRef: {name: s,", "secretKeyRef: {name: s-canary,",
		"nodePublishSecretRef: {name: s}", "nodePublishSecretRef: {name: s-canary}", "shareName: x, secretName: s", "shareName: x, secretName: s-canary",
		"secretRef: {name: s}", "secretRef: {name: s-canary}", "secret: {secretName: s}", "secret: {secretName: s-canary}",
		"secret: {name: s}", "secret: {name: s-canary}", "imagePullSecrets: [{name: s}", "imagePullSecrets: [{name: s-canary}",
	).Replace(document))[0].Object["spec"])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(decoded(t, want), decoded(t, spec)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func decoded(t *testing.T, data []byte) any {
	t.Helper()
	var out any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestCopiesServeAndDoNotOverlap: whatever the labels are, what selects the release's pods selects the candidate's, and what
// selects the candidate's selects no other.
func TestCopiesServeAndDoNotOverlap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		all := rapid.MapOfN(rapid.StringMatching(`[a-z]{1,5}`), rapid.StringMatching(`[a-z]{1,5}`), 1, 4).Draw(rt, "labels")
		selected := map[string]string{}
		for _, key := range slices.Sorted(keys(all)) {
			if len(selected) == 0 || rapid.Bool().Draw(rt, key) {
				selected[key] = all[key]
			}
		}
		text := fmt.Sprintf(`{apiVersion: apps/v1, kind: Deployment, metadata: {name: api}, spec: {selector: {matchLabels: %s}, template: {metadata: {labels: %s}, spec: {}}}}`,
			encoded(selected), encoded(all))
		derived, refused := canary.Derive(request(t, text))
		if len(refused) > 0 || len(derived.Objects) != 1 {
			rt.Fatalf("%v %v", derived, refused)
		}
		copied := derived.Objects[0]
		pods, _, _ := unstructured.NestedStringMap(copied.Object, "spec", "template", "metadata", "labels")
		selector, _, _ := unstructured.NestedStringMap(copied.Object, "spec", "selector", "matchLabels")
		switch {
		case !labels.SelectorFromSet(selected).Matches(labels.Set(pods)):
			rt.Fatalf("the Service's %v does not select %v", selected, pods)
		case !labels.SelectorFromSet(selector).Matches(labels.Set(pods)):
			rt.Fatalf("its own %v does not select %v", selector, pods)
		case labels.SelectorFromSet(selector).Matches(labels.Set(all)):
			rt.Fatalf("%v selects pods that serve, %v", selector, all)
		}
	})
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

func encoded(m map[string]string) string {
	data, _ := json.Marshal(m)
	return string(data)
}

func TestWhatCannotHaveACopy(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"a Deployment of that name": {`{apiVersion: apps/v1, kind: Deployment, metadata: {name: api-canary}}`, "Deployment/api-canary: metadata.name: is the name under which Deployment/api stands"},
		"a ConfigMap of that name":  {`{apiVersion: v1, kind: ConfigMap, metadata: {name: c-canary}}`, "ConfigMap/c-canary: metadata.name: is the name under which ConfigMap/c stands"},
		"the label is taken": {
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: gone}, spec: {selector: {matchLabels: {slipway.dev/track: x}}, template: {metadata: {labels: {app: x}}}}}`,
			"Deployment/gone: spec.selector.matchLabels.slipway.dev/track: is Slipway's own label",
		},
		"selectors are no map": {`{apiVersion: apps/v1, kind: Deployment, metadata: {name: gone}, spec: {selector: 3}}`, "Deployment/gone-canary: spec.selector.matchLabels.slipway.dev/track"},
	} {
		t.Run(name, func(t *testing.T) {
			_, refused := canary.Derive(request(t, everything+"\n---\n"+c.text))
			if len(refused) == 0 || !strings.HasPrefix(refused[0].String(), c.want) {
				t.Errorf("got %v, want %s", refused, c.want)
			}
		})
	}
	other := "\n---\n{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: api-canary}}\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: unused-canary}}"
	if _, refused := canary.Derive(request(t, everything+other)); len(refused) > 0 {
		t.Errorf("refused for names that nothing needs: %v", refused)
	}
	req := request(t, everything)
	req.Serving = nil
	if derived, refused := canary.Derive(req); len(derived.Objects) > 0 || len(refused) > 0 {
		t.Errorf("of nothing that serves: %v %v", derived, refused)
	}
}

// TestNoServiceSelectsWhatStandsBeside: whatever Services there are, and none of them selects pods of the candidate; its own selector does.
func TestNoServiceSelectsWhatStandsBeside(t *testing.T) {
	label := rapid.StringMatching(`[a-c]`)
	rapid.Check(t, func(rt *rapid.T) {
		text, serving := "", map[string]int64{}
		for i := range rapid.IntRange(1, 3).Draw(rt, "deployments") {
			all := rapid.MapOfN(label, label, 1, 3).Draw(rt, "labels")
			name := fmt.Sprint("d", i)
			serving[name] = int64(i + 1)
			text += fmt.Sprintf("---\n{apiVersion: apps/v1, kind: Deployment, metadata: {name: %s}, spec: {selector: {matchLabels: %[2]s}, template: {metadata: {labels: %[2]s}, spec: {}}}}\n", name, encoded(all))
		}
		var services []*corev1.Service
		for i := range rapid.IntRange(0, 4).Draw(rt, "services") {
			services = append(services, &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("s", i)}, Spec: corev1.ServiceSpec{Selector: rapid.MapOfN(label, label, 0, 2).Draw(rt, "selector")},
			})
		}
		derived, refused := canary.Derive(canary.Request{Objects: parse(t, text), Release: "r2", Part: canary.Part{Router: canary.Service}, Serving: serving, Services: services})
		if len(refused) > 0 || len(derived.Objects) != len(serving) {
			rt.Fatalf("%v %v", derived, refused)
		}
		for _, copied := range derived.Objects {
			pods, _, _ := unstructured.NestedStringMap(copied.Object, "spec", "template", "metadata", "labels")
			own, _, _ := unstructured.NestedStringMap(copied.Object, "spec", "selector", "matchLabels")
			if !labels.SelectorFromSet(own).Matches(labels.Set(pods)) {
				rt.Fatalf("its own %v does not select %v", own, pods)
			}
			for _, s := range services {
				if len(s.Spec.Selector) > 0 && labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(pods)) {
					rt.Fatalf("the Service's %v selects %v", s.Spec.Selector, pods)
				}
			}
			if n, _, _ := unstructured.NestedInt64(copied.Object, "spec", "replicas"); n != serving[strings.TrimSuffix(copied.GetName(), "-canary")] {
				rt.Fatalf("%d pods", n)
			}
		}
	})
}

func TestASelectorThatCannotTellThemApartIsRefused(t *testing.T) {
	text := `{apiVersion: apps/v1, kind: Deployment, metadata: {name: api}, spec: {selector: {matchExpressions: [{key: app, operator: In, values: [api]}]}, template: {metadata: {labels: {app: api}}, spec: {}}}}`
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "api"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "api"}}}
	_, refused := canary.Derive(canary.Request{Objects: parse(t, text), Part: canary.Part{Router: canary.Service}, Serving: map[string]int64{"api": 1}, Services: []*corev1.Service{service}})
	if len(refused) != 1 || !strings.Contains(refused[0].String(), "Deployment/api-canary: spec.selector.matchExpressions: is about the label app") {
		t.Errorf("got %v", refused)
	}
	text = `{apiVersion: v1, kind: Service, metadata: {name: api}, spec: {selector: {slipway.dev/track: canary}}}`
	if _, refused = canary.Derive(canary.Request{Objects: parse(t, text)}); len(refused) != 1 || !strings.Contains(refused[0].String(), "is Slipway's own label") {
		t.Errorf("got %v", refused)
	}
}
