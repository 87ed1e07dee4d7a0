// Package config reads worker.yaml: where a worker finds its coordinator, queue,
// BuildKit and registry, and how much it does at once.
//
// Secrets are not in the file: it names files that hold them, which Load reads as
// well. The package opens no connection.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/daemon"
	"github.com/slipway-build/slipway/internal/queue"
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
	// Name for people, stable over restarts; default: the host's name.
	Name        string      `yaml:"name"`
	Coordinator Coordinator `yaml:"coordinator,required"`
	// NATS is where hints of ready tasks come from. Without it the coordinator offers
	// tasks on its own connection.
	NATS *queue.Address `yaml:"nats"`
	// BuildKit is the daemon's address: unix:///run/buildkit/buildkitd.sock, tcp://host:port.
	BuildKit string `yaml:"buildkit"`
	// Disk is the one that BuildKit writes to, where the worker sees it; nil: it is not watched.
	Disk *Disk `yaml:"disk"`
	// RegistryAuth is a docker config file with `auths` alone: what images are pulled and pushed with.
	RegistryAuth string `yaml:"registry_auth"`
	// Cache is where workers share the steps of what they built; nil: nowhere.
	Cache *Cache `yaml:"cache"`
	// InsecureRegistries are hosts that are spoken to without TLS; loopback always is.
	InsecureRegistries []string `yaml:"insecure_registries"`
	// Compression of the layers that builds make: zstd, or gzip for nodes that do not know it
	// (containerd before 1.5, Docker before 23). Workers of one farm have the same.
	Compression string `yaml:"compression"`
	// Slots are how many tasks are carried out at once, by capability: build, render.
	Slots Slots `yaml:"slots"`
	// Pressure is when the machine is given no new task.
	Pressure Pressure `yaml:"pressure"`
	// State is a folder for sources; one process at a time.
	State string `yaml:"state,required"`
	// Keep is how many MiB of sources that nobody uses are kept.
	Keep int `yaml:"keep_mib"`
	// HTTP is where /metrics and /healthz are answered; nil: nowhere.
	HTTP *daemon.HTTP `yaml:"http"`
	// Drain is how long running tasks may go on after SIGTERM.
	Drain     time.Duration `yaml:"drain"`
	Telemetry Telemetry     `yaml:"telemetry"`

	Version string // of the program
	Auth    map[string]buildkit.Credentials
}

// Disk is what builds may fill.
type Disk struct {
	Path    string `yaml:"path,required"` // a folder on it: BuildKit's root
	Reserve int    `yaml:"reserve_mib"`   // what they leave free; default 1024
}

// Cache is where workers share the steps of what they built.
type Cache struct {
	Registry string `yaml:"registry,required"` // <host>[:<port>][/<path>], below which each service has a repository
}

// Coordinator is where the worker's session goes.
type Coordinator struct {
	Address   string `yaml:"address,required"` // host:port, several with commas between them
	TokenFile string `yaml:"token_file"`
	CAFile    string `yaml:"ca_file"` // of its certificate, where it is not the system's

	Token string
	CA    []byte
}

// Telemetry says where traces and logs go.
type Telemetry struct {
	OTLP string `yaml:"otlp"` // host:port of a gRPC receiver; empty: off
	Log  string `yaml:"log"`  // text (default) or json
}

// Load reads the file, the files that it names (relative to it), and the defaults.
// It answers every mistake at once.
func Load(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	c := Config{Pressure: DefaultPressure()}
	if problems := strictyaml.Decode(path, data, strictyaml.DefaultLimits(), &c); len(problems) > 0 {
		return Config{}, problems
	}
	if err := c.files(daemon.FilesOf(path)); err != nil {
		return Config{}, err
	}
	return c.Complete()
}

// files reads what the file names.
func (c *Config) files(f *daemon.Files) error {
	c.Coordinator.Token = f.Secret("coordinator.token_file", c.Coordinator.TokenFile)
	c.Coordinator.CA = f.Read("coordinator.ca_file", c.Coordinator.CAFile)
	c.HTTP.Read(f)
	if data := f.Read("registry_auth", c.RegistryAuth); data != nil {
		auth, err := buildkit.ParseAuth(data)
		if err != nil {
			f.Problem(fmt.Errorf("registry_auth: %w", err))
		}
		c.Auth = auth
	}
	c.State = f.Path(c.State)
	if c.Disk != nil {
		c.Disk.Path = f.Path(c.Disk.Path)
	}
	if c.NATS != nil {
		c.NATS.PasswordFile, c.NATS.CredentialsFile = f.Path(c.NATS.PasswordFile), f.Path(c.NATS.CredentialsFile)
	}
	return f.Err()
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
		c.Slots = Slots{CapabilityBuild: 2, CapabilityRender: 4}
	}
	c.Compression = cmp.Or(c.Compression, buildkit.CompressionZstd)
	if c.Drain == 0 {
		c.Drain = time.Minute
	}
	if c.Keep == 0 {
		c.Keep = 2048
	}
	if c.Disk != nil && c.Disk.Reserve == 0 {
		c.Disk = &Disk{Path: c.Disk.Path, Reserve: 1024}
	}
	return c, c.validate()
}

func (c Config) validate() error {
	var problems []error
	bad := func(format string, a ...any) { problems = append(problems, fmt.Errorf(format, a...)) }
	for _, a := range strings.Split(c.Coordinator.Address, ",") {
		if _, _, err := net.SplitHostPort(a); err != nil {
			bad("coordinator.address: %q is no host:port, e.g. 127.0.0.1:7420", a)
		}
	}
	if c.Coordinator.Token == "" {
		bad("coordinator.token_file: the worker needs a token; name the file that holds it")
	}
	for name, n := range c.Slots {
		if !slices.Contains([]string{CapabilityBuild, CapabilityRender}, name) {
			bad("slots.%s: a worker has no such capability; expected build or render", name)
		}
		if n != Auto && (n < 0 || n > maxSlots) {
			bad("slots.%s: %d is not between 0 and %d", name, n, maxSlots)
		}
	}
	if !slices.Contains([]string{buildkit.CompressionZstd, buildkit.CompressionGzip}, c.Compression) {
		bad("compression: %q is none that layers can have; expected zstd or gzip", c.Compression)
	}
	problems = append(problems, c.Pressure.validate()...)
	if c.Slots[CapabilityBuild] != 0 && c.BuildKit == "" {
		bad("buildkit: builds and tests need BuildKit; name its address, e.g. unix:///run/buildkit/buildkitd.sock, or set slots: { build: 0 }")
	}
	if c.State == "" {
		bad("state: name a folder for sources")
	}
	if c.Disk != nil && (c.Disk.Reserve < 0 || c.Disk.Reserve > 1<<20) {
		bad("disk.reserve_mib: %d is not between 1 and %d", c.Disk.Reserve, 1<<20)
	}
	if c.Cache != nil {
		if err := buildkit.CheckCacheRegistry(c.Cache.Registry); err != nil {
			bad("cache.registry: %w", err)
		}
	}
	if c.HTTP != nil {
		if err := c.HTTP.Validate(); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}
