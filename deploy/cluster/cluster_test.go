package cluster_test

import (
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
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

func TestExecPluginIsMissing(t *testing.T) {
	path := kubeconfig(t, "https://127.0.0.1:1", func(c *clientcmdapi.Config) {
		c.AuthInfos["u"].Exec = &clientcmdapi.ExecConfig{
			Command: "get-token", APIVersion: "client.authentication.k8s.io/v1", InteractiveMode: clientcmdapi.NeverExecInteractiveMode,
			InstallHint: "see\nexample.com",
		}
	})
	_, err := cluster.Open(cluster.Spec{Name: "eu", Kubeconfig: path, AllowExec: true})
	if err == nil || !strings.Contains(err.Error(), `with the program "get-token", which is not on the deployer's PATH; install it where the deployer runs (see example.com)`) {
		t.Errorf("a program that is not there: %v", err)
	}
}

// TestExecPlugin: the program's token reaches the API server, and what it says when it
// fails reaches people.
func TestExecPlugin(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer from-the-program" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte(`{"gitVersion": "v1.2.3"}`))
	}))
	t.Cleanup(server.Close)
	ping := func(script string) (string, error) {
		program := filepath.Join(t.TempDir(), "get-token")
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script), 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
		path := kubeconfig(t, server.URL, func(c *clientcmdapi.Config) {
			c.Clusters["c"].CertificateAuthorityData = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
			c.AuthInfos["u"] = &clientcmdapi.AuthInfo{Exec: &clientcmdapi.ExecConfig{
				Command: program, APIVersion: "client.authentication.k8s.io/v1", InteractiveMode: clientcmdapi.NeverExecInteractiveMode,
			}}
		})
		c, err := cluster.Open(cluster.Spec{Name: "eu", Kubeconfig: path, AllowExec: true})
		if err != nil {
			t.Fatal(err)
		}
		return c.Ping(t.Context())
	}
	version, err := ping(`echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"from-the-program"}}'`)
	if err != nil || version != "v1.2.3" {
		t.Errorf("%q, %v", version, err)
	}
	_, err = ping("exit 3")
	var farm *cluster.Error
	if !errors.As(err, &farm) || farm.Kind != cluster.NoLogin || !strings.Contains(err.Error(), "for want of credentials") || !strings.Contains(err.Error(), "exit code 3") {
		t.Errorf("a program that fails: %v", err)
	}
	_, err = ping(`echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"wrong"}}'`)
	if !errors.As(err, &farm) || farm.Kind != cluster.Denied {
		t.Errorf("a token that the server does not know: %v", err)
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
