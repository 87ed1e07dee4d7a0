package plan

// Analysis is a set of metrics that one provider measures: the platform's word when the plan was made.
type Analysis struct {
	Name         string   `json:"name"`
	Provider     string   `json:"provider"`          // one of Providers; its address is the deployer's business
	Interval     int      `json:"interval_seconds"`  // between two measurements
	NoData       string   `json:"no_data"`           // what a measurement without data is: NoDataInconclusive, NoDataPass, NoDataFail
	Inconclusive int      `json:"inconclusive"`      // how many measurements of a metric in a row may say nothing
	DryRun       bool     `json:"dry_run,omitempty"` // it is told what came of it, and nothing fails
	Metrics      []Metric `json:"metrics"`           // sorted by name; at least one
}

// Metric has at least one limit. A measurement beyond any of them is bad.
type Metric struct {
	Name        string   `json:"name"`
	Query       string   `json:"query"`           // in the words of the provider, with $names in it
	Field       string   `json:"field,omitempty"` // json: JSON pointer to the value in the answer
	Max         *float64 `json:"max,omitempty"`
	Min         *float64 `json:"min,omitempty"`
	MaxRatio    *float64 `json:"max_ratio,omitempty"`    // the candidate's value is at most so many times that of stable
	MaxIncrease *float64 `json:"max_increase,omitempty"` // the candidate's value is at most so much above that of stable
	Failures    int      `json:"failures"`               // bad measurements in a row that fail it
}

// Compares says that the query is asked about stable, too.
func (m Metric) Compares() bool { return m.MaxRatio != nil || m.MaxIncrease != nil }

// Values of Analysis.Provider.
const (
	ProviderPrometheus = "prometheus"
	ProviderDatadog    = "datadog"
	ProviderJSON       = "json"
)

// Providers are the values of Analysis.Provider.
func Providers() []string { return []string{ProviderPrometheus, ProviderDatadog, ProviderJSON} }

// Values of Analysis.NoData.
const (
	NoDataInconclusive = "inconclusive"
	NoDataPass         = "pass"
	NoDataFail         = "fail"
)
