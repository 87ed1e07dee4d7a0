// Package config reads worker.yaml: where a worker finds its coordinator, queue,
// BuildKit and registry, and how much it does at once.
//
// Secrets are not in the file: it names files that hold them, which Load reads as
// well. The package opens no connection.
package config

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/strictyaml"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
)

// The capabilities that a worker can have.
const (
	CapabilityBuild  = "build" // builds and tests: needs BuildKit
	CapabilityRender = "render"
)

// Config of a worker. Fields without a tag are read from the files that others name,
// or set by a program that makes a worker itself.
type Config struct {
	// Name for people, stable over restarts. Default: the machine's host name.
	Name        string      `yaml:"name"`
	Coordinator Coordinator `yaml:"coordinator,required"`
	// NATS is where hints of ready tasks come from. Without it the coordinator offers
	// tasks on its own connection.
	NATS     *NATS    `yaml:"nats"`
	BuildKit BuildKit `yaml:"buildkit"`
	Registry Registry `yaml:"registry"`
	// Slots are how many tasks are carried out at once, by capability.
	Slots map[string]int `yaml:"slots"`
	// WorkDir keeps sources; one process at a time.
	WorkDir string `yaml:"work_dir,required"`
	// Keep is how many MiB of sources that nobody uses are kept.
	Keep int `yaml:"keep_mib"`
	// Metrics is the address of /metrics and /healthz; empty: none.
	Metrics string `yaml:"metrics"`
	// Drain is how long running tasks may go on after SIGTERM.
	Drain   time.Duration `yaml:"drain"`
	Tracing Tracing       `yaml:"tracing"`
	Log     Log           `yaml:"log"`
}

// Coordinator is where the worker's session goes.
type Coordinator struct {
	Address   string `yaml:"address,required"` // host:port
	TokenFile string `yaml:"token_file"`
	CAFile    string `yaml:"ca_file"` // of its certificate, where it is not the system's

	Token string
	CA    []byte
}

// NATS is the queue's server.
type NATS struct {
	URL             string `yaml:"url,required"`
	User            string `yaml:"user"`
	PasswordFile    string `yaml:"password_file"`
	CredentialsFile string `yaml:"credentials_file"`
	CAFile          string `yaml:"ca_file"`
	// InboxPrefix is where this user may receive answers.
	InboxPrefix string `yaml:"inbox_prefix"`

	Password string
}

// BuildKit is the daemon.
type BuildKit struct {
	Address string `yaml:"address"`
}

// Registry is where images are pushed to.
type Registry struct {
	// AuthFile has the form of docker's config.json, with `auths` alone.
	AuthFile string `yaml:"auth_file"`
	// Insecure are hosts that are spoken to without TLS; loopback always is.
	Insecure []string `yaml:"insecure"`

	Auth map[string]buildkit.Credentials
}

// Tracing is where spans go.
type Tracing struct {
	Endpoint string `yaml:"endpoint"`
}

// Log is how the worker logs.
type Log struct {
	Format string `yaml:"format"`
	Level  string `yaml:"level"`
}

// Load reads the file, the files that it names (relative to it), and the defaults.
// It answers every mistake at once.
func Load(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	var c Config
	if problems := strictyaml.Decode(path, data, strictyaml.DefaultLimits(), &c); len(problems) > 0 {
		return Config{}, problems
	}
	if err := c.files(filepath.Dir(path)); err != nil {
		return Config{}, err
	}
	return c.Complete()
}

// files reads what the file names.
func (c *Config) files(dir string) error {
	var problems []error
	read := func(key, name string, limit int) []byte {
		if name == "" {
			return nil
		}
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		data, err := os.ReadFile(name)
		switch {
		case err != nil:
			problems = append(problems, fmt.Errorf("%s: %w", key, err))
		case len(data) > limit:
			problems = append(problems, fmt.Errorf("%s: %s has more than %d bytes", key, name, limit))
		}
		return data
	}
	secret := func(key, name string) string { return strings.TrimSpace(string(read(key, name, 64<<10))) }
	c.Coordinator.Token = secret("coordinator.token_file", c.Coordinator.TokenFile)
	c.Coordinator.CA = read("coordinator.ca_file", c.Coordinator.CAFile, 1<<20)
	if c.NATS != nil {
		c.NATS.Password = secret("nats.password_file", c.NATS.PasswordFile)
		for _, name := range []*string{&c.NATS.CredentialsFile, &c.NATS.CAFile} {
			if *name != "" && !filepath.IsAbs(*name) {
				*name = filepath.Join(dir, *name)
			}
		}
	}
	if data := read("registry.auth_file", c.Registry.AuthFile, 1<<20); data != nil {
		auth, err := buildkit.ParseAuth(data)
		if err != nil {
			problems = append(problems, fmt.Errorf("registry.auth_file: %w", err))
		}
		c.Registry.Auth = auth
	}
	if c.WorkDir != "" && !filepath.IsAbs(c.WorkDir) {
		c.WorkDir = filepath.Join(dir, c.WorkDir)
	}
	return errors.Join(problems...)
}

// Complete fills in defaults and checks what is there. A program that makes a worker
// itself calls it instead of Load.
func (c Config) Complete() (Config, error) {
	if c.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return c, fmt.Errorf("name: %w; set it in the configuration", err)
		}
		c.Name = host
	}
	if len(c.Slots) == 0 {
		c.Slots = map[string]int{CapabilityBuild: 2, CapabilityRender: 4}
	}
	if c.Drain == 0 {
		c.Drain = time.Minute
	}
	if c.Keep == 0 {
		c.Keep = 2048
	}
	return c, c.validate()
}

func (c Config) validate() error {
	var problems []error
	bad := func(format string, a ...any) { problems = append(problems, fmt.Errorf(format, a...)) }
	if _, _, err := net.SplitHostPort(c.Coordinator.Address); err != nil {
		bad("coordinator.address: %q is no host:port, e.g. 127.0.0.1:7420", c.Coordinator.Address)
	}
	if c.Coordinator.Token == "" {
		bad("coordinator.token_file: the worker needs a token; name the file that holds it")
	}
	for name, n := range c.Slots {
		if !slices.Contains([]string{CapabilityBuild, CapabilityRender}, name) {
			bad("slots.%s: a worker has no such capability; expected build or render", name)
		}
		if n < 0 || n > 10_000 {
			bad("slots.%s: %d is not between 0 and 10000", name, n)
		}
	}
	if c.Slots[CapabilityBuild] > 0 && c.BuildKit.Address == "" {
		bad("buildkit.address: builds and tests need BuildKit; name its address, e.g. unix:///run/buildkit/buildkitd.sock, or set slots: { build: 0 }")
	}
	if c.WorkDir == "" {
		bad("work_dir: name a folder for sources")
	}
	if c.Metrics != "" {
		if _, _, err := net.SplitHostPort(c.Metrics); err != nil {
			bad("metrics: %q is no host:port, e.g. 127.0.0.1:9464", c.Metrics)
		}
	}
	return errors.Join(problems...)
}
