package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/deploy/config"
)

func load(t *testing.T, text string) (config.Config, string, error) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "deployer.yaml")
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	return c, dir, err
}

func TestLoad(t *testing.T) {
	c, dir, err := load(t, `
name: middle
coordinator: { address: "127.0.0.1:7420", token_file: token }
clusters:
  prod-eu: { kubeconfig: eu.kubeconfig, context: admin, timeout: 5s, allow: { kinds: [ClusterRole.rbac.authorization.k8s.io] } }
  dev: { kubeconfig: /etc/dev }
`)
	if err != nil {
		t.Fatal(err)
	}
	eu := c.Clusters["prod-eu"]
	if c.Coordinator.Token != "secret" || eu.Kubeconfig != filepath.Join(dir, "eu.kubeconfig") ||
		c.Clusters["dev"].Kubeconfig != "/etc/dev" || eu.Timeout != 5*time.Second || c.Slots == 0 || len(eu.Allow.Kinds) != 1 {
		t.Errorf("got %+v", c)
	}
}

func TestMistakes(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"all at once", "coordinator: { addr: x, token_file: t }\nclusters: { a: { context: b } }\nslot: 3\n",
			[]string{"deployer.yaml:1:", "address", "kubeconfig", "slot"}},
		{"what no syntax shows", "coordinator: { address: x, token_file: token }\nclusters: { Prod.EU: { kubeconfig: k } }\nslots: -1\n",
			[]string{`coordinator.address: "x" is no host:port`, "clusters.Prod.EU: expected a name", "slots: -1"}},
		{"no clusters", "coordinator: { address: \"a:1\", token_file: token }\nclusters: {}\n", []string{"clusters: name at least one"}},
		{"no token", "coordinator: { address: \"a:1\", token_file: gone }\nclusters: {}\n", []string{"coordinator.token_file: open"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := load(t, test.text)
			if err == nil {
				t.Fatal("accepted")
			}
			t.Log(err)
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q lacks %q", err, part)
				}
			}
		})
	}
}

// TestMetrics: a cluster's own provider is in place of that of all clusters, and the others stay.
func TestMetrics(t *testing.T) {
	c, _, err := load(t, `
coordinator: { address: "127.0.0.1:7420", token_file: token }
metrics:
  prometheus: { address: "https://prometheus.internal:9090/base", token_file: token }
  datadog: { address: "https://api.datadoghq.eu", api_key_file: token, app_key_file: token }
  json: { address: "http://slo.internal" }
clusters:
  prod-eu: { kubeconfig: k, metrics: { prometheus: { address: "http://prometheus.eu:9090" } } }
  prod-us: { kubeconfig: k }
`)
	if err != nil {
		t.Fatal(err)
	}
	eu, us := c.MetricsOf("prod-eu"), c.MetricsOf("prod-us")
	if eu.Prometheus.Address != "http://prometheus.eu:9090" || eu.Prometheus.Token != "" || eu.Datadog.AppKey != "secret" || eu.JSON.Address != "http://slo.internal" {
		t.Errorf("of prod-eu: %+v %+v %+v", eu.Prometheus, eu.Datadog, eu.JSON)
	}
	if us.Prometheus.Token != "secret" || us.Datadog.APIKey != "secret" {
		t.Errorf("of prod-us: %+v %+v", us.Prometheus, us.Datadog)
	}
}

func TestMistakesInMetrics(t *testing.T) {
	const begin = "coordinator: { address: \"a:1\", token_file: token }\n"
	for text, want := range map[string]string{
		"metrics: { prometeus: { address: a } }\nclusters: { a: { kubeconfig: k } }":                                                            `did you mean "prometheus"`,
		"metrics: { prometheus: { token_file: token } }\nclusters: { a: { kubeconfig: k } }":                                                    `"address"`,
		"metrics: { datadog: { address: \"https://a\", api_key_file: token } }\nclusters: { a: { kubeconfig: k } }":                             `"app_key_file"`,
		"metrics: { datadog: { address: \"http://a\", api_key_file: token, app_key_file: token } }\nclusters: { a: { kubeconfig: k } }":         "metrics.datadog.address: \"http://a\": a credential is sent there, which needs https",
		"clusters: { a: { kubeconfig: k, metrics: { prometheus: { address: \"prometheus:9090\", token_file: token } } } }":                      "clusters.a.metrics.prometheus.address: \"prometheus:9090\", want https://host:port",
		"clusters: { a: { kubeconfig: k, metrics: { json: { address: \"https://u:p@a\" } } } }":                                                 "want nothing but scheme, host and path",
		"clusters: { a: { kubeconfig: k, metrics: { json: { address: \"https://a\", ca_file: gone } } } }":                                      "clusters.a.metrics.json.ca_file: open",
		"clusters: { a: { kubeconfig: k, metrics: { prometheus: { address: \"http://localhost:9090\", token_file: token, tokens: token } } } }": "tokens",
	} {
		_, _, err := load(t, begin+text+"\n")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\nsays %v, want %s", text, err, want)
		}
	}
}
