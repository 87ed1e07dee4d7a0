package analysis

import (
	"context"
	"errors"
	"time"
)

// Request is one pause of a canary on one target.
type Request struct {
	Subject  Subject
	Pause    time.Duration
	Analyses []Analysis
}

// Subject is what is measured. Names are DNS labels, those of Deployments DNS subdomains: others are an error, since they become
// a part of queries.
type Subject struct {
	Project, Service, Environment, Cluster, Namespace string
	Weight                                            int      // percent
	Deployments                                       []string // of the service; the candidate's have "-canary" behind the name
	Itself                                            bool     // what serves is the candidate: there is no copy beside
}

// Analysis is a set of metrics that one provider measures.
type Analysis struct {
	Name      string
	Provider  string        // key of Providers
	Interval  time.Duration // between two measurements; one more is made at the end of the pause
	NoData    Outcome       // what a measurement without data is
	Tolerated int           // measurements of a metric in a row that may say nothing
	DryRun    bool          // nothing fails
	Metrics   []Metric
}

// Metric has at least one limit; nil: it is none.
type Metric struct {
	Name                  string
	Query, Field          string   // Query with $names in it
	Max, Min              *float64 //
	MaxRatio, MaxIncrease *float64 // compared with stable
	Failures              int      // bad measurements in a row that fail it
}

func (m Metric) compares() bool { return m.MaxRatio != nil || m.MaxIncrease != nil }

// Names of providers.
const (
	Prometheus = "prometheus"
	Datadog    = "datadog"
	JSON       = "json"
)

// Question is what a provider is asked.
type Question struct {
	Query string // nothing is left to replace
	Field string // JSON only
}

// Provider measures. It is asked several things at once.
type Provider interface {
	// Measure answers one number; found is false if there is no data, and NaN says the same. An error says that it could not be
	// measured: it is told to people, and holds no credential. ctx ends after ten seconds.
	Measure(ctx context.Context, q Question) (value float64, found bool, err error)
}

// Providers by name, of one cluster.
type Providers map[string]Provider

// Listener hears what happens, a sentence at a time.
type Listener func(text string)

// ErrNoProvider says that the configuration of the deployer lacks what an analysis needs: nothing was measured, and nothing is
// said of the candidate.
var ErrNoProvider = errors.New("the deployer's configuration lacks a provider")

// errSubject is of names that cannot be a part of a query.
var errSubject = errors.New("not a name that can be a part of a query")
