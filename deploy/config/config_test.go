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
