package adopt_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/adopt"
	"github.com/slipway-build/slipway/coordinator/plan"
)

const manifest = `# What cart is made of.
apiVersion: v1
kind: ConfigMap
metadata: {name: cart}   # not the other one

data:
  # said to everybody
  greeting: "hello"   # in English
  color: blue
  size: 'small'
  lines: |
    one
    two
---

apiVersion: apps/v1
kind: Deployment
metadata:
  name: cart
spec:
  replicas: 2
  template:
    spec:
      containers:
        - name: proxy
          image: example.com/proxy:1
        - name: cart
          image: cart   # Slipway says which
          ports: [{name: http, containerPort: 8080}]
`

func object(name string, fields ...plan.FieldChange) adopt.Object {
	return adopt.Object{
		Service: "cart", Cluster: "eu", Change: plan.ObjectChange{Object: name, Action: "taken over", Fields: fields},
		Render: plan.Render{Using: "kustomize", Path: "deploy/cart/prod", Paths: []string{"deploy/cart/base", "deploy/cart/prod"}},
	}
}

// changes are the lines that are not the same.
func changes(a, b string) string {
	var out []string
	before, after := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range max(len(before), len(after)) {
		x, y := "", ""
		if i < len(before) {
			x = before[i]
		}
		if i < len(after) {
			y = after[i]
		}
		if x != y {
			out = append(out, x+" => "+y)
		}
	}
	return strings.Join(out, "\n")
}

func TestValuesAreWrittenWhereTheyStand(t *testing.T) {
	for _, c := range []struct {
		object, path, live, released string
		want                         string // the lines that differ
	}{
		{"ConfigMap/cart", "data.greeting", `"by \"hand\""`, `"hello"`, `  greeting: "hello"   # in English =>   greeting: "by \"hand\""   # in English`},
		{"ConfigMap/cart", "data.color", `"8"`, `"blue"`, `  color: blue =>   color: "8"`},
		{"ConfigMap/cart", "data.color", `"red: #1"`, `"blue"`, `  color: blue =>   color: "red: #1"`},
		{"ConfigMap/cart", "data.size", `"it's"`, `"small"`, `  size: 'small' =>   size: 'it''s'`},
		{"Deployment/cart", "spec.replicas", `7`, `2`, `  replicas: 2 =>   replicas: 7`},
		{"Deployment/cart", `spec.template.spec.containers[name="proxy"].image`, `"example.com/proxy:2"`, `"example.com/proxy:1"`, `          image: example.com/proxy:1 =>           image: example.com/proxy:2`},
		{"Deployment/cart", `spec.template.spec.containers[name="cart"].ports[name="http"].containerPort`, `9090`, `8080`, `          ports: [{name: http, containerPort: 8080}] =>           ports: [{name: http, containerPort: 9090}]`},
	} {
		got := adopt.Into(map[string][]byte{"deploy/cart/base/all.yaml": []byte(manifest)}, []adopt.Object{object(c.object, plan.FieldChange{Path: c.path, From: c.live, To: c.released})})
		if diff := cmp.Diff(c.want, changes(manifest, string(got.Files["deploy/cart/base/all.yaml"]))); diff != "" || len(got.Done) != 1 || len(got.Left) != 0 {
			t.Errorf("%s %s: left %v\n%s", c.object, c.path, got.Left, diff)
		}
	}
}

func TestFieldsAreAddedAndTaken(t *testing.T) {
	got := adopt.Into(map[string][]byte{"deploy/cart/base/all.yaml": []byte(manifest)}, []adopt.Object{
		object("ConfigMap/cart",
			plan.FieldChange{Path: "data.color", To: `"blue"`}, plan.FieldChange{Path: `metadata.annotations["example.com/by"]`, From: `"me"`},
			plan.FieldChange{Path: "metadata.annotations", From: `{"example.com/by":"me"}`}, plan.FieldChange{Path: "data.lines", From: `"three\nfour\n"`, To: `"one\ntwo\n"`}),
		object("Deployment/cart", plan.FieldChange{Path: `spec.template.spec.containers[name="cart"].ports[name="admin"]`, From: `{"containerPort":81,"name":"admin"}`}),
	})
	text := string(got.Files["deploy/cart/base/all.yaml"])
	for _, want := range []string{"# said to everybody", "# in English", "example.com/by: me", "three", "name: admin", "# Slipway says which", "# What cart is made of."} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if strings.Contains(text, "color") || len(got.Done) != 4 || len(got.Left) != 1 || got.Left[0].Field != `metadata.annotations["example.com/by"]` {
		t.Errorf("done %v, left %v:\n%s", got.Done, got.Left, text)
	}
}

