package cluster_test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/slipway-build/slipway/deploy/cluster"
)

func kubeconfig(t *testing.T, server string, change func(*clientcmdapi.Config)) string {
	t.Helper()
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["c"] = &clientcmdapi.Cluster{Server: server}
	cfg.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: "t"}
	cfg.Contexts["prod"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	cfg.CurrentContext = "prod"
	if change != nil {
		change(cfg)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*cfg, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRefused(t *testing.T) {
	tests := []struct {
		name, server, context string
		change                func(*clientcmdapi.Config)
		want                  string
	}{
		{"no such context", "https://127.0.0.1:1", "staging", nil, `has no context "staging"; it has prod`},
		{"exec plugin", "https://127.0.0.1:1", "", func(c *clientcmdapi.Config) {
			c.AuthInfos["u"].Exec = &clientcmdapi.ExecConfig{Command: "get-token", APIVersion: "client.authentication.k8s.io/v1"}
		}, `starts the program "get-token"`},
		{"plain http", "http://192.0.2.1:80", "", nil, "without verified TLS"},
		{"unverified", "https://192.0.2.1:80", "", func(c *clientcmdapi.Config) {
			c.Clusters["c"].InsecureSkipTLSVerify = true
		}, "without verified TLS"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := kubeconfig(t, test.server, test.change)
			_, err := cluster.Open(cluster.Spec{Name: "eu", Kubeconfig: path, Context: test.context})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestExecPluginAllowed(t *testing.T) {
	path := kubeconfig(t, "https://127.0.0.1:1", func(c *clientcmdapi.Config) {
		c.AuthInfos["u"].Exec = &clientcmdapi.ExecConfig{
			Command: "get-token", APIVersion: "client.authentication.k8s.io/v1", InteractiveMode: clientcmdapi.NeverExecInteractiveMode,
		}
	})
	if _, err := cluster.Open(cluster.Spec{Name: "eu", Kubeconfig: path, AllowExec: true}); err != nil {
		t.Error(err)
	}
}

func TestDeadClusters(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := gone.Addr().String()
	_ = gone.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel and never says a word
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })

	for name, test := range map[string]struct{ server, want string }{
		"refusing": {refusing, "connection refused"},
		"silent":   {silent.Addr().String(), "no answer in time"},
	} {
		t.Run(name, func(t *testing.T) {
			path := kubeconfig(t, "http://"+test.server, nil)
			c, err := cluster.Open(cluster.Spec{Name: "eu", Kubeconfig: path, Timeout: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Ping(t.Context())
			if !cluster.IsUnreachable(err) {
				t.Fatalf("got %v, want unreachable", err)
			}
			for _, part := range []string{`cluster "eu"`, test.server, "does not answer", test.want, `context "prod"`, path} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q lacks %q", err, part)
				}
			}
			t.Log(err)
		})
	}
}
