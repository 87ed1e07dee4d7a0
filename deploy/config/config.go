// Package config reads deployer.yaml: where a deployer finds its coordinator, and which clusters it serves. Every mistake is
// reported at once.
//
// Secrets are not in the file: it names files that hold them, which Load reads as well. The package opens no connection.
package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/daemon"
	"github.com/slipway-build/slipway/internal/strictyaml"
)

// Config of a deployer. Fields without a tag are read from the files that others name, or set by a program that makes a
// deployer itself.
type Config struct {
	// Name for people, stable over restarts; default: the host's name.
	Name        string      `yaml:"name"`
	Coordinator Coordinator `yaml:"coordinator,required"`
	// Clusters by their name in targets.yaml.
	Clusters map[string]Cluster `yaml:"clusters,required"`
	// Metrics are whom analyses may ask, for clusters that have no provider of their own.
	Metrics Metrics `yaml:"metrics"`
	// Slots are how many tasks are carried out at once on each cluster; 32, for one that watches a candidate takes as long as its pause.
	Slots int `yaml:"slots"`
	// HTTP is where /metrics and /healthz are answered; nil: nowhere.
	HTTP *daemon.HTTP `yaml:"http"`
	// Drain is how long running tasks may go on after SIGTERM.
	Drain     time.Duration `yaml:"drain"`
	Telemetry Telemetry     `yaml:"telemetry"`

	Version string // of the program
}

// Coordinator is where the deployer's session goes.
type Coordinator struct {
	Address   string `yaml:"address,required"` // host:port, several with commas between them
	TokenFile string `yaml:"token_file"`       // holds a token with the role worker
	CAFile    string `yaml:"ca_file"`          // of its certificate, where it is not the system's

	Token string
	CA    []byte
}

// Cluster is one cluster.
type Cluster struct {
	Kubeconfig string        `yaml:"kubeconfig,required"`
	Context    string        `yaml:"context"`    // empty: the file's current-context
	AllowExec  bool          `yaml:"allow_exec"` // the kubeconfig may start a program to obtain credentials
	QPS        int           `yaml:"qps"`        // requests a second; 0: no limit of ours
	Timeout    time.Duration `yaml:"timeout"`    // of one request; 15s
	Patience   time.Duration `yaml:"patience"`   // with a cluster that stops answering in the middle of a rollout; 20s
	Allow      Allow         `yaml:"allow"`
	Metrics    Metrics       `yaml:"metrics"` // its own providers, each in place of the one of all clusters
}

// Allow is what releases may contain beyond objects of their own namespace.
type Allow struct {
	HostAccess bool     `yaml:"host_access"`
	Kinds      []string `yaml:"kinds"` // cluster-scoped ones: "ClusterRole.rbac.authorization.k8s.io"
}

// Telemetry says where traces and logs go.
type Telemetry struct {
	OTLP string `yaml:"otlp"` // host:port of a gRPC receiver; empty: off
	Log  string `yaml:"log"`  // text (default) or json
}

const (
	defaultSlots = 32
	defaultDrain = time.Minute
)

// Load reads the file, the files that it names (relative to it), and the defaults. It answers every mistake at once.
func Load(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	var c Config
	if problems := strictyaml.Decode(path, data, strictyaml.DefaultLimits(), &c); len(problems) > 0 {
		return Config{}, problems
	}
	if err := c.files(daemon.FilesOf(path)); err != nil {
		return Config{}, err
	}
	return c.Complete()
}

// files reads what the file names, and makes the paths of kubeconfigs absolute.
func (c *Config) files(f *daemon.Files) error {
	c.Coordinator.Token = f.Secret("coordinator.token_file", c.Coordinator.TokenFile)
	c.Coordinator.CA = f.Read("coordinator.ca_file", c.Coordinator.CAFile)
	c.HTTP.Read(f)
	c.metricsFiles(f)
	for name, cluster := range c.Clusters {
		cluster.Kubeconfig = f.Path(cluster.Kubeconfig)
		c.Clusters[name] = cluster
	}
	return f.Err()
}

// Complete fills in defaults and checks what is there. A program that makes a deployer itself calls it instead of Load.
func (c Config) Complete() (Config, error) {
	if c.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return c, fmt.Errorf("name: %w; set it in the configuration", err)
		}
		c.Name = host
	}
	if c.Slots == 0 {
		c.Slots = defaultSlots
	}
	if c.Drain == 0 {
		c.Drain = defaultDrain
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
		bad("coordinator.token_file: the deployer needs a token; name the file that holds it")
	}
	if c.Slots < 1 || c.Slots > 10_000 {
		bad("slots: %d is not between 1 and 10000", c.Slots)
	}
	if c.HTTP != nil {
		if err := c.HTTP.Validate(); err != nil {
			problems = append(problems, err)
		}
	}
	c.checkMetrics(bad)
	if len(c.Clusters) == 0 {
		bad("clusters: name at least one, e.g. prod-eu: { kubeconfig: /etc/slipway/prod-eu.kubeconfig }")
	}
	token := regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,90}$`)
	for _, name := range slices.Sorted(maps.Keys(c.Clusters)) {
		if !token.MatchString(name) {
			bad("clusters.%s: expected a name of a-z, 0-9, - and _, as in targets.yaml", name)
		}
		for _, kind := range c.Clusters[name].Allow.Kinds {
			if kind == "" || strings.ContainsAny(kind, "/ ") {
				bad("clusters.%s.allow.kinds: %q is no kind; expected Kind or Kind.group", name, kind)
			}
		}
	}
	return errors.Join(problems...)
}