func TestWhatIsLeftToPeople(t *testing.T) {
	files := map[string][]byte{"deploy/cart/base/all.yaml": []byte(manifest), "deploy/cart/base/kustomization.yaml": []byte("resources: [all.yaml]\n")}
	hidden := plan.FieldChange{Path: "data.key", From: `"(not shown)"`, To: `"(not shown)"`}
	for want, o := range map[string]adopt.Object{
		"something else sets it":   object("Deployment/cart", plan.FieldChange{Path: `spec.template.spec.containers[name="cart"].image`, From: `"cart:hot"`, To: `"registry/cart@sha256:1"`}),
		"something generates it":   object("ConfigMap/cart-5f7h", plan.FieldChange{Path: "data.color", From: `"a"`, To: `"b"`}),
		"too long to be kept":      object("ConfigMap/cart", plan.FieldChange{Path: "data.color", From: `"aaaaaa…`, To: `"blue"`}),
		"or not shown":             object("Secret/cart", hidden),
		"the field is not set":     object("Deployment/cart", plan.FieldChange{Path: "spec.strategy.type", From: `"Recreate"`, To: `"RollingUpdate"`}),
		"a chart makes it":         {Service: "cart", Cluster: "eu", Change: plan.ObjectChange{Object: "ConfigMap/cart", Action: "changed"}, Render: plan.Render{Using: "helm"}},
		"it is gone":               {Service: "cart", Cluster: "eu", Change: plan.ObjectChange{Object: "ConfigMap/cart", Action: "created"}},
		"release does not have":    {Service: "cart", Cluster: "eu", Change: plan.ObjectChange{Object: "ConfigMap/cart", Action: "deleted"}},
		"only who holds them":      {Service: "cart", Cluster: "eu", Change: plan.ObjectChange{Object: "ConfigMap/cart", Action: "changed"}},
		"its place cannot be read": object("ConfigMap/cart", plan.FieldChange{Path: "data[", From: `"a"`, To: `"b"`}),
	} {
		got := adopt.Into(files, []adopt.Object{o})
		if len(got.Files)+len(got.Done) > 0 || len(got.Left) != 1 || !strings.Contains(got.Left[0].Why, want) {
			t.Errorf("%s: %v", want, fmt.Sprint(got.Done, got.Left))
		}
	}
	other := object("ConfigMap/cart", plan.FieldChange{Path: "data.color", From: `"green"`, To: `"blue"`})
	other.Cluster = "us"
	same := object("ConfigMap/cart", plan.FieldChange{Path: "data.color", From: `"red"`, To: `"blue"`})
	got := adopt.Into(files, []adopt.Object{same, same, other, {Change: plan.ObjectChange{Object: "Job/hook", Action: "carried out"}}})
	if len(got.Done) != 1 || len(got.Left) != 1 || got.Left[0].Cluster != "us" || !strings.Contains(got.Left[0].Why, `it is "green" here, and "red" in a cluster before`) {
		t.Errorf("clusters that differ: %v, %v", got.Done, got.Left)
	}
}

// TestTheOverlayComesFirst: a patch of the overlay that sets the field has the last word.
func TestTheOverlayComesFirst(t *testing.T) {
	patch := "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: cart }\nspec: { replicas: 3 }\n"
	files := map[string][]byte{"deploy/cart/base/all.yaml": []byte(manifest), "deploy/cart/prod/patch.yaml": []byte(patch)}
	got := adopt.Into(files, []adopt.Object{object("Deployment/cart", plan.FieldChange{Path: "spec.replicas", From: "9", To: "3"})})
	if text := string(got.Files["deploy/cart/prod/patch.yaml"]); len(got.Files) != 1 || !strings.Contains(text, "spec: { replicas: 9 }") {
		t.Errorf("%v %v:\n%s", got.Done, got.Left, text)
	}
}
