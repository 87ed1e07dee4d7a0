package provider

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/slipway-build/slipway/deploy/analysis"
)

// Prometheus is a Prometheus, or what speaks its API: Thanos, Mimir, VictoriaMetrics.
type Prometheus struct {
	api v1.API
}

// NewPrometheus dials nobody.
func NewPrometheus(e Endpoint) (*Prometheus, error) {
	client, address, err := open(e, nil)
	if err != nil {
		return nil, err
	}
	c, err := api.NewClient(api.Config{Address: address, Client: client})
	if err != nil {
		return nil, fmt.Errorf("address: %w", err)
	}
	return &Prometheus{v1.NewAPI(c)}, nil
}

// Measure implements analysis.Provider: the query is evaluated now, by the clock of Prometheus.
func (p *Prometheus) Measure(ctx context.Context, q analysis.Question) (value float64, found bool, err error) {
	answer, _, err := p.api.Query(ctx, q.Query, time.Time{})
	if err != nil {
		var said *v1.Error
		if errors.As(err, &said) && said.Detail != "" {
			err = fmt.Errorf("%w: %s", err, said.Detail)
		}
		return 0, false, err
	}
	switch answer := answer.(type) {
	case *model.Scalar:
		return float64(answer.Value), true, nil
	case model.Vector:
		if len(answer) > 1 {
			return 0, false, fmt.Errorf("the query has %d answers, as %s and %s, and only one can be compared; add them up, as with sum(…)", len(answer), answer[0].Metric, answer[1].Metric)
		}
		if len(answer) == 0 {
			return 0, false, nil
		}
		if answer[0].Histogram != nil {
			return 0, false, errors.New("the answer is a histogram; ask for histogram_quantile(…) of it")
		}
		return float64(answer[0].Value), true, nil
	default:
		return 0, false, fmt.Errorf("the answer is a %s, and not a number at one time; leave the range to a function, as rate(…[2m])", answer.Type())
	}
}
