package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/slipway-build/slipway/deploy/analysis"
)

// window is how far back a point of Datadog counts: agents report some ten seconds late, and integrations minutes.
const window = 5 * time.Minute

// Datadog is asked for timeseries, of which the newest point counts.
type Datadog struct {
	client  *http.Client
	address string
	now     func() time.Time
}

// NewDatadog dials nobody. The address is that of the site: https://api.datadoghq.eu.
func NewDatadog(address, apiKey, appKey string, now func() time.Time) (*Datadog, error) {
	client, address, err := open(Endpoint{Address: address}, map[string]string{"DD-API-KEY": apiKey, "DD-APPLICATION-KEY": appKey})
	return &Datadog{client, address, now}, err
}

// Measure implements analysis.Provider with GET /api/v1/query.
func (d *Datadog) Measure(ctx context.Context, q analysis.Question) (value float64, found bool, err error) {
	now := d.now()
	body, err := get(ctx, d.client, d.address+"/api/v1/query?"+url.Values{
		"from": {strconv.FormatInt(now.Add(-window).Unix(), 10)}, "to": {strconv.FormatInt(now.Unix(), 10)}, "query": {q.Query},
	}.Encode())
	if err != nil {
		return 0, false, err
	}
	var answer struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Series []struct {
			Scope  string        `json:"scope"`
			Points [][2]*float64 `json:"pointlist"` // milliseconds, value
		} `json:"series"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return 0, false, fmt.Errorf("the answer is not what Datadog's API says: %w", err)
	}
	switch {
	case answer.Status != "ok" || answer.Error != "":
		return 0, false, fmt.Errorf("the query was answered with %s: %s", answer.Status, answer.Error)
	case len(answer.Series) == 0:
		return 0, false, nil
	case len(answer.Series) > 1:
		return 0, false, fmt.Errorf("the query has %d answers, as of %s and %s, and only one can be compared; leave out by {…}", len(answer.Series), answer.Series[0].Scope, answer.Series[1].Scope)
	}
	for _, point := range slices.Backward(answer.Series[0].Points) {
		switch {
		case point[0] == nil:
			return 0, false, errors.New("the answer has a point without a time")
		case point[1] != nil:
			return *point[1], true, nil
		}
	}
	return 0, false, nil
}
