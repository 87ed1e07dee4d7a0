package render_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/render"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
)

const image = "127.0.0.1:7423/shop/api@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

type blobs map[string][]byte

func (b blobs) PutBlob(_ context.Context, data []byte) (string, error) {
	d := fmt.Sprintf("sha256:%x", sha256.Sum256(data))
	b[d] = data
	return d, nil
}

type broken struct{}

func (broken) PutBlob(context.Context, []byte) (string, error) {
	return "", errors.New("coordinator away")
}

func workspace(t *testing.T, archive string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range txtar.Parse([]byte(archive)).Files {
		name := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func work(using string) runner.Render {
	return runner.Render{
		Path: "deploy/api", Paths: []string{"deploy"}, Using: using, Images: map[string]string{"api": image},
		Environment: "prod", Cluster: "prod-eu", Namespace: "shop",
	}
}

const shop = `
-- deploy/api/base/kustomization.yaml --
resources: [deployment.yaml, rbac.yaml]
configMapGenerator:
  - name: settings
    files: [settings.ini]
-- deploy/api/base/settings.ini --
color=blue
-- deploy/api/base/deployment.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: { name: api }
spec:
  replicas: 1
  selector: { matchLabels: { app: api } }
  template:
    metadata: { labels: { app: api } }
    spec:
      initContainers: [{ name: migrate, image: "api:dev", command: [./migrate] }]
      containers:
        - { name: api, image: api, envFrom: [{ configMapRef: { name: settings } }] }
        - { name: proxy, image: "envoy:1.30" }
-- deploy/api/base/rbac.yaml --
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: reader }
rules: []
-- deploy/api/overlays/prod/kustomization.yaml --
resources: [../../base]
patches:
  - path: replicas.yaml
-- deploy/api/overlays/prod/replicas.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: { name: api }
spec: { replicas: 3 }
`

const plain = `
-- deploy/api/b.yaml --
apiVersion: v1
kind: Service
metadata: { name: api, namespace: default }
spec: { ports: [{ port: 80 }] }
---
# nothing here
---
apiVersion: v1
kind: Namespace
metadata: { name: extra }
-- deploy/api/a.yaml --
apiVersion: v1
kind: List
items:
  - { apiVersion: batch/v1, kind: CronJob, metadata: { name: nightly }, spec: { jobTemplate: { spec: { template: { spec: { containers: [{ name: x, image: "127.0.0.1:7423/shop/api:dev" }] } } } } } }
-- deploy/api/README.md --
not a manifest
`

func TestConformance(t *testing.T) {
	for using, archive := range map[string]string{runner.UsingKustomize: shop, runner.UsingManifests: plain} {
		t.Run(using, func(t *testing.T) {
			task := func(archive string) func() runner.Task {
				return func() runner.Task {
					return runner.Task{ID: "render/api@prod/prod-eu", Service: "api", Workspace: workspace(t, archive), Work: work(using)}
				}
			}
			runnertest.Conform(t, runnertest.Cases{Runner: render.New(blobs{}, render.Registries{}), Succeeds: task(archive), Fails: task("-- other/x.yaml --\n")})
		})
	}
}

func TestKustomize(t *testing.T) {
	dir := workspace(t, shop)
	out, err := render.Render(t.Context(), dir, "api", work(runner.UsingKustomize), render.Registries{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"replicas: 3", "image: " + image, "namespace: shop", "image: envoy:1.30", "name: settings-"} {
		if !strings.Contains(string(out.YAML), want) {
			t.Errorf("no %q in:\n%s", want, out.YAML)
		}
	}
	if n := strings.Count(string(out.YAML), image); n != 2 {
		t.Errorf("the digest is there %d times, want 2:\n%s", n, out.YAML)
	}
	if n := strings.Count(string(out.YAML), "namespace: shop"); n != 2 {
		t.Errorf("the namespace is there %d times, want in the two namespaced objects:\n%s", n, out.YAML)
	}
	if d := cmp.Diff([]string{"Deployment api, container proxy: envoy:1.30 is not pinned by digest: what it means may change"}, out.Warnings); d != "" {
		t.Error(d)
	}
	for range 5 {
		again, err := render.Render(t.Context(), dir, "api", work(runner.UsingKustomize), render.Registries{})
		if err != nil || string(again.YAML) != string(out.YAML) {
			t.Fatalf("rendered twice, got two things (%v)", err)
		}
	}
	t.Run("base where the environment has no overlay", func(t *testing.T) {
		w := work(runner.UsingKustomize)
		w.Environment = "dev"
		out, err := render.Render(t.Context(), dir, "api", w, render.Registries{})
		if err != nil {
			t.Fatal(err)
		}
		if out.From != "deploy/api/base" || !strings.Contains(string(out.YAML), "replicas: 1") {
			t.Errorf("from %s:\n%s", out.From, out.YAML)
		}
	})
}

func TestPlainManifests(t *testing.T) {
	out, err := render.Render(t.Context(), workspace(t, plain), "api", work(runner.UsingManifests), render.Registries{})
	if err != nil {
		t.Fatal(err)
	}
	want := `# Source: deploy/api/a.yaml
apiVersion: batch/v1
kind: CronJob
metadata:
  name: nightly
  namespace: shop
spec:
  jobTemplate:
    spec:
      template:
        spec:
          containers:
            - image: ` + image + `
              name: x
---
# Source: deploy/api/b.yaml
apiVersion: v1
kind: Service
metadata:
  name: api
  namespace: shop
spec:
  ports:
    - port: 80
---
# Source: deploy/api/b.yaml
apiVersion: v1
kind: Namespace
metadata:
  name: extra
`
	if d := cmp.Diff(want, string(out.YAML)); d != "" {
		t.Error(d)
	}
}

// TestEachDocumentSaysItsFile, which is nothing but a comment whatever the file is called.
func TestEachDocumentSaysItsFile(t *testing.T) {
	dir := workspace(t, "-- deploy/api/x --\n")
	if err := os.WriteFile(filepath.Join(dir, "deploy/api/a\nkind: B.yaml"), []byte("\n\napiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := work(runner.UsingManifests)
	w.Images = nil
	out, err := render.Render(t.Context(), dir, "api", w, render.Registries{})
	if want := "# Source: deploy/api/a?kind: B.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: shop\n"; err != nil || string(out.YAML) != want {
		t.Errorf("%v\n%s", err, out.YAML)
	}
	for using, want := range map[string]string{shop: "# Source: deploy/api/base/rbac.yaml\napiVersion: rbac", chart: "# Source: deploy/api/templates/deployment.yaml\napiVersion: apps/v1"} {
		w = work(runner.UsingKustomize)
		if using == chart {
			w = helmWork()
		}
		if out, err = render.Render(t.Context(), workspace(t, using), "api", w, render.Registries{}); err != nil || !strings.Contains(string(out.YAML), want) {
			t.Errorf("no %q: %v\n%s", want, err, out.YAML)
		}
	}
}

// TestNamespacesAndLists: a target has one namespace, whatever a manifest says, and a list
// is the objects in it.
func TestNamespacesAndLists(t *testing.T) {
	const text = `-- deploy/api/x.yaml --
apiVersion: v1
kind: List
items:
  - { apiVersion: v1, kind: Service, metadata: { name: api } }
  - { apiVersion: v1, kind: Service, metadata: { name: mine, namespace: shop } }
---
apiVersion: v1
kind: ConfigMapList
items:
  - { apiVersion: v1, kind: ConfigMap, metadata: { name: other, namespace: kube-system } }
---
{ apiVersion: v1, kind: List, items: null }
---
apiVersion: example.com/v1
kind: AllowList
metadata: { name: kept }
items: [a]
---
apiVersion: v1
kind: Pod
metadata: { name: p }
spec: { containers: [{ name: c, image: api }] }
`
	out, err := render.Render(t.Context(), workspace(t, text), "api", work(runner.UsingManifests), render.Registries{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Service api", "Service mine", "ConfigMap other", "AllowList kept", "Pod p"}, out.Objects); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if n := strings.Count(string(out.YAML), "namespace: shop"); n != 5 || strings.Contains(string(out.YAML), "kube-system") {
		t.Errorf("%d objects are in the target's namespace:\n%s", n, out.YAML)
	}
	want := []string{"deploy/api/x.yaml:7 items[0]: ConfigMap other is written for namespace kube-system, and goes to shop, which is the target's"}
	if diff := cmp.Diff(want, out.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestMistakes(t *testing.T) {
	object := "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: x }\n"
	for name, c := range map[string]struct {
		using, archive string
		want           []string
	}{
		"nothing there":    {runner.UsingKustomize, "-- x --\n", []string{"deploy/api does not exist in the repository", "deploy.path"}},
		"no kustomization": {runner.UsingKustomize, "-- deploy/api/x.yaml --\n" + object, []string{"holds no kustomization.yaml", "deploy/api/overlays/prod"}},
		"remote base": {runner.UsingKustomize, "-- deploy/api/kustomization.yaml --\nresources:\n  - https://example.com/base.yaml\n  - github.com/x/y?ref=v1\n",
			[]string{"deploy/api/kustomization.yaml:2:5: https://example.com/base.yaml is remote", "kustomization.yaml:3:5: "}},
		"looks like a host": {runner.UsingKustomize, "-- deploy/api/kustomization.yaml --\nresources: [github.com/x/y]\n", []string{"github.com/x/y does not exist"}},
		"outside":           {runner.UsingKustomize, "-- deploy/api/kustomization.yaml --\nresources: [../../../etc]\n", []string{"lies outside the repository"}},
		"remote in a base": {runner.UsingKustomize, "-- deploy/api/kustomization.yaml --\nresources: [../base]\n-- deploy/base/kustomization.yaml --\npatches: [{ path: 'http://x/y' }]\n",
			[]string{"deploy/base/kustomization.yaml:1:19: http://x/y is remote"}},
		"helm":              {runner.UsingKustomize, "-- deploy/api/kustomization.yaml --\nhelmCharts: [{ name: x }]\n", []string{"kustomization.yaml:1:1: helmCharts is not supported"}},
		"kustomize refuses": {runner.UsingKustomize, "-- deploy/api/kustomization.yaml --\nresources: [x.yaml]\n-- deploy/api/x.yaml --\na: [\n", []string{"deploy/api", "x.yaml"}},
		"list of no objects": {runner.UsingManifests, "-- deploy/api/x.yaml --\napiVersion: v1\nkind: List\nitems: [7, { kind: A }]\n",
			[]string{"deploy/api/x.yaml:1 items[0]: apiVersion is missing", "deploy/api/x.yaml:1 items[1]: apiVersion is missing"}},
		"empty list": {runner.UsingManifests, "-- deploy/api/x.yaml --\napiVersion: v1\nkind: List\n", []string{"no Kubernetes objects were rendered"}},
		"Slipway's own": {runner.UsingManifests, "-- deploy/api/x.yaml --\napiVersion: slipway.dev/v1\nkind: HelmRelease\nmetadata: { name: api }\n",
			[]string{"deploy/api/x.yaml:1: objects of kind HelmRelease of slipway.dev/v1 are Slipway's own"}},
		"misspelled field": {runner.UsingKustomize, "-- deploy/api/kustomization.yaml --\nresorces: [x.yaml]\n", []string{"resorces"}},
		"no images":        {runner.UsingManifests, "-- deploy/api/x.yaml --\napiVersion: v1\nkind: Pod\nmetadata: { name: p }\nspec: { containers: [{ name: c, image: shop/api }] }\n", []string{"no container uses the image of service api", "Pod p, container c: shop/api"}},
		"two mistakes": {runner.UsingManifests, "-- deploy/api/x.yaml --\n" + object + "---\nkind: A\n-- deploy/api/y.yaml --\na: b: c\n",
			[]string{"deploy/api/x.yaml:5: apiVersion is missing", "deploy/api/y.yaml:1"}},
		"twice":         {runner.UsingManifests, "-- deploy/api/x.yaml --\n" + object + "---\n" + object, []string{"deploy/api/x.yaml:5: ConfigMap x is already defined at deploy/api/x.yaml:1"}},
		"unknown using": {"jsonnet", shop, []string{"deploy.using: jsonnet is not supported"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := render.Render(t.Context(), workspace(t, c.archive), "api", work(c.using), render.Registries{})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in:\n%v", want, err)
				}
			}
		})
	}
}

func TestLinksStayInside(t *testing.T) {
	dir := workspace(t, "-- deploy/api/kustomization.yaml --\nresources: [secret.yaml]\n")
	outside := filepath.Join(t.TempDir(), "secret.yaml")
	if err := os.WriteFile(outside, []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: { name: stolen }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "deploy/api/secret.yaml")); err != nil {
		t.Fatal(err)
	}
	if out, err := render.Render(t.Context(), dir, "api", work(runner.UsingKustomize), render.Registries{}); err == nil {
		t.Errorf("a file outside the workspace was read:\n%s", out.YAML)
	}
	// A folder beyond, and a folder within the repository that nothing renders by itself.
	for target, want := range map[string]string{t.TempDir(): "base", "../shared": ""} {
		dir := workspace(t, "-- deploy/api/kustomization.yaml --\nresources: [base]\nimages: [{ name: x, newName: api }]\n-- deploy/shared/kustomization.yaml --\nresources: [p.yaml]\n"+
			"-- deploy/shared/p.yaml --\napiVersion: v1\nkind: Pod\nmetadata: { name: p }\nspec: { containers: [{ name: c, image: x }] }\n")
		if err := os.Symlink(target, filepath.Join(dir, "deploy/api/base")); err != nil {
			t.Fatal(err)
		}
		w := work(runner.UsingKustomize)
		w.Paths = []string{"deploy"}
		_, err := render.Render(t.Context(), dir, "api", w, render.Registries{})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("a link to %s: %v, want %q", target, err, want)
		}
	}
}

func TestStoreAway(t *testing.T) {
	task := runner.Task{Service: "api", Workspace: workspace(t, shop), Work: work(runner.UsingKustomize)}
	runnertest.Want(t, render.New(broken{}, render.Registries{}).Run(t.Context(), task, &runnertest.Recorder{}), runner.Errored, runner.ClassInfra)
}

// TestShop renders the example repository.
func TestShop(t *testing.T) {
	for _, service := range []string{"catalog", "cart", "orders", "reviews", "web"} {
		for _, env := range []string{"dev", "prod"} {
			w := work(runner.UsingKustomize)
			w.Path, w.Paths, w.Environment = "deploy/"+service, []string{"deploy/" + service}, env
			w.Images = map[string]string{service: strings.ReplaceAll(image, "shop/api", "shop/"+service)}
			out, err := render.Render(t.Context(), "../../../examples/shop", service, w, render.Registries{})
			if err != nil {
				t.Errorf("%s in %s: %v", service, env, err)
				continue
			}
			if len(out.Warnings) > 0 || out.From != "deploy/"+service+"/overlays/"+env {
				t.Errorf("%s in %s: from %s, warnings %q", service, env, out.From, out.Warnings)
			}
		}
	}
}
