package analysis_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/deploy/analysis"
)

// fake answers what each query has in turn, the last answer again and again.
type fake struct {
	began   time.Time
	answers map[string][]any // float64, error, nil: no data, time.Duration: it takes so long

	mu    sync.Mutex
	asked []string // "30s query"
	most  int      // at once
	now   int
}

func (f *fake) Measure(ctx context.Context, q analysis.Question) (value float64, found bool, err error) {
	f.mu.Lock()
	f.asked = append(f.asked, fmt.Sprintf("%s %s", time.Since(f.began), q.Query))
	f.now++
	f.most = max(f.most, f.now)
	list := f.answers[q.Query]
	if len(list) > 1 {
		f.answers[q.Query] = list[1:]
	}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.now--
		f.mu.Unlock()
	}()
	if len(list) == 0 {
		return 0, false, nil
	}
	switch a := list[0].(type) {
	case float64:
		return a, true, nil
	case error:
		return 0, false, a
	case time.Duration:
		select {
		case <-time.After(a):
			return 1, true, nil
		case <-ctx.Done():
			return 0, false, ctx.Err()
		}
	}
	return 0, false, nil
}

func subject() analysis.Subject {
	return analysis.Subject{Project: "shop", Service: "web", Environment: "prod", Cluster: "eu", Namespace: "shop", Weight: 5, Deployments: []string{"web"}}
}

func one(m analysis.Metric) analysis.Request {
	return analysis.Request{Subject: subject(), Pause: 100 * time.Second, Analyses: []analysis.Analysis{{
		Name: "signals", Provider: analysis.Prometheus, Interval: 30 * time.Second, NoData: analysis.Unknown, Tolerated: 1, Metrics: []analysis.Metric{m},
	}}}
}

// run goes through a pause on a clock of its own, and answers how long it took.
func run(t *testing.T, req analysis.Request, answers map[string][]any) (r analysis.Report, took time.Duration, f *fake, heard []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f = &fake{began: time.Now(), answers: answers}
		var err error
		r, err = analysis.Run(t.Context(), req, analysis.Providers{analysis.Prometheus: f}, func(text string) { heard = append(heard, text) })
		if err != nil {
			t.Fatal(err)
		}
		took = time.Since(f.began)
	})
	return r, took, f, heard
}

