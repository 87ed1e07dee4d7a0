package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/worker/config"
)

func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "worker.yaml")
}

func TestLoad(t *testing.T) {
	c, err := config.Load(write(t, map[string]string{
		"worker.yaml": `
name: builder-1
coordinator: { address: "127.0.0.1:7420", token_file: token }
nats: { url: "nats://127.0.0.1:7422", user: worker, password_file: token }
buildkit: "unix:///run/buildkit/buildkitd.sock"
registry_auth: auth.json
slots: { build: 3 }
state: work
drain: 90s
`,
		"token":     "s3cret\n",
		"auth.json": `{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"127.0.0.1:7423":{"username":"u","password":"p"}}}`,
	}))
	if err != nil {
		t.Fatal(err)
	}
	if c.Coordinator.Token != "s3cret" || !filepath.IsAbs(c.NATS.PasswordFile) || c.Drain != 90*time.Second || c.Slots["build"] != 3 || !filepath.IsAbs(c.State) {
		t.Errorf("%+v", c)
	}
	for _, host := range []string{"registry-1.docker.io", "127.0.0.1:7423"} {
		if a := c.Auth[host]; a.User != "u" || a.Secret != "p" {
			t.Errorf("%s: %+v", host, a)
		}
	}
}

func TestMistakes(t *testing.T) {
	for name, c := range map[string]struct {
		yaml string
		want []string
	}{
		"unknown key": {"coordinatr: {}\nstate: w\n", []string{"worker.yaml:1:1", "coordinatr"}},
		"several": {"coordinator: { address: nowhere }\nslots: { deploy: 1, build: 1 }\nstate: w\nhttp: { address: x, token_file: worker.yaml }\n",
			[]string{"coordinator.address: \"nowhere\" is no host:port", "coordinator.token_file", "slots.deploy", "buildkit: builds and tests need BuildKit", "http.address: \"x\""}},
		"missing file": {"coordinator: { address: \"a:1\", token_file: nothing }\nstate: w\n", []string{"coordinator.token_file", "no such file"}},
		"helpers":      {"coordinator: { address: \"a:1\", token_file: worker.yaml }\nregistry_auth: helpers.json\nstate: w\n", []string{"credsStore and credHelpers are not supported"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Load(write(t, map[string]string{"worker.yaml": c.yaml, "helpers.json": `{"credsStore":"desktop"}`}))
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("no %q in:\n%v", w, err)
				}
			}
		})
	}
}
