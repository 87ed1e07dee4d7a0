// Package charts_test renders the chart as Slipway itself renders charts, reads the
// configurations in it with the programs' own readers, and asks a real API server about
// every object.
package charts_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	coordinatorconfig "github.com/slipway-build/slipway/coordinator/config"
	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/cluster"
	deployerconfig "github.com/slipway-build/slipway/deploy/config"
	"github.com/slipway-build/slipway/deploy/manifest"
	"github.com/slipway-build/slipway/internal/kubetest"
	"github.com/slipway-build/slipway/internal/queue"
	workerconfig "github.com/slipway-build/slipway/worker/config"
	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/render"
)

var update = flag.Bool("update", false, "write testdata again")

func TestMain(m *testing.M) { os.Exit(kubetest.Main(m)) }

const least = `
tls: { secret: slipway-tls }
programTokens: { secret: slipway-tokens }
nats: { secret: slipway-nats }
redis: { secret: slipway-redis }
tokens:
  - { name: anna, role: administer, hash: "sha256:0000000000000000000000000000000000000000000000000000000000000000" }
  - { name: programs, role: worker, hash: "sha256:1111111111111111111111111111111111111111111111111111111111111111" }
`

const all = `
imagePullSecrets: [ { name: pull } ]
coordinator:
  serviceAccount: slipway
  registry: registry.example.com/shop
  registryAuth: registry
  targets: "version: 1\nproject: shop\n"
  storage: { class: fast }
  publicURL: https://slipway.example.com
  journal: { snapshot_records: 5000 }
  logs: { max_gib: 20, archive_after: 5m }
  retention: { runs: 168h, runs_per_project: 200 }
  webhookSecret: webhooks
  webhooks:
    - { name: shop, kind: gitea, repositories: [ https://git.example.com/example/shop.git ], forks: true, check: { api: https://git.example.com/api/v1 } }
    - { name: site, kind: github, repositories: [ https://github.com/example/site.git ], poll: 5m, check: {} }
    - { name: docs, kind: bitbucket, repositories: [ https://bitbucket.org/example/docs.git ] }
worker: { registryAuth: registry, cache: { registry: registry.example.com/cache }, buildkit: { rootless: false } }
nats: { bundled: false, url: "tls://nats.example.com:4222" }
redis: { bundled: false, address: "redis.example.com:6379" }
deployer: { enabled: false }
telemetry: { otlp: "jaeger:4317", log: text }
`

const measured = `
deployer:
  metricsSecret: metrics
  metrics:
    prometheus: { address: "https://prometheus.monitoring:9090", token_file: /etc/slipway/metrics/token }
    datadog: { address: "https://api.datadoghq.eu", api_key_file: /etc/slipway/metrics/api, app_key_file: /etc/slipway/metrics/app }
`

func rendered(t *testing.T, namespace string, values ...string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "chart"), os.DirFS("slipway")); err != nil {
		t.Fatal(err)
	}
	work := runner.Render{Path: "chart", Paths: []string{"chart"}, Using: runner.UsingHelm, Namespace: namespace, Environment: "prod", Cluster: "here"}
	for i, v := range values {
		name := string(rune('a'+i)) + ".yaml"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(v), 0o600); err != nil {
			t.Fatal(err)
		}
		work.Values = append(work.Values, name)
	}
	out, err := render.Render(t.Context(), dir, "slipway", work, render.Registries{})
	for _, w := range out.Warnings {
		if !strings.Contains(w, "not pinned by digest") {
			t.Error(w)
		}
	}
	return string(out.YAML), err
}

func TestGolden(t *testing.T) {
	for name, values := range map[string][]string{"least": {least}, "all": {least, all}, "measured": {least, measured}} {
		text, err := rendered(t, "slipway", values...)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name+".yaml")
		if *update {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), text); d != "" {
			t.Errorf("%s (-want +got; -update writes it):\n%s", name, d)
		}
	}
}