func TestMeasuresThroughThePause(t *testing.T) {
	r, took, f, heard := run(t, one(analysis.Metric{Name: "errors", Query: "q", Max: new(0.01)}), map[string][]any{"q": {0.002, errors.New("HTTP 503"), 0.01}})
	if diff := cmp.Diff([]string{"30s q", "1m0s q", "1m30s q", "1m40s q"}, f.asked); diff != "" {
		t.Error(diff)
	}
	if took != 100*time.Second || r.Verdict != analysis.Passed {
		t.Errorf("%s after %s", r.Verdict, took)
	}
	want := []string{
		"signals/errors is 0.002: at most 0.01", "signals/errors could not be measured: HTTP 503",
		"signals/errors is 0.01: at most 0.01", "signals/errors is 0.01: at most 0.01",
	}
	if diff := cmp.Diff(want, heard); diff != "" {
		t.Error(diff)
	}
	if got, want := r.Explanation(), "signals/errors is 0.01: at most 0.01, in the last of 4 measurements, of which 0 were bad and 1 said nothing"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestEnds(t *testing.T) {
	broken := errors.New("dial tcp: connection refused")
	for name, c := range map[string]struct {
		metric  analysis.Metric
		answers map[string][]any
		verdict analysis.Verdict
		took    time.Duration
		says    string
	}{
		"at the first bad one": {
			analysis.Metric{Query: "q{$namespace}", Max: new(0.01)}, map[string][]any{"q{shop}": {0.001, 0.052}}, analysis.Failed, time.Minute,
			"signals/m is 0.052, above 0.01, in one of 2 measurements\n  asked of prometheus: q{shop}",
		},
		"at the second in a row, with none between that says something": {
			analysis.Metric{Query: "q", Min: new(3.0), Failures: 2}, map[string][]any{"q": {1.0, broken, 2.0}}, analysis.Failed, 90 * time.Second,
			"signals/m is 2, below 3, in 2 measurements in a row, of 3\n",
		},
		"no two in a row":          {analysis.Metric{Query: "q", Min: new(3.0), Failures: 2}, map[string][]any{"q": {1.0, 3.0, 1.0, 3.0}}, analysis.Passed, 100 * time.Second, "is 3: at least 3"},
		"bad ones alone":           {analysis.Metric{Query: "q", Max: new(0.0), Failures: 9}, map[string][]any{"q": {1.0, 1.0, 1.0, broken}}, analysis.Failed, 100 * time.Second, "is 1, above 0, in 3 measurements in a row, of 4"},
		"nobody answers":           {analysis.Metric{Query: "q", Max: new(0.0)}, map[string][]any{"q": {broken}}, analysis.Inconclusive, time.Minute, "could not be told: 2 measurements said nothing; in the last it could not be measured: dial tcp: connection refused"},
		"there is no data":         {analysis.Metric{Query: "q", Max: new(0.0)}, map[string][]any{"q": {-1.0, math.NaN(), nil}}, analysis.Inconclusive, 90 * time.Second, "could not be told: 2 measurements in a row said nothing, of 3; in the last it has no data"},
		"what takes too long":      {analysis.Metric{Query: "q", Max: new(0.0)}, map[string][]any{"q": {time.Hour}}, analysis.Inconclusive, 70 * time.Second, "no answer within 10s"},
		"an infinite number":       {analysis.Metric{Query: "q", Max: new(5.0)}, map[string][]any{"q": {math.Inf(1)}}, analysis.Failed, 30 * time.Second, "is +Inf, above 5"},
		"no limit beside compares": {analysis.Metric{Query: "q-$deployment", MaxRatio: new(2.0)}, map[string][]any{"q-web-canary": {2.0}, "q-web": {1.0}}, analysis.Passed, 100 * time.Second, "is 2: at most 2 (2 times the 1 of stable), in the last of 4 measurements"},
		"more than stable":         {analysis.Metric{Query: "q-$deployment", MaxRatio: new(1.5), MaxIncrease: new(9.0)}, map[string][]any{"q-web-canary": {2.0}, "q-web": {1.0}}, analysis.Failed, 30 * time.Second, "is 2, above 1.5 (1.5 times the 1 of stable), in one measurement\n  asked of prometheus: q-web-canary"},
		"so much more than stable": {analysis.Metric{Query: "q-$deployment", Max: new(9.0), MaxIncrease: new(0.5)}, map[string][]any{"q-web-canary": {2.0}, "q-web": {1.0}}, analysis.Failed, 30 * time.Second, "is 2, above 1.5 (0.5 more than the 1 of stable)"},
		"above a stable of 0":      {analysis.Metric{Query: "q-$deployment", MaxRatio: new(2.0)}, map[string][]any{"q-web-canary": {0.1}, "q-web": {0.0}}, analysis.Failed, 30 * time.Second, "is 0.1, above 0 (2 times the 0 of stable)"},
		"stable has no data":       {analysis.Metric{Query: "q-$deployment", MaxRatio: new(2.0)}, map[string][]any{"q-web-canary": {0.1}, "q-web": {nil}}, analysis.Inconclusive, time.Minute, "it is 0.1, and stable has no data"},
		"stable is negative":       {analysis.Metric{Query: "q-$deployment", MaxRatio: new(2.0)}, map[string][]any{"q-web-canary": {0.1}, "q-web": {-1.0}}, analysis.Inconclusive, time.Minute, "use max_increase"},
		"stable does not answer":   {analysis.Metric{Query: "q-$deployment", MaxRatio: new(2.0)}, map[string][]any{"q-web-canary": {0.1}, "q-web": {broken}}, analysis.Inconclusive, time.Minute, "could not be measured: of stable: dial tcp"},
	} {
		t.Run(name, func(t *testing.T) {
			c.metric.Name = "m"
			r, took, _, _ := run(t, one(c.metric), c.answers)
			if r.Verdict != c.verdict || took != c.took || !strings.Contains(r.Explanation(), c.says) {
				t.Errorf("%s after %s: %s\nwant %s after %s: %s", r.Verdict, took, r.Explanation(), c.verdict, c.took, c.says)
			}
		})
	}
}

func TestNoData(t *testing.T) {
	for outcome, want := range map[analysis.Outcome]analysis.Verdict{analysis.Good: analysis.Passed, analysis.Bad: analysis.Failed, analysis.Unknown: analysis.Inconclusive} {
		req := one(analysis.Metric{Name: "errors", Query: "q", Max: new(0.0)})
		req.Analyses[0].NoData = outcome
		r, _, _, _ := run(t, req, nil)
		if r.Verdict != want || !strings.Contains(r.Explanation(), "has no data") || r.Metrics[0].Value != nil {
			t.Errorf("%v: %s: %s", outcome, r.Verdict, r.Explanation())
		}
	}
}

// TestShortPause: an interval that is longer than the pause is measured at its end.
func TestShortPause(t *testing.T) {
	req := one(analysis.Metric{Name: "errors", Query: "q", Max: new(0.0)})
	req.Pause = time.Second
	r, took, f, _ := run(t, req, map[string][]any{"q": {0.0}})
	if r.Verdict != analysis.Passed || took != time.Second || len(f.asked) != 1 {
		t.Errorf("%s after %s: %v", r.Verdict, took, f.asked)
	}
}

// TestDryRun: what fails there is told, and nothing fails, whether anybody can be asked or not.
func TestDryRun(t *testing.T) {
	req := one(analysis.Metric{Name: "errors", Query: "good", Max: new(0.5)})
	tried := req.Analyses[0]
	tried.Name, tried.DryRun, tried.Metrics = "tried", true, []analysis.Metric{{Name: "errors", Query: "bad", Max: new(0.5)}}
	gone := tried
	gone.Name, gone.Provider = "gone", analysis.Datadog
	req.Analyses = append(req.Analyses, tried, gone)
	r, took, f, _ := run(t, req, map[string][]any{"good": {0.0}, "bad": {1.0}})
	if r.Verdict != analysis.Passed || took != req.Pause {
		t.Errorf("%s after %s", r.Verdict, took)
	}
	for _, want := range []string{
		"tried/errors is 1, above 0.5, in one measurement (dry run: it fails nothing)\n  asked of prometheus: bad",
		"gone/errors could not be told: 2 measurements said nothing; in the last it could not be measured: the deployer has no datadog (dry run: it fails nothing)",
	} {
		if !strings.Contains(r.Explanation(), want) {
			t.Errorf("%s\nlacks %s", r.Explanation(), want)
		}
	}
	if len(f.asked) != 5 {
		t.Errorf("asked again after a verdict: %v", f.asked)
	}
}

// TestManyMetrics: a failure is told among others, few are asked at once, and a slow provider costs no more than a limit.
func TestManyMetrics(t *testing.T) {
	req := one(analysis.Metric{})
	req.Analyses[0].Metrics = nil
	answers := map[string][]any{}
	for i := range 60 {
		q := fmt.Sprintf("q%02d", i)
		answers[q] = []any{time.Hour}
		req.Analyses[0].Metrics = append(req.Analyses[0].Metrics, analysis.Metric{Name: q, Query: q, Max: new(0.0)})
	}
	answers["q00"] = []any{1.0}
	r, took, f, _ := run(t, req, answers)
	if r.Verdict != analysis.Failed || took > time.Minute || f.most > 8 || strings.Count(r.Explanation(), "q00") != 2 {
		t.Errorf("%s after %s, %d at once:\n%s", r.Verdict, took, f.most, r.Explanation())
	}
}

func TestCannotBegin(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*analysis.Request)
		want   string
	}{
		"no provider":      {func(r *analysis.Request) { r.Analyses[0].Provider = analysis.Datadog }, "analysis signals asks datadog; add metrics.datadog with its address for cluster eu to deployer.yaml"},
		"a hostile name":   {func(r *analysis.Request) { r.Subject.Service = `web"} or vector(0) #` }, "not a name that can be a part of a query"},
		"no Deployment":    {func(r *analysis.Request) { r.Subject.Deployments = nil }, "query of signals/m: $pods stands for pods of Deployments, and service web has none"},
		"two Deployments":  {func(r *analysis.Request) { r.Subject.Deployments = []string{"a", "b"} }, "$deployment stands for one Deployment, and service web has 2: use $pods"},
		"too long a name":  {func(r *analysis.Request) { r.Subject.Deployments = []string{strings.Repeat("a", 56)} }, "has 56 letters"},
		"unknown variable": {func(r *analysis.Request) { r.Analyses[0].Metrics[0].Query = "$moon" }, "there is no variable $moon"},
	} {
		t.Run(name, func(t *testing.T) {
			req := one(analysis.Metric{Name: "m", Query: "$pods $deployment", Max: new(0.0)})
			c.change(&req)
			_, err := analysis.Run(t.Context(), req, analysis.Providers{analysis.Prometheus: &fake{}}, func(string) {})
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, analysis.ErrNoProvider) != (name == "no provider") {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
	if r, err := analysis.Run(t.Context(), analysis.Request{Subject: subject(), Pause: time.Hour}, nil, nil); err != nil || r.Verdict != analysis.Passed {
		t.Errorf("nothing to measure: %v, %v", r, err)
	}
}

// TestCanceled: the cause is answered, while it waits and while it asks.
func TestCanceled(t *testing.T) {
	for _, after := range []time.Duration{time.Second, 31 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			cause := errors.New("the lease was lost")
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(after, func() { cancel(cause) })
			began := time.Now()
			p := analysis.Providers{analysis.Prometheus: &fake{answers: map[string][]any{"q": {time.Hour}}}}
			r, err := analysis.Run(ctx, one(analysis.Metric{Name: "m", Query: "q", Max: new(0.0)}), p, func(text string) { t.Error(text) })
			if !errors.Is(err, cause) || time.Since(began) != after || r.Verdict != analysis.GoesOn {
				t.Errorf("%v after %s, %s", err, time.Since(began), r.Verdict)
			}
		})
	}
}

