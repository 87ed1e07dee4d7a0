package config

import (
	"cmp"
	"maps"
	"slices"

	"github.com/slipway-build/slipway/deploy/analysis/provider"
	"github.com/slipway-build/slipway/internal/daemon"
)

// Metrics are the providers that analyses of canaries may ask; nil: there is none.
type Metrics struct {
	Prometheus *Endpoint `yaml:"prometheus"`
	Datadog    *Datadog  `yaml:"datadog"`
	JSON       *Endpoint `yaml:"json"`
}

// Endpoint is a provider that is asked over HTTP.
type Endpoint struct {
	Address   string `yaml:"address,required"` // http:// or https://, with a path where it has one
	TokenFile string `yaml:"token_file"`       // holds what is sent as Authorization: Bearer
	CAFile    string `yaml:"ca_file"`          // of its certificate, where it is not the system's

	Token string
	CA    []byte
}

// Datadog is a site of Datadog's.
type Datadog struct {
	Address    string `yaml:"address,required"` // https://api.datadoghq.eu
	APIKeyFile string `yaml:"api_key_file,required"`
	AppKeyFile string `yaml:"app_key_file,required"`

	APIKey, AppKey string
}

// MetricsOf are the providers of a cluster: its own ones, and those of all clusters where it has none.
func (c Config) MetricsOf(cluster string) Metrics {
	own := c.Clusters[cluster].Metrics
	return Metrics{
		Prometheus: cmp.Or(own.Prometheus, c.Metrics.Prometheus),
		Datadog:    cmp.Or(own.Datadog, c.Metrics.Datadog),
		JSON:       cmp.Or(own.JSON, c.Metrics.JSON),
	}
}

// everyMetrics are those of the file, by key.
func (c Config) everyMetrics() map[string]Metrics {
	out := map[string]Metrics{"metrics": c.Metrics}
	for name, cluster := range c.Clusters {
		out["clusters."+name+".metrics"] = cluster.Metrics
	}
	return out
}

// metricsFiles reads what the file names.
func (c Config) metricsFiles(f *daemon.Files) {
	all := c.everyMetrics()
	for _, key := range slices.Sorted(maps.Keys(all)) {
		m := all[key]
		for name, e := range map[string]*Endpoint{"prometheus": m.Prometheus, "json": m.JSON} {
			if e != nil {
				e.Token = f.Secret(key+"."+name+".token_file", e.TokenFile)
				e.CA = f.Read(key+"."+name+".ca_file", e.CAFile)
			}
		}
		if d := m.Datadog; d != nil {
			d.APIKey = f.Secret(key+".datadog.api_key_file", d.APIKeyFile)
			d.AppKey = f.Secret(key+".datadog.app_key_file", d.AppKeyFile)
		}
	}
}

func (c Config) checkMetrics(bad func(format string, a ...any)) {
	check := func(key, address string, secret bool) {
		if err := provider.CheckAddress(address, secret); err != nil {
			bad("%s.address: %w", key, err)
		}
	}
	all := c.everyMetrics()
	for _, key := range slices.Sorted(maps.Keys(all)) {
		m := all[key]
		if e := m.Prometheus; e != nil {
			check(key+".prometheus", e.Address, e.Token != "")
		}
		if d := m.Datadog; d != nil {
			check(key+".datadog", d.Address, true)
			for name, value := range map[string]string{"api_key_file": d.APIKey, "app_key_file": d.AppKey} {
				if value == "" {
					bad("%s.datadog.%s: Datadog needs both keys; name the file that holds it", key, name)
				}
			}
		}
		if e := m.JSON; e != nil {
			check(key+".json", e.Address, e.Token != "")
		}
	}
}
