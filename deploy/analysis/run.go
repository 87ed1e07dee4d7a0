package analysis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	patience   = 10 * time.Second // with one question
	together   = 30 * time.Second // with all that are asked at one time
	concurrent = 8                // questions at once
)

// Run measures at the intervals until the pause ends, and ends at once when something failed or could not be told. It answers
// what was measured in any case. An error says that nothing can be said of the candidate: ErrNoProvider, a query that cannot be
// made for this service, or the cause of ctx's end. Without analyses it answers at once.
func Run(ctx context.Context, req Request, providers Providers, listen Listener) (Report, error) {
	series, err := prepare(req, providers)
	if err != nil || len(series) == 0 {
		return Report{Verdict: Passed}, err
	}
	began := time.Now()
	end := began.Add(req.Pause)
	for _, s := range series {
		s.due = began.Add(s.interval)
	}
	for {
		at := end
		for _, s := range series {
			if s.due.Before(at) {
				at = s.due
			}
		}
		if err := wait(ctx, time.Until(at)); err != nil {
			return report(series), err
		}
		last := !at.Before(end)
		var due []*metric
		for _, s := range series {
			if last || !s.due.After(at) {
				due = append(due, s)
				s.next(time.Now())
			}
		}
		if err := measure(ctx, due, listen); err != nil {
			return report(series), err
		}
		if r := report(series); r.Verdict == Failed || r.Verdict == Inconclusive {
			return r, nil
		}
		if last {
			for _, s := range series {
				s.judge.End()
			}
			return report(series), nil
		}
	}
}

// metric is one that is measured.
type metric struct {
	Metric
	analysis  Analysis
	provider  Provider // nil: there is none, and the analysis fails nothing
	candidate Question
	stable    Question
	interval  time.Duration
	due       time.Time
	judge     Judge
	last      answer
	bad       answer // the last one that was
}

// next is the first time of the interval that is not over.
func (m *metric) next(now time.Time) {
	for !m.due.After(now) {
		m.due = m.due.Add(m.interval)
	}
}

// prepare makes all questions, and says every mistake in them at once.
func prepare(req Request, providers Providers) ([]*metric, error) {
	if err := req.Subject.check(); err != nil {
		return nil, err
	}
	var out []*metric
	var problems []error
	for _, a := range req.Analyses {
		p, ok := providers[a.Provider]
		if !ok && !a.DryRun {
			problems = append(problems, fmt.Errorf("%w: analysis %s asks %s; add metrics.%s with its address for cluster %s to deployer.yaml",
				ErrNoProvider, a.Name, a.Provider, a.Provider, req.Subject.Cluster))
			continue
		}
		for _, m := range a.Metrics {
			s := &metric{Metric: m, analysis: a, provider: p, interval: a.Interval, judge: Judge{Failures: m.Failures, Tolerated: a.Tolerated}}
			if s.interval <= 0 {
				s.interval = max(time.Second, req.Pause)
			}
			var err error
			if s.candidate, err = ask(req.Subject, a.Provider, m, false); err == nil && m.compares() {
				s.stable, err = ask(req.Subject, a.Provider, m, true)
			}
			if err != nil {
				problems = append(problems, fmt.Errorf("query of %s/%s: %w", a.Name, m.Name, err))
			}
			out = append(out, s)
		}
	}
	return out, errors.Join(problems...)
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// measure asks about all that are due, and tells what was answered in their order.
func measure(ctx context.Context, due []*metric, listen Listener) error {
	due = slices.DeleteFunc(due, func(m *metric) bool { return m.judge.Verdict() != GoesOn })
	answers := make([]answer, len(due))
	limited, cancel := context.WithTimeoutCause(ctx, together, fmt.Errorf("what is asked at one time was not answered within %s", together))
	defer cancel()
	var g errgroup.Group
	g.SetLimit(concurrent)
	for i, m := range due {
		g.Go(func() error {
			answers[i] = m.ask(limited)
			return nil
		})
	}
	_ = g.Wait() // nothing answers one
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for i, m := range due {
		m.last = answers[i]
		if m.last.outcome == Bad {
			m.bad = m.last
		}
		m.judge.Observe(m.last.outcome)
		listen(m.name() + " " + m.last.said)
	}
	return nil
}

func (m *metric) name() string { return m.analysis.Name + "/" + m.Name }

// ask makes one measurement.
func (m *metric) ask(ctx context.Context) answer {
	if m.provider == nil {
		return answer{outcome: Unknown, said: fmt.Sprintf("could not be measured: the deployer has no %s", m.analysis.Provider)}
	}
	candidate, found, err := m.value(ctx, m.candidate)
	if err != nil {
		return unmeasured(err)
	}
	if !found {
		return answer{outcome: m.analysis.NoData, said: "has no data" + counts(m.analysis.NoData)}
	}
	a := answer{value: &candidate}
	if m.compares() {
		stable, found, err := m.value(ctx, m.stable)
		switch {
		case err != nil:
			return unmeasured(fmt.Errorf("of stable: %w", err))
		case !found || math.IsInf(stable, 0):
			return answer{outcome: m.analysis.NoData, value: &candidate, said: fmt.Sprintf("is %s, and stable has no data%s", show(candidate), counts(m.analysis.NoData))}
		case m.MaxRatio != nil && stable < 0:
			return unmeasured(fmt.Errorf("stable has %s, and nothing is so many times a negative number; use max_increase", show(stable)))
		}
		a.stable = &stable
	}
	a.outcome, a.said = m.compare(a)
	return a
}

func (m *metric) value(ctx context.Context, q Question) (value float64, found bool, err error) {
	limited, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer within %s", patience))
	defer cancel()
	value, found, err = m.provider.Measure(limited, q)
	if err != nil && limited.Err() != nil {
		err = context.Cause(limited)
	}
	return value, found && !math.IsNaN(value), err
}
