package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/worker/config"
	"github.com/slipway-build/slipway/worker/room"
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
cache: { registry: "127.0.0.1:7423/cache" }
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
	if c.Cache == nil || c.Cache.Registry != "127.0.0.1:7423/cache" {
		t.Errorf("cache: %+v", c.Cache)
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
		"slots": {"coordinator: { address: \"a:1\", token_file: worker.yaml }\nslots: { build: many, render: -1 }\nstate: w\n", []string{"slots.build: want a whole number from 0 to 10000", "slots.render: want a whole number from 0 to 10000, got -1"}},
		"auto":  {"coordinator: { address: \"a:1\", token_file: worker.yaml }\nslots: automatic\nstate: w\n", []string{"slots: want auto, got"}},
		"pressure": {"coordinator: { address: \"a:1\", token_file: worker.yaml }\nbuildkit: b\npressure: { memory_percent: 100, disk_mib: -1 }\nstate: w\n",
			[]string{"pressure.memory_percent: 100 is not between 0 and 90", "pressure.disk_mib: -1 is not between 0"}},
		"cache":               {"coordinator: { address: \"a:1\", token_file: worker.yaml }\nbuildkit: b\ncache: { registry: \"https://r.example/cache\" }\nstate: w\n", []string{"cache.registry: \"https://r.example/cache\" is no place in a registry", "without https://"}},
		"cache without place": {"coordinator: { address: \"a:1\", token_file: worker.yaml }\nbuildkit: b\ncache: {}\nstate: w\n", []string{"cache", "registry"}},
		"cache with a tag":    {"coordinator: { address: \"a:1\", token_file: worker.yaml }\nbuildkit: b\ncache: { registry: \"r.example/Cache:x\" }\nstate: w\n", []string{"cache.registry: \"r.example/Cache:x\" is no place in a registry"}},
		"missing file":        {"coordinator: { address: \"a:1\", token_file: nothing }\nstate: w\n", []string{"coordinator.token_file", "no such file"}},
		"helpers":             {"coordinator: { address: \"a:1\", token_file: worker.yaml }\nregistry_auth: helpers.json\nstate: w\n", []string{"credsStore and credHelpers are not supported"}},
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

func TestSlotsAndPressure(t *testing.T) {
	size := room.Size{CPUs: 8, Memory: 16 << 30}
	for name, c := range map[string]struct {
		yaml     string
		slots    map[string]int
		pressure config.Pressure
	}{
		"nothing is said": {"", map[string]int{"build": 2, "render": 4}, config.DefaultPressure()},
		"numbers":         {"slots: { build: 3, render: 0 }\n", map[string]int{"build": 3}, config.DefaultPressure()},
		"auto":            {"slots: auto\n", map[string]int{"build": 4, "render": 16}, config.DefaultPressure()},
		"one of them":     {"slots: { build: auto, render: 1 }\npressure: { cpu_stall_percent: 90, memory_stall_percent: 0 }\n", map[string]int{"build": 4, "render": 1}, config.Pressure{Memory: 5, Disk: 5, DiskMiB: 2048, CPUStall: 90}},
	} {
		got, err := config.Load(write(t, map[string]string{"worker.yaml": "coordinator: { address: \"a:1\", token_file: token }\nbuildkit: b\nstate: w\n" + c.yaml, "token": "x"}))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.slots, got.Slots.For(size)); diff != "" {
			t.Errorf("%s: slots (-want +got):\n%s", name, diff)
		}
		if got.Pressure != c.pressure {
			t.Errorf("%s: pressure %+v, want %+v", name, got.Pressure, c.pressure)
		}
	}
}