// TestPods: the expressions tell pods of candidate and stable apart as Kubernetes names them, and no others.
func TestPods(t *testing.T) {
	long, longer := strings.Repeat("x", 50), strings.Repeat("x", 55)
	for _, c := range []struct {
		deployments       []string
		candidate, stable []string
		others            []string
	}{
		{
			[]string{"web"}, []string{"web-canary-7d4b9c6f5d-x2x9z"}, []string{"web-7d4b9c6f5d-x2x9z", "web-5c8f-zzzzz"},
			[]string{"web-0", "web-db-7d4b9c6f5d-x2x9z", "web-db-canary-7d4b9c6f5d-x2x9z", "web-canary-0", "web-canary", "the-web-7d4b9c6f5d-x2x9z", "web-x2x9z"},
		},
		{
			[]string{"web", "job.a"}, []string{"web-canary-7d4b9c6f5d-x2x9z", "job.a-canary-7d4b9c6f5d-x2x9z"}, []string{"web-7d4b9c6f5d-x2x9z", "job.a-7d4b9c6f5d-x2x9z"},
			[]string{"jobxa-7d4b9c6f5d-x2x9z"},
		},
		{[]string{long}, []string{(long + "-canary-7d4b9c6f5d-")[:58] + "x2x9z"}, []string{(long + "-7d4b9c6f5d-")[:58] + "x2x9z"}, nil},
		{[]string{longer}, []string{(longer + "-canary-7d4b9c6f5d-")[:58] + "x2x9z"}, []string{(longer + "-7d4b9c6f5d-")[:58] + "x2x9z"}, nil},
	} {
		s := subject()
		s.Deployments = c.deployments
		req := one(analysis.Metric{Name: "m", Query: `"$pods"`, MaxRatio: new(1.0)})
		req.Subject = s
		_, _, f, _ := run(t, req, nil)
		candidate := expression(t, f.asked[0])
		_, _, f, _ = run(t, req, map[string][]any{`"` + candidate.text + `"`: {1.0}}) // of which there is data is compared
		stable := expression(t, f.asked[1])
		for name, in := range map[string]struct {
			pods              []string
			candidate, stable bool
		}{"candidate": {c.candidate, true, false}, "stable": {c.stable, false, true}, "others": {c.others, false, false}} {
			for _, pod := range in.pods {
				if candidate.MatchString(pod) != in.candidate || stable.MatchString(pod) != in.stable {
					t.Errorf("%s of %v: %s is matched by %s: %t, by %s: %t", name, c.deployments, pod, candidate, candidate.MatchString(pod), stable, stable.MatchString(pod))
				}
			}
		}
	}
}

