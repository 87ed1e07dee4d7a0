// Package config is the coordinator's configuration: one strict YAML file, with every
// mistake reported at once.
package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/daemon"
	"github.com/slipway-build/slipway/internal/queue"
	"github.com/slipway-build/slipway/internal/rpc"
	"github.com/slipway-build/slipway/internal/strictyaml"
)

// Config of a coordinator. Zero values of optional fields are filled in by Load.
type Config struct {
	Name   string `yaml:"name"`   // for people; default: the host's name
	Listen string `yaml:"listen"` // gRPC; default 127.0.0.1:7420
	HTTP   string `yaml:"http"`   // metrics and health; default 127.0.0.1:7421
	// PublicURL is where people reach the dashboard: what git hosts link to.
	PublicURL string        `yaml:"public_url"`
	TLS       daemon.TLS    `yaml:"tls"` // of both; needed on every address but loopback
	State     string        `yaml:"state,required"`
	NATS      queue.Address `yaml:"nats,required"`
	Redis     Redis         `yaml:"redis"`
	// Replicas of streams and buckets: 1, or 3 with a NATS cluster.
	Replicas   int `yaml:"replicas"`
	Partitions int `yaml:"partitions"`
	// Targets is the platform team's targets.yaml, or a folder with one for each project, named
	// PROJECT.yaml. Empty: nothing is deployed.
	Targets string `yaml:"targets"`
	// Registry is where services push that do not say otherwise: "registry.example.com/shop".
	Registry string `yaml:"registry"`
	// RegistryAuth is a docker config file with the credentials to look images up.
	RegistryAuth string `yaml:"registry_auth"`
	// BaseImages says where what tags of base images mean is looked up.
	BaseImages BaseImages `yaml:"base_images"`
	// Kubernetes has the Secrets that targets.yaml names; empty: that of the cluster the coordinator runs in.
	Kubernetes Kubernetes `yaml:"kubernetes"`
	// Advisories is a folder with what is known of vulnerable packages: files of the OSV format,
	// or archives of them; read anew when they change. Empty: no packages are scanned.
	Advisories string `yaml:"advisories"`
	// Signing is the key that images are signed with; without one none are.
	Signing    Signing  `yaml:"signing"`
	Platform   string   `yaml:"platform"` // default linux/amd64
	LocalPaths []string `yaml:"local_repositories"`
	// LFS is how many MiB of objects of Git LFS are kept.
	LFS int `yaml:"lfs_mib"`
	// Peers is how the coordinators of a farm that share one NATS reach each other.
	Peers Peers `yaml:"peers"`
	// LeaseTTL is how long a worker may be silent before its tasks are given to another.
	LeaseTTL  time.Duration `yaml:"lease_ttl"`
	Journal   Journal       `yaml:"journal"`
	Logs      Logs          `yaml:"logs"`
	Artifacts Artifacts     `yaml:"artifacts"`
	Retention Retention     `yaml:"retention"`
	Tokens    []Token       `yaml:"tokens,required"`
	Webhooks  []Webhook     `yaml:"webhooks"`
	Telemetry Telemetry     `yaml:"telemetry"`
}

// BaseImages is how the tags that Dockerfiles stand on are looked up.
type BaseImages struct {
	// Resolve: they are looked up at all. Without it a tag that moves is no change.
	Resolve bool `yaml:"resolve"`
	// Fresh is how long an answer is believed; default a minute. 0 is the default, too.
	Fresh      time.Duration  `yaml:"fresh"`
	Registries []BaseRegistry `yaml:"registries"`
}

// BaseRegistry is one that Dockerfiles name.
type BaseRegistry struct {
	Host string `yaml:"host,required"` // e.g. docker.io
	// Mirrors are asked first, each "host[:port][/path]".
	Mirrors []string `yaml:"mirrors"`
}

// Mirrors by registry.
func (b BaseImages) Mirrors() map[string][]string {
	out := map[string][]string{}
	for _, r := range b.Registries {
		out[r.Host] = append(out[r.Host], r.Mirrors...)
	}
	return out
}

// Signing is a private key, as cosign makes it, or of ECDSA or Ed25519 as PEM.
type Signing struct {
	KeyFile string `yaml:"key_file"`
	Key     []byte
	// PasswordFile is that of a key that is encrypted.
	PasswordFile string `yaml:"password_file"`
	Password     string
}

// Read reads the files of a key and of its password; empty: there is none.
func (s *Signing) Read(key, password string) error {
	s.KeyFile, s.PasswordFile = key, password
	files := daemon.FilesOf("")
	s.read(files)
	return files.Err()
}

func (s *Signing) read(files *daemon.Files) {
	s.Key = files.Read("signing.key_file", s.KeyFile)
	s.Password = files.Secret("signing.password_file", s.PasswordFile)
}

// Kubernetes is a cluster.
type Kubernetes struct {
	Kubeconfig string `yaml:"kubeconfig"`
	Context    string `yaml:"context"` // default: the file's current one
}

// Peers is this coordinator as the others see it.
type Peers struct {
	// Address at which the others reach this one's API; default: listen. {host} stands for
	// the name of the machine.
	Address string `yaml:"address"`
	// CAFile signed the certificates of the others, where it is not the system's; ServerName
	// is in them, where the address is not.
	CAFile     string `yaml:"ca_file"`
	CA         []byte
	ServerName string `yaml:"server_name"`
	// TTL is how long a coordinator may be silent before others take over what it owns; the
	// same in the whole farm.
	TTL time.Duration `yaml:"ttl"`
}

