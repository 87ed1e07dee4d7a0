package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/daemon"
	"github.com/slipway-build/slipway/internal/rpc"
	"github.com/slipway-build/slipway/internal/telemetry"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func TestExitCodes(t *testing.T) {
	ran := ""
	p := daemon.Program[string]{
		Name: "slipway-x", File: "x.yaml", Version: "1.2.3",
		Load: func(path string) (string, error) {
			if path == "bad.yaml" {
				return "", errors.New("bad.yaml:1:1: unknown key")
			}
			return path, nil
		},
		LogFormat: func(string) string { return "text" },
		Run: func(_ context.Context, c string, _ *slog.Logger) error {
			ran = c
			if c == "failing.yaml" {
				return errors.New("no route")
			}
			return nil
		},
	}
	for name, c := range map[string]struct {
		args           []string
		code           int
		ran            string
		stdout, stderr string
	}{
		"default file":      {nil, 0, "x.yaml", "", ""},
		"named file":        {[]string{"--config", "y.yaml"}, 0, "y.yaml", "", ""},
		"version":           {[]string{"--version"}, 0, "", "1.2.3\n", ""},
		"help":              {[]string{"--help"}, 0, "", "", "docs/configuration.md"},
		"unknown flag":      {[]string{"--confg", "y.yaml"}, 2, "", "", "-confg"},
		"argument":          {[]string{"y.yaml"}, 2, "", "", `slipway-x: "y.yaml" is not understood`},
		"bad configuration": {[]string{"--config", "bad.yaml"}, 2, "", "", "slipway-x: bad.yaml:1:1: unknown key"},
		"failure":           {[]string{"--config", "failing.yaml"}, 1, "failing.yaml", "", "no route"},
	} {
		ran = ""
		var stdout, stderr bytes.Buffer
		code := daemon.Main(p, c.args, &stdout, &stderr)
		if code != c.code || ran != c.ran || stdout.String() != c.stdout || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("%s: exit code %d, ran %q, printed %q and %q", name, code, ran, stdout.String(), stderr.String())
		}
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("token", "abc\n")
	write("large", strings.Repeat("x", 2<<20))
	f := daemon.FilesOf(filepath.Join(dir, "worker.yaml"))
	if got := f.Secret("token_file", "token"); got != "abc" {
		t.Errorf("the token is %q", got)
	}
	if got := f.Read("ca_file", ""); got != nil {
		t.Errorf("no name gave %q", got)
	}
	if err := f.Err(); err != nil {
		t.Errorf("mistakes: %v", err)
	}
	f.Read("ca_file", "none")
	f.Read("registry_auth", "large")
	for _, want := range []string{"ca_file: ", "registry_auth: large has more than"} {
		if err := f.Err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

func TestMetricsNeedAToken(t *testing.T) {
	secrets := map[pb.Role]string{pb.Role_ROLE_VIEW: rpc.NewToken(), pb.Role_ROLE_WORKER: rpc.NewToken()}
	tokens, err := rpc.NewTokens([]rpc.Token{
		{Name: "viewer", Role: pb.Role_ROLE_VIEW, Hash: rpc.HashToken(secrets[pb.Role_ROLE_VIEW])},
		{Name: "worker", Role: pb.Role_ROLE_WORKER, Hash: rpc.HashToken(secrets[pb.Role_ROLE_WORKER])},
	})
	if err != nil {
		t.Fatal(err)
	}
	address := free(t)
	stop, err := daemon.Serve(t.Context(), address, nil, daemon.Routes(telemetry.NewRegistry("slipway-x", "1"), tokens), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	for _, c := range []struct {
		path, token string
		code        int
		body        string
	}{
		{"/healthz", "", 200, "ok"},
		{"/metrics", "", 401, "a token is needed"},
		{"/metrics", "slipway_guess", 401, "a token is needed"},
		{"/metrics", secrets[pb.Role_ROLE_WORKER], 403, `token "worker" has the role worker; this needs view`},
		{"/metrics", secrets[pb.Role_ROLE_VIEW], 200, "slipway_build_info"},
	} {
		code, body := get(t, "http://"+address+c.path, c.token)
		if code != c.code || !strings.Contains(body, c.body) {
			t.Errorf("%s with %q: %d %.200q, want %d %q", c.path, c.token, code, body, c.code, c.body)
		}
	}
}

func TestPlainHTTPStaysOnLoopback(t *testing.T) {
	h := &daemon.HTTP{Address: "0.0.0.0:0", Token: "x"}
	_, err := h.Serve(t.Context(), telemetry.NewRegistry("slipway-x", "1"), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "needs TLS") {
		t.Errorf("error %v, want one that asks for TLS", err)
	}
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func get(t *testing.T, url, token string) (code int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}
