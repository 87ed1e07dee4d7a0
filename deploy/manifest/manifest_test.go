package manifest_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/deploy/manifest"
)

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n"

func TestParse(t *testing.T) {
	for name, test := range map[string]struct {
		text    string
		objects []string // in the order of writing
		refused []string
	}{
		"nothing":            {"---\n# nothing\n---\n", nil, nil},
		"order":              {"apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: api}\n---\n" + configMap, []string{"ConfigMap/settings", "Deployment/api", "Widget/w"}, nil},
		"list":               {"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: a}}\n- {apiVersion: v1, kind: Secret, metadata: {name: b}}\n", []string{"Secret/b", "Service/a"}, nil},
		"list of one kind":   {"apiVersion: v1\nkind: ConfigMapList\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n", []string{"ConfigMap/a"}, nil},
		"empty list":         {"apiVersion: v1\nkind: List\nitems: []\n---\n" + configMap, []string{"ConfigMap/settings"}, nil},
		"list of texts":      {"apiVersion: v1\nkind: List\nitems: [a, {apiVersion: v1}]\n", nil, []string{"document 1, item 1: is no object", "document 1, item 2: has no apiVersion or no kind"}},
		"list in a list":     {"apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: List, items: []}]\n", nil, []string{"List in document 1, item 1: metadata.name: is missing"}},
		"twice through list": {configMap + "---\napiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}}]\n", []string{"ConfigMap/settings", "ConfigMap/settings"}, []string{"ConfigMap/settings: is in the release twice; remove one"}},
		"two mistakes": {"kind: A\n---\napiVersion: v1\nkind: Pod\nmetadata: {generateName: p-}\n", nil, []string{
			"document 1: has no apiVersion or no kind", "Pod in document 2: metadata.generateName: an object must keep its name from release to release; give it metadata.name",
		}},
		"of a live object": {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, uid: x}\nstatus: {a: b}\n", []string{"ConfigMap/settings"}, []string{
			"ConfigMap/settings: metadata.uid: belongs to a live object and cannot be released; remove it",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			objs, refused := manifest.Parse([]byte(test.text))
			var got, said []string
			for _, o := range objs {
				got = append(got, manifest.RefOf(o).String())
			}
			for _, r := range refused {
				said = append(said, r.String())
			}
			if diff := cmp.Diff(test.objects, got); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.refused, said); diff != "" {
				t.Errorf("refusals (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNamespace: a release writes to the namespace of its target, and nowhere else.
func TestNamespace(t *testing.T) {
	for text, test := range map[string]struct {
		namespaced bool
		want       string
	}{
		configMap: {true, ""},
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: shop}\n":        {true, ""},
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: kube-system}\n": {true, `ConfigMap/settings: metadata.namespace: is "kube-system", but this release may only write to namespace "shop"; remove the field or correct it`},
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n":                             {false, "Namespace/shop: Slipway creates the environment's namespace itself; remove this object"},
		"apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: all}\n": {false, "ClusterRole/all: belongs to the whole cluster, and this release may only write to its namespace; " +
			"leave it to the platform team, or let them allow the kind for this cluster"},
	} {
		objs, refused := manifest.Parse([]byte(text))
		if len(objs) != 1 || len(refused) > 0 {
			t.Fatalf("%s: %v", text, refused)
		}
		said := ""
		for _, r := range (manifest.Policy{}).Check(objs[0], "shop", test.namespaced) {
			said += r.String()
		}
		if said != test.want {
			t.Errorf("%sgot  %s\nwant %s", text, said, test.want)
		}
	}
}

// TestLocated: a refusal names the file that its object comes from, as far as the release says it.
func TestLocated(t *testing.T) {
	text := []byte(`{"apiVersion":"slipway.dev/v1","kind":"HelmRelease","metadata":{"name":"api"}}
---
# Source: deploy/api/a.yaml
apiVersion: v1
kind: ConfigMap
metadata: { name: a }
data: { text: "# Source: elsewhere" }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: untold }
---
# Source: deploy/api/b.yaml
apiVersion: v1
kind: List
items: [{ apiVersion: apps/v1, kind: Deployment, metadata: { name: b } }, { apiVersion: v1 }]
---
# Source: deploy/api/c.yaml
apiVersion: x/v1
kind: ConfigMap
metadata: { name: a }
`)
	var got []string
	for _, object := range []string{"ConfigMap/a", "ConfigMap/untold", "Deployment/b", "document 3", "document 4, item 2", "Pod in document 5", "Deployment/other"} {
		got = append(got, manifest.Located([]manifest.Refusal{{Object: object, Field: "f", Reason: "no"}}, text)[0].String())
	}
	want := []string{
		"deploy/api/a.yaml or deploy/api/c.yaml: ConfigMap/a: f: no", "ConfigMap/untold: f: no", "deploy/api/b.yaml: Deployment/b: f: no", "document 3: f: no",
		"deploy/api/b.yaml: document 4, item 2: f: no", "deploy/api/c.yaml: Pod in document 5: f: no", "Deployment/other: f: no",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
