package apply_test

import (
	"context"
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/internal/kubetest"
)

// deaf is a cluster of which no single object may be asked for.
type deaf struct {
	dynamic.Interface
	dynamic.NamespaceableResourceInterface
	asked []string
}

var errDeaf = errors.New("asked about an object of which everything is known")

func (d *deaf) Resource(schema.GroupVersionResource) dynamic.NamespaceableResourceInterface { return d }
func (d *deaf) Namespace(string) dynamic.ResourceInterface                                  { return d }

func (d *deaf) Get(_ context.Context, name string, _ metav1.GetOptions, _ ...string) (*unstructured.Unstructured, error) {
	d.asked = append(d.asked, "get "+name)
	return nil, errDeaf
}

func (d *deaf) Patch(_ context.Context, name string, _ types.PatchType, _ []byte, _ metav1.PatchOptions, _ ...string) (*unstructured.Unstructured, error) {
	d.asked = append(d.asked, "patch "+name)
	return nil, errDeaf
}

// TestWhatIsKnownIsNotAskedAgain: a release that stands as it was written is not even read, whoever applies it again.
func TestWhatIsKnownIsNotAskedAgain(t *testing.T) {
	c, ns := open(t), kubetest.NewNamespace(t)
	must(t, c, request(ns, "r1", api, 1))
	// Controllers write to a Deployment after it was applied.
	kubetest.Eventually(t, "the Deployment is looked after", func() bool {
		d, err := kubetest.Client(t).AppsV1().Deployments(ns).Get(t.Context(), "api", metav1.GetOptions{})
		return err == nil && d.Annotations["deployment.kubernetes.io/revision"] == "1" && d.Status.ObservedGeneration == d.Generation
	})
	whole := c.Dynamic
	for i := range uint64(3) {
		nothing := &deaf{}
		c.Dynamic = nothing
		out := must(t, c, request(ns, "r1", api, 2+i))
		if len(nothing.asked) > 0 || out.Wrote() != 0 || len(out.Changes) != 3 {
			t.Errorf("asked %q, %v", nothing.asked, actions(out.Changes))
		}
	}
	c.Dynamic = whole
	out := must(t, c, request(ns, "r2", api+"---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: more}}\n", 9))
	expect(t, out.Changes, map[string]apply.Action{
		"Deployment/api": apply.Unchanged, "Service/api": apply.Unchanged, "ConfigMap/settings": apply.Unchanged, "ConfigMap/more": apply.Created,
	})
}

// TestWhatChangedIsSeen, however little of it shows: each change by somebody else is undone by the next rollout, and what is theirs stays.
func TestWhatChangedIsSeen(t *testing.T) {
	c, ns := open(t), kubetest.NewNamespace(t)
	text := api + "---\n{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: api, labels: {tier: front}}, spec: {minAvailable: 1, selector: {matchLabels: {app: api}}}}\n"
	must(t, c, request(ns, "r1", text, 1))
	client := kubetest.Client(t)
	by := metav1.PatchOptions{FieldManager: "somebody"}
	merge := types.MergePatchType
	for i, change := range []struct {
		what string
		do   func() error
		want apply.Action
		of   string
	}{
		{"data", func() error {
			_, err := client.CoreV1().ConfigMaps(ns).Patch(t.Context(), "settings", merge, []byte(`{"data":{"color":"red"}}`), by)
			return err
		}, apply.Updated, "ConfigMap/settings"},
		{"data of others", func() error {
			_, err := client.CoreV1().ConfigMaps(ns).Patch(t.Context(), "settings", merge, []byte(`{"data":{"shape":"round"}}`), by)
			return err
		}, apply.Unchanged, "ConfigMap/settings"},
		{"pods", func() error {
			_, err := client.AppsV1().Deployments(ns).Patch(t.Context(), "api", types.StrategicMergePatchType,
				[]byte(`{"spec":{"template":{"spec":{"containers":[{"name":"api","image":"example.com/api:2"}]}}}}`), by)
			return err
		}, apply.Updated, "Deployment/api"},
		{"a label", func() error {
			_, err := client.PolicyV1().PodDisruptionBudgets(ns).Patch(t.Context(), "api", merge, []byte(`{"metadata":{"labels":{"tier":null}}}`), by)
			return err
		}, apply.Updated, "PodDisruptionBudget/api"},
		{"a deletion", func() error {
			return client.CoreV1().Services(ns).Delete(t.Context(), "api", metav1.DeleteOptions{})
		}, apply.Created, "Service/api"},
		{"an object of the same name", func() error {
			if err := client.CoreV1().ConfigMaps(ns).Delete(t.Context(), "settings", metav1.DeleteOptions{}); err != nil {
				return err
			}
			other := request(ns, "r1", text, 1)
			other.Manifests = []byte("{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {color: green}}")
			_, err := apply.Apply(t.Context(), open(t), other) // another deployer, which writes as this one does
			return err
		}, apply.Updated, "ConfigMap/settings"},
	} {
		if err := change.do(); err != nil {
			t.Fatalf("%s: %v", change.what, err)
		}
		req := request(ns, "r1", text, uint64(i+2))
		req.Adopt = true // what somebody took comes back
		out := must(t, c, req)
		if got := actions(out.Changes)[change.of]; got != change.want && (change.want != apply.Updated || got != apply.Adopted) {
			t.Errorf("%s: %s is %q, want %q", change.what, change.of, got, change.want)
		}
		if out = must(t, c, request(ns, "r1", text, uint64(i+2))); out.Wrote() != 0 {
			t.Errorf("%s: once more: %v", change.what, actions(out.Changes))
		}
	}
	settings, err := client.CoreV1().ConfigMaps(ns).Get(t.Context(), "settings", metav1.GetOptions{})
	if err != nil || settings.Data["color"] != "blue" {
		t.Errorf("settings are %v, %v", settings.Data, err)
	}
}

// TestPruneSeesWhatAnotherDeployerWrote: a kind of which there was nothing is looked at again when somebody else was there.
func TestPruneSeesWhatAnotherDeployerWrote(t *testing.T) {
	mine, ns := open(t), kubetest.NewNamespace(t)
	one := request(ns, "r1", api, 1)
	out := must(t, mine, one)
	prune := func(fence apply.Fence) []apply.Change {
		t.Helper()
		changes, err := apply.Prune(t.Context(), mine, one.Target, fence, out.Refs(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return changes
	}
	expect(t, prune(one.Stamp.Fence), map[string]apply.Action{}) // now it is known that there is no Secret
	secret := "---\n{apiVersion: v1, kind: Secret, metadata: {name: extra}}\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {color: red}}\n"
	must(t, open(t), request(ns, "r2", "{apiVersion: v1, kind: ServiceAccount, metadata: {name: api}}\n"+secret, 2))
	back := request(ns, "r1", api, 3)
	out = must(t, mine, back)
	expect(t, prune(back.Stamp.Fence), map[string]apply.Action{"Secret/extra": apply.Deleted, "ServiceAccount/api": apply.Deleted})
}