// TestTheAPIServerTakesIt: every object is valid in the strictest reading.
func TestTheAPIServerTakesIt(t *testing.T) {
	c, err := cluster.Open(cluster.Spec{Name: "test", Kubeconfig: kubetest.Kubeconfig(t), QPS: 200, Burst: 200, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range map[string][]string{"least": {least}, "all": {least, all}, "measured": {least, measured}} {
		namespace := kubetest.NewNamespace(t)
		text, err := rendered(t, namespace, values...)
		if err != nil {
			t.Fatal(err)
		}
		out, err := apply.DryRun(t.Context(), c, apply.Request{
			Target:    apply.Target{Project: "p", Service: "slipway", Environment: "prod", Namespace: namespace},
			Manifests: []byte(text), Stamp: apply.Stamp{Fence: apply.Fence{Epoch: 1, Counter: 1}, Release: "r"},
			Policy: manifest.Policy{HostAccess: true, ClusterKinds: []schema.GroupKind{{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range out.Refused {
			t.Errorf("%s: %s", name, r)
		}
		if len(out.Changes) < 5 {
			t.Errorf("%s: %d objects", name, len(out.Changes))
		}
	}
}

// TestTheProgramsReadTheirConfigurations that are in the chart.
func TestTheProgramsReadTheirConfigurations(t *testing.T) {
	for name, values := range map[string][]string{"least": {least}, "all": {least, all}, "measured": {least, measured}} {
		text, err := rendered(t, "slipway", values...)
		if err != nil {
			t.Fatal(err)
		}
		// What a pod would find at the places that the configurations name.
		root := t.TempDir()
		for _, f := range []string{"tls/tls.crt", "tls/ca.crt", "tls/tls.key", "nats/coordinator", "nats/worker", "redis/password", "token/worker", "token/deployer", "ca/ca.crt", "registry/.dockerconfigjson", "webhooks/shop", "webhooks/shop-token", "webhooks/site", "webhooks/site-token", "webhooks/docs", "metrics/token", "metrics/api", "metrics/app"} {
			path := filepath.Join(root, f)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			content := "sixteen-or-longer"
			if strings.HasSuffix(f, "json") {
				content = `{"auths":{}}`
			}
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		read := 0
		for file, content := range files(t, text) {
			path := filepath.Join(root, file)
			if err := os.WriteFile(path, []byte(strings.ReplaceAll(content, "/etc/slipway/", root+"/")), 0o600); err != nil {
				t.Fatal(err)
			}
			var err error
			switch file {
			case "coordinator.yaml":
				_, err = coordinatorconfig.Load(path)
			case "worker.yaml":
				_, err = workerconfig.Load(path)
			case "deployer.yaml":
				_, err = deployerconfig.Load(path)
			case "nats.conf":
				for _, subject := range queue.WorkerMayPublish() {
					if !strings.Contains(content, `"`+subject+`"`) {
						t.Errorf("a worker may not publish %s", subject)
					}
				}
			default:
				continue
			}
			read++
			if err != nil {
				t.Errorf("%s: %s: %v\n%s", name, file, err, content)
			}
		}
		if want := map[string]int{"least": 4, "all": 2, "measured": 4}[name]; read != want {
			t.Errorf("%s: %d configurations, want %d", name, read, want)
		}
	}
}

// TestTheGuide shows values that the chart takes.
func TestTheGuide(t *testing.T) {
	guide, err := os.ReadFile("../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```yaml\n# values.yaml\n(.*?)```").FindSubmatch(guide)
	if found == nil {
		t.Fatal("docs/install.md shows no values")
	}
	values := strings.ReplaceAll(string(found[1]), "sha256:…", "sha256:"+strings.Repeat("0", 64))
	text, err := rendered(t, "slipway", values)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, "image: registry.example.com/slipway:0.1.0") || files(t, text)["targets.yaml"] == "" || !strings.Contains(files(t, text)["coordinator.yaml"], "/etc/slipway/webhooks/shop-token") {
		t.Errorf("the guide's values are not in the objects:\n%s", text)
	}
}

// TestTargetsOfSeveralProjects: each has its file, in the folder that the coordinator is told.
func TestTargetsOfSeveralProjects(t *testing.T) {
	text, err := rendered(t, "slipway", least, "coordinator: { projects: { shop: \"project: shop\", blog: \"project: blog\" } }\n")
	if err != nil {
		t.Fatal(err)
	}
	got := files(t, text)
	if got["shop.yaml"] != "project: shop\n" || got["blog.yaml"] != "project: blog\n" || !strings.Contains(got["coordinator.yaml"], "targets: /etc/slipway/targets\n") || strings.Count(text, "name: targets\n") != 2 {
		t.Errorf("rendered:\n%s", text)
	}
	_, err = rendered(t, "slipway", least, "coordinator: { targets: \"project: shop\", projects: { blog: \"project: blog\" } }\n")
	if err == nil || !strings.Contains(err.Error(), "coordinator.projects") {
		t.Errorf("with both: %v", err)
	}
}

// files are those of all ConfigMaps.
func files(t *testing.T, text string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for doc := range strings.SplitSeq(text, "\n---\n") {
		var o struct {
			Kind string            `json:"kind"`
			Data map[string]string `json:"data"`
		}
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatal(err)
		}
		for file, content := range o.Data {
			out[file] = content
		}
	}
	return out
}

func TestMistakesInValues(t *testing.T) {
	for _, test := range []struct{ name, values, want string }{
		{"no secrets", "tokens: []", "/tls/secret"},
		{"no url", least + "---\nnats: { bundled: false }\n", "/nats/url"},
		{"a token in clear", strings.Replace(least, "sha256:0000000000000000000000000000000000000000000000000000000000000000", "secret", 1), "/tokens/0/hash"},
		{"unknown key", least + "wroker: {}\n", "wroker"},
	} {
		_, err := rendered(t, "slipway", test.values)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want one about %s", test.name, err, test.want)
		}
	}
}