type anchored struct {
	*regexp.Regexp
	text string
}

func expression(t *testing.T, asked string) anchored {
	t.Helper()
	_, text, _ := strings.Cut(asked, " ")
	text = strings.Trim(text, `"`)
	if strings.ContainsAny(text, "\"'`\\$") {
		t.Errorf("%s means something else in quotes", text)
	}
	return anchored{regexp.MustCompile("^(?:" + text + ")$"), text}
}

// TestVariables: each has its value, and for a URL it is written as one.
func TestVariables(t *testing.T) {
	all := "/$project/$service/$environment/$cluster/$namespace?w=$weight&d=$deployment&p=${pods}x$1"
	req := one(analysis.Metric{Name: "m", Query: all, Max: new(0.0)})
	r, _, _, _ := run(t, req, nil)
	if want := "/shop/web/prod/eu/shop?w=5&d=web-canary&p=web-canary-[0-9a-z]+-[0-9a-z]+x$1"; r.Metrics[0].Query != want {
		t.Errorf("%s, want %s", r.Metrics[0].Query, want)
	}
	req.Analyses[0].Provider = analysis.JSON
	req.Analyses[0].DryRun = true
	r, _, _, _ = run(t, req, nil)
	if want := "/shop/web/prod/eu/shop?w=5&d=web-canary&p=web-canary-%5B0-9a-z%5D%2B-%5B0-9a-z%5D%2Bx$1"; r.Metrics[0].Query != want {
		t.Errorf("%s, want %s", r.Metrics[0].Query, want)
	}
}
