package server

import (
	"fmt"
	"time"

	"github.com/slipway-build/slipway/deploy/analysis"
	"github.com/slipway-build/slipway/deploy/analysis/provider"
	"github.com/slipway-build/slipway/deploy/config"
)

// providers are those that analyses on a cluster may ask. It dials nobody.
func providers(cluster string, m config.Metrics) (analysis.Providers, error) {
	out := analysis.Providers{}
	bad := func(name string, err error) error {
		return fmt.Errorf("cluster %q: metrics.%s: %w", cluster, name, err)
	}
	if e := m.Prometheus; e != nil {
		p, err := provider.NewPrometheus(provider.Endpoint{Address: e.Address, Token: e.Token, CA: e.CA})
		if err != nil {
			return nil, bad(analysis.Prometheus, err)
		}
		out[analysis.Prometheus] = p
	}
	if d := m.Datadog; d != nil {
		p, err := provider.NewDatadog(d.Address, d.APIKey, d.AppKey, time.Now)
		if err != nil {
			return nil, bad(analysis.Datadog, err)
		}
		out[analysis.Datadog] = p
	}
	if e := m.JSON; e != nil {
		p, err := provider.NewJSON(provider.Endpoint{Address: e.Address, Token: e.Token, CA: e.CA})
		if err != nil {
			return nil, bad(analysis.JSON, err)
		}
		out[analysis.JSON] = p
	}
	return out, nil
}
