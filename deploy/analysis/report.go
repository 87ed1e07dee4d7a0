package analysis

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxError is how much of what a provider said is told, in bytes.
const maxError = 500

// Report is what came of a pause.
type Report struct {
	Verdict Verdict    // never GoesOn, but where Run ended with an error
	Metrics []Measured // in the order of the request
}

// Measured is what came of one metric.
type Measured struct {
	Analysis, Metric string
	Provider         string
	Query            string // as it was asked about the candidate
	Verdict          Verdict
	DryRun           bool
	Count            Count
	Value, Stable    *float64 // of the last measurement, of what failed the last bad one; nil: there was none
	Said             string   // of the same, with value and limit
}

// answer is one measurement.
type answer struct {
	outcome       Outcome
	value, stable *float64
	said          string // what follows the name of the metric
}

func unmeasured(err error) answer {
	text := err.Error()
	if len(text) > maxError {
		text = strings.ToValidUTF8(text[:maxError], "") + " …"
	}
	return answer{outcome: Unknown, said: "could not be measured: " + text}
}

func counts(o Outcome) string {
	switch o {
	case Good:
		return ", which passes"
	case Bad:
		return ", which fails"
	case Unknown:
	}
	return ""
}

// compare says whether a value is beyond a limit, the tightest first.
func (m Metric) compare(a answer) (outcome Outcome, said string) {
	type limit struct {
		at    float64
		upper bool
		about string
	}
	var all []limit
	if m.Max != nil {
		all = append(all, limit{*m.Max, true, ""})
	}
	if m.Min != nil {
		all = append(all, limit{*m.Min, false, ""})
	}
	if m.MaxRatio != nil {
		all = append(all, limit{*m.MaxRatio * *a.stable, true, fmt.Sprintf(" (%s times the %s of stable)", show(*m.MaxRatio), show(*a.stable))})
	}
	if m.MaxIncrease != nil {
		all = append(all, limit{*m.MaxIncrease + *a.stable, true, fmt.Sprintf(" (%s more than the %s of stable)", show(*m.MaxIncrease), show(*a.stable))})
	}
	slices.SortStableFunc(all, func(a, b limit) int {
		switch {
		case a.upper && b.upper:
			return cmp.Compare(a.at, b.at)
		case a.upper:
			return -1
		case b.upper:
			return 1
		}
		return 0
	})
	var within []string
	for _, l := range all {
		switch {
		case l.upper && *a.value > l.at:
			return Bad, fmt.Sprintf("is %s, above %s%s", show(*a.value), show(l.at), l.about)
		case !l.upper && *a.value < l.at:
			return Bad, fmt.Sprintf("is %s, below %s", show(*a.value), show(l.at))
		case l.upper:
			within = append(within, "at most "+show(l.at)+l.about)
		default:
			within = append(within, "at least "+show(l.at))
		}
	}
	return Good, fmt.Sprintf("is %s: %s", show(*a.value), strings.Join(within, ", "))
}

// show has as many digits as people read.
func show(f float64) string { return strconv.FormatFloat(f, 'g', 4, 64) }

// report adds up the metrics: failed is worse than inconclusive.
func report(all []*metric) Report {
	r := Report{Verdict: Passed}
	for _, m := range all {
		said := m.last
		if m.judge.Verdict() == Failed {
			said = m.bad
		}
		r.Metrics = append(r.Metrics, Measured{
			Analysis: m.analysis.Name, Metric: m.Name, Provider: m.analysis.Provider, Query: m.candidate.Query,
			Verdict: m.judge.Verdict(), DryRun: m.analysis.DryRun, Count: m.judge.Count, Value: said.value, Stable: said.stable, Said: said.said,
		})
		if m.analysis.DryRun {
			continue
		}
		switch v := m.judge.Verdict(); {
		case v == Failed, v == Inconclusive && r.Verdict != Failed, v == GoesOn && r.Verdict == Passed:
			r.Verdict = v
		}
	}
	return r
}

// Explanation says in words what came of it: of what did not pass, or of all.
func (r Report) Explanation() string {
	var lines []string
	for _, m := range r.Metrics {
		if r.Verdict == Passed || m.DryRun || m.Verdict == Failed || m.Verdict == Inconclusive {
			lines = append(lines, m.String())
		}
	}
	return strings.Join(lines, "\n")
}

// String is a sentence, and the query.
func (m Measured) String() string {
	var b strings.Builder
	b.WriteString(m.Analysis + "/" + m.Metric + " ")
	c := m.Count
	switch {
	case c.All == 0:
		b.WriteString("was not measured")
	case m.Verdict == Inconclusive && c.UnknownRow == c.All:
		fmt.Fprintf(&b, "could not be told: %s said nothing; in the last it %s", measurements(c.All), m.Said)
	case m.Verdict == Inconclusive:
		fmt.Fprintf(&b, "could not be told: %s in a row said nothing, of %d; in the last it %s", measurements(c.UnknownRow), c.All, m.Said)
	case m.Verdict == Failed && c.BadRow == c.All:
		fmt.Fprintf(&b, "%s, in %s", m.Said, measurements(c.All))
	case m.Verdict == Failed && c.BadRow == 1:
		fmt.Fprintf(&b, "%s, in one of %s", m.Said, measurements(c.All))
	case m.Verdict == Failed:
		fmt.Fprintf(&b, "%s, in %s in a row, of %d", m.Said, measurements(c.BadRow), c.All)
	default:
		fmt.Fprintf(&b, "%s, in the last of %s", m.Said, measurements(c.All))
		if odd := c.Bad + c.Unknown; odd > 0 {
			fmt.Fprintf(&b, ", of which %d were bad and %d said nothing", c.Bad, c.Unknown)
		}
	}
	if m.DryRun {
		b.WriteString(" (dry run: it fails nothing)")
	}
	if m.Verdict != Passed {
		fmt.Fprintf(&b, "\n  asked of %s: %s", m.Provider, m.Query)
	}
	return b.String()
}

func measurements(n int) string {
	if n == 1 {
		return "one measurement"
	}
	return strconv.Itoa(n) + " measurements"
}