// Redis holds what can be rebuilt.
type Redis struct {
	Address      string `yaml:"address"`
	PasswordFile string `yaml:"password_file"`
}

// Token is a credential; only its hash is known here.
type Token struct {
	Name   string   `yaml:"name,required"`
	Hash   string   `yaml:"hash,required"`
	Role   string   `yaml:"role,required"`
	Groups []string `yaml:"groups"`
}

// Telemetry says where traces and logs go.
type Telemetry struct {
	OTLP string `yaml:"otlp"` // host:port of a gRPC receiver; empty: off
	Log  string `yaml:"log"`  // text (default) or json
}

// Limits of the settings.
const (
	MaxPartitions = 1024
	minTTL        = 500 * time.Millisecond
)

// Load reads and checks a file.
func Load(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	c := Config{}
	if problems := strictyaml.Decode(path, data, strictyaml.DefaultLimits(), &c); len(problems) > 0 {
		return Config{}, problems
	}
	c.Default()
	files := daemon.FilesOf(path)
	for i := range c.Webhooks {
		c.Webhooks[i].Secret = files.Secret(fmt.Sprintf("webhooks[%d].secret_file", i), c.Webhooks[i].SecretFile)
		c.Webhooks[i].Check.Token = files.Secret(fmt.Sprintf("webhooks[%d].check.token_file", i), c.Webhooks[i].Check.TokenFile)
	}
	c.Peers.CA = files.Read("peers.ca_file", c.Peers.CAFile)
	c.Signing.read(files)
	if err := files.Err(); err != nil {
		return Config{}, err
	}
	return c, c.Validate()
}

// Default fills in what is not set.
func (c *Config) Default() {
	set := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	host, err := os.Hostname()
	if err != nil {
		host = "coordinator"
	}
	set(&c.Name, host)
	set(&c.Listen, "127.0.0.1:7420")
	set(&c.HTTP, "127.0.0.1:7421")
	set(&c.Platform, "linux/amd64")
	set(&c.Peers.Address, c.Listen)
	c.Peers.Address = strings.ReplaceAll(c.Peers.Address, "{host}", host)
	set(&c.Telemetry.Log, "text")
	if c.LFS == 0 {
		c.LFS = 10 << 10
	}
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.Partitions == 0 {
		c.Partitions = 8
	}
	if c.LeaseTTL == 0 {
		c.LeaseTTL = 10 * time.Second
	}
	if c.Peers.TTL == 0 {
		c.Peers.TTL = 3 * time.Second
	}
	if c.BaseImages.Fresh == 0 {
		c.BaseImages.Fresh = time.Minute
	}
	c.defaultRetention()
}

// Validate reports every mistake at once.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.LFS < 0 {
		bad("lfs_mib: %d, want at least 1", c.LFS)
	}
	if c.Replicas != 1 && c.Replicas != 3 && c.Replicas != 5 {
		bad("replicas: %d, want 1, 3 or 5", c.Replicas)
	}
	if c.Partitions < 1 || c.Partitions > MaxPartitions {
		bad("partitions: %d, want 1 to %d", c.Partitions, MaxPartitions)
	}
	if c.LeaseTTL < minTTL {
		bad("lease_ttl: %s, want at least %s", c.LeaseTTL, minTTL)
	}
	if c.Peers.TTL < minTTL {
		bad("peers.ttl: %s, want at least %s", c.Peers.TTL, minTTL)
	}
	if c.BaseImages.Fresh < 0 {
		bad("base_images.fresh: %s, want a time that is not negative", c.BaseImages.Fresh)
	}
	for i, r := range c.BaseImages.Registries {
		for _, at := range append([]string{r.Host}, r.Mirrors...) {
			if at == "" || strings.Contains(at, "://") {
				bad("base_images.registries[%d]: %q, want host[:port], and for a mirror host[:port]/path", i, at)
			}
		}
	}
	if c.Signing.PasswordFile != "" && c.Signing.KeyFile == "" {
		bad("signing.password_file without signing.key_file: name the key that it opens")
	}
	c.validateRetention(bad)
	if err := c.TLS.Validate("tls"); err != nil {
		errs = append(errs, err)
	}
	if strings.Contains(c.Registry, "://") {
		bad("registry: %q is a URL, want host[:port]/path", c.Registry)
	}
	if c.Telemetry.Log != "text" && c.Telemetry.Log != "json" {
		bad("telemetry.log: %q, want text or json", c.Telemetry.Log)
	}
	for _, p := range append([]string{c.State}, c.LocalPaths...) {
		if !filepath.IsAbs(p) {
			bad("path %q is not absolute", p)
		}
	}
	errs = append(errs, c.validateWebhooks()...)
	if _, err := c.Credentials(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Credentials are the tokens as the server checks them.
func (c *Config) Credentials() (*rpc.Tokens, error) {
	list := make([]rpc.Token, 0, len(c.Tokens))
	for _, t := range c.Tokens {
		role, err := rpc.ParseRole(t.Role)
		if err != nil {
			return nil, fmt.Errorf("token %s: %w", t.Name, err)
		}
		list = append(list, rpc.Token{Name: t.Name, Hash: t.Hash, Role: role, Groups: t.Groups})
	}
	tokens, err := rpc.NewTokens(list)
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	return tokens, nil
}
