package pipeline

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/internal/placeholder"
	"github.com/slipway-build/slipway/internal/strictyaml"
)

// Limits of analyses.
const (
	maxAnalyses     = 50
	maxAnalyze      = 10 // of one strategy
	maxMetrics      = 20 // of one analysis
	maxQuery        = 4 << 10
	maxMeasurements = 100 // that failures and inconclusive count
	maxInterval     = time.Hour
)

// Variables of a query that are not the same for candidate and stable.
const (
	varPods       = "pods"
	varDeployment = "deployment"
)

// Variables are the names that a query may have: what they stand for, the deployer knows.
func Variables() []string {
	return []string{"cluster", varDeployment, "environment", "namespace", varPods, "project", "service", "weight"}
}

// analyze is a name in the strategy of an environment.
type analyze struct {
	of   *Measured
	name string
	pos  Pos
}

// metric is one that was read, and where.
type metric struct {
	plan.Metric
	key   strictyaml.Key
	query strictyaml.Node
}

func (d *decoder) analyses(n strictyaml.Node) []*Analysis {
	var out []*Analysis
	n.Entries("analysis", func(key strictyaml.Key, v strictyaml.Node) {
		if d.over(v, len(out)+1, maxAnalyses, "analyses") {
			return
		}
		d.checkName(key.Text, key.Pos)
		out = append(out, d.analysis(key, v))
	})
	slices.SortFunc(out, func(a, b *Analysis) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func (d *decoder) analysis(key strictyaml.Key, n strictyaml.Node) *Analysis {
	a := &Analysis{Pos: key.Pos, Analysis: plan.Analysis{Name: key.Text, Interval: 30, NoData: plan.NoDataInconclusive, Inconclusive: 3}}
	var metrics []metric
	what := "analysis " + strictyaml.Quote(key.Text)
	n.Fields(what, strictyaml.Fields{
		"provider":     func(n strictyaml.Node) { a.Provider = n.Enum(plan.Providers()...) },
		"interval":     func(n strictyaml.Node) { a.Interval = int(n.Duration(time.Second, maxInterval) / time.Second) },
		"metrics":      func(n strictyaml.Node) { metrics = d.metrics(n) },
		"no_data":      func(n strictyaml.Node) { a.NoData = n.Enum(plan.NoDataInconclusive, plan.NoDataPass, plan.NoDataFail) },
		"inconclusive": func(n strictyaml.Node) { a.Inconclusive = n.Int(0, maxMeasurements) },
		"dry_run":      func(n strictyaml.Node) { a.DryRun = n.Bool() },
	}, "provider", "metrics")
	for _, m := range metrics {
		if m.Query != "" {
			d.checkMetric(a.Provider, m)
		}
		a.Metrics = append(a.Metrics, m.Metric)
	}
	slices.SortFunc(a.Metrics, func(a, b plan.Metric) int { return cmp.Compare(a.Name, b.Name) })
	return a
}

func (d *decoder) metrics(n strictyaml.Node) []metric {
	var out []metric
	n.Entries("metrics", func(key strictyaml.Key, v strictyaml.Node) {
		if d.over(v, len(out)+1, maxMetrics, "metrics of one analysis") {
			return
		}
		d.checkName(key.Text, key.Pos)
		m := metric{key: key, Metric: plan.Metric{Name: key.Text, Failures: 1}}
		number := func(to **float64) func(strictyaml.Node) {
			return func(n strictyaml.Node) { *to = new(n.Float()) }
		}
		before := d.report.Count()
		v.Fields("metric "+strictyaml.Quote(key.Text), strictyaml.Fields{
			"query":    func(n strictyaml.Node) { m.Query, m.query = d.query(n), n },
			"field":    func(n strictyaml.Node) { m.Field = d.field(n) },
			"max":      number(&m.Max),
			"min":      number(&m.Min),
			"compare":  func(n strictyaml.Node) { d.compare(n, &m.Metric) },
			"failures": func(n strictyaml.Node) { m.Failures = n.Int(1, maxMeasurements) },
		}, "query")
		if d.report.Count() == before {
			switch {
			case m.Max == nil && m.Min == nil && !m.Compares():
				d.report.Add(key.Pos, "write max:, min: or compare:", "metric %s has no limit, and could never fail", strictyaml.Quote(key.Text))
			case m.Max != nil && m.Min != nil && *m.Min > *m.Max:
				d.report.Add(key.Pos, "", "metric %s has min %v above max %v, and would always fail", strictyaml.Quote(key.Text), *m.Min, *m.Max)
			}
		}
		out = append(out, m)
	})
	if n.IsMap() && len(out) == 0 {
		n.Problem("add one", "an analysis without a metric would say nothing")
	}
	return out
}

func (d *decoder) query(n strictyaml.Node) string {
	before := d.report.Count()
	s := n.Str()
	switch {
	case d.report.Count() > before:
	case strings.TrimSpace(s) == "":
		n.Problem("write what the provider is to be asked", "an empty query")
	case len(s) > maxQuery:
		n.Problem("have the provider record a part of it under a name", "a query of %d bytes; at most %d", len(s), maxQuery)
	}
	return s
}

func (d *decoder) field(n strictyaml.Node) string {
	before := d.report.Count()
	s := n.Str()
	if d.report.Count() == before && (len(s) > maxPath || !d.matches(`(?:/(?:[^/~]|~[01])*)+`, s)) {
		n.Problem("write a JSON pointer, as /data/error_rate", "%s is no place in an answer", strictyaml.Quote(s))
	}
	return s
}

func (d *decoder) compare(n strictyaml.Node, m *plan.Metric) {
	limit := func(to **float64, least float64) func(strictyaml.Node) {
		return func(n strictyaml.Node) {
			before := d.report.Count()
			f := n.Float()
			if d.report.Count() == before && f < least {
				n.Problem("", "want a number that is at least %v, got %v", least, f)
			}
			*to = &f
		}
	}
	before := d.report.Count()
	n.Fields("compare", strictyaml.Fields{
		"to":           func(n strictyaml.Node) { n.Enum("stable") },
		"max_ratio":    limit(&m.MaxRatio, 0),
		"max_increase": limit(&m.MaxIncrease, 0),
	})
	if d.report.Count() == before && !m.Compares() {
		n.Problem("write max_ratio: or max_increase:", "a comparison without a limit")
	}
}

// checkMetric looks at what depends on the provider.
func (d *decoder) checkMetric(provider string, m metric) {
	varies := false
	for _, name := range placeholder.Names(m.Query) {
		varies = varies || name == varPods || name == varDeployment
		switch {
		case !slices.Contains(Variables(), name):
			suggestion := strictyaml.Suggest(name, Variables())
			if suggestion == "" {
				suggestion = "known ones: $" + strings.Join(Variables(), ", $")
			}
			m.query.Problem(suggestion, "there is no variable $%s", name)
		case name == varPods && provider == plan.ProviderDatadog:
			m.query.Problem("write kube_deployment:$deployment", "$pods is a regular expression, which queries of Datadog do not have")
		}
	}
	if m.Compares() && !varies {
		m.query.Problem("have it select by $pods or $deployment", "the query is the same for the candidate and for stable")
	}
	name := strictyaml.Quote(m.Name)
	switch {
	case provider == plan.ProviderJSON && !d.matches(`/(?:[^/\s#\\][^\s#\\]*)?`, m.Query), provider == plan.ProviderJSON && slices.Contains(strings.FieldsFunc(m.Query, isPathEnd), ".."):
		m.query.Problem("write a path as /slo?service=$service; the address is in the deployer's configuration", "%s is not the path of a URL", strictyaml.Quote(m.Query))
	case provider == plan.ProviderJSON && m.Field == "":
		d.report.Add(m.key.Pos, "write field: with a JSON pointer, as /data/error_rate", "metric %s does not say where in the answer its value is", name)
	case provider != "" && provider != plan.ProviderJSON && m.Field != "":
		d.report.Add(m.key.Pos, "remove field", "metric %s has a field, which is for json", name)
	}
}

func isPathEnd(r rune) bool { return r == '/' || r == '?' || r == '&' }

// analyzed reads the names of a strategy's analyses; what they are is looked up at the end.
func (d *decoder) analyzed(n strictyaml.Node, m *Measured) {
	n.List(func(i int, item strictyaml.Node) {
		if d.over(item, i+1, maxAnalyze, "analyses of one strategy") {
			return
		}
		before := d.report.Count()
		name := d.name(item)
		switch {
		case d.report.Count() > before:
		case slices.Contains(m.Analyze, name):
			item.Problem("remove one of them", "%s is named twice", strictyaml.Quote(name))
		default:
			m.Analyze = append(m.Analyze, name)
			d.analyze = append(d.analyze, analyze{m, name, item.Pos()})
		}
	})
}

// selectAnalyses finds those that canaries name.
func (d *decoder) selectAnalyses(all []*Analysis) {
	names := make([]string, len(all))
	for i, a := range all {
		names[i] = a.Name
	}
	for _, use := range d.analyze {
		if i := slices.Index(names, use.name); i >= 0 {
			use.of.Analyses = append(use.of.Analyses, all[i])
			for _, m := range all[i].Metrics {
				if use.of.alone && (m.MaxRatio != nil || m.MaxIncrease != nil) {
					d.report.Add(use.pos, "name an analysis with max or min alone", "metric %s of %s compares with what serves beside a candidate, and a flag has no candidate beside",
						strictyaml.Quote(m.Name), strictyaml.Quote(use.name))
				}
			}
			continue
		}
		suggestion := strictyaml.Suggest(use.name, names)
		if suggestion == "" {
			suggestion = fmt.Sprintf("add %s: under analysis:", use.name)
		}
		d.report.Add(use.pos, suggestion, "there is no analysis %s", strictyaml.Quote(use.name))
	}
}
