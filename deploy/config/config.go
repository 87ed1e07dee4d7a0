// Package config reads deployer.yaml: where the coordinator is and which clusters this deployer serves. Every mistake is
// reported at once, with its position.
//
// It reads no environment and no flags, and it opens no connection.
package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

// Config is deployer.yaml. Relative paths in it are relative to the file's folder.
type Config struct {
	Name        string             `yaml:"name"` // for people; default: the host's name
	Coordinator Coordinator        `yaml:"coordinator,required"`
	Clusters    map[string]Cluster `yaml:"clusters,required"` // by their name in targets.yaml
	Slots       int                `yaml:"slots"`             // tasks at once, per cluster
	Metrics     string             `yaml:"metrics"`           // host:port for /metrics; empty: none
	Traces      string             `yaml:"traces"`            // OTLP receiver, host:port or URL; empty: none
	Log         Log                `yaml:"log"`               //
	Drain       time.Duration      `yaml:"drain"`             // how long running tasks may go on after SIGTERM
}

// Log says how the program logs.
type Log struct {
	Format string `yaml:"format"` // text, json; default: text
	Level  string `yaml:"level"`  // debug, info, warn, error; default: info
}

// Coordinator is where tasks come from.
type Coordinator struct {
	Address   string `yaml:"address,required"`    // host:port
	TokenFile string `yaml:"token_file,required"` // holds a token with the role worker
	CAFile    string `yaml:"ca_file"`             // for an address that is not loopback
}

// Cluster is one cluster.
type Cluster struct {
	Kubeconfig string        `yaml:"kubeconfig,required"`
	Context    string        `yaml:"context"`    // empty: the file's current-context
	AllowExec  bool          `yaml:"allow_exec"` // the kubeconfig may start a program to obtain credentials
	QPS        int           `yaml:"qps"`
	Timeout    time.Duration `yaml:"timeout"`  // of one request
	Patience   time.Duration `yaml:"patience"` // with a cluster that stopped answering in the middle of a rollout
	Allow      Allow         `yaml:"allow"`
}

// Allow is what releases may contain beyond objects of their own namespace.
type Allow struct {
	HostAccess bool     `yaml:"host_access"`
	Kinds      []string `yaml:"kinds"` // cluster-scoped ones: "ClusterRole.rbac.authorization.k8s.io"
}

const (
	defaultSlots = 8
	defaultDrain = 2 * time.Minute
)

// Load reads the file at path.
func Load(path string) (Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read the deployer's configuration: %w", err)
	}
	c := Config{Slots: defaultSlots, Drain: defaultDrain}
	if err := strictyaml.Decode(path, text, strictyaml.DefaultLimits(), &c).Err(); err != nil {
		return Config{}, err
	}
	c.resolve(filepath.Dir(path))
	return c, c.Validate()
}

func (c *Config) resolve(dir string) {
	absolute := func(path *string) {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
	absolute(&c.Coordinator.TokenFile)
	absolute(&c.Coordinator.CAFile)
	for name, cluster := range c.Clusters {
		absolute(&cluster.Kubeconfig)
		c.Clusters[name] = cluster
	}
}

// Validate checks a configuration that was made without a file as well.
func (c Config) Validate() error {
	if len(c.Clusters) == 0 {
		return fmt.Errorf("deployer configuration: clusters is empty; name at least one, e.g. prod-eu: { kubeconfig: /etc/slipway/prod-eu }")
	}
	if c.Slots < 1 {
		return fmt.Errorf("deployer configuration: slots is %d; expected 1 or more", c.Slots)
	}
	token := regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,90}$`)
	for name, cluster := range c.Clusters {
		if !token.MatchString(name) {
			return fmt.Errorf("deployer configuration: cluster %q: expected a name of a-z, 0-9, - and _", name)
		}
		for _, kind := range cluster.Allow.Kinds {
			if kind == "" || strings.ContainsAny(kind, "/ ") {
				return fmt.Errorf("deployer configuration: cluster %q: allow.kinds: %q; expected Kind or Kind.group", name, kind)
			}
		}
	}
	return nil
}
