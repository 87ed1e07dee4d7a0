package provider_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/slipway-build/slipway/deploy/analysis"
	"github.com/slipway-build/slipway/deploy/analysis/provider"
	"github.com/slipway-build/slipway/internal/enginetest"
)

// exporter is a server whose pods serve a hundred requests between two scrapes, of which some are errors.
func exporter(t *testing.T, errors map[string]float64) string {
	t.Helper()
	registry := prometheus.NewRegistry()
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "http_requests_total", Help: "Requests."}, []string{"pod", "code"})
	registry.MustRegister(requests)
	metrics := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for pod, n := range errors {
			requests.WithLabelValues(pod, "200").Add(100 - n)
			requests.WithLabelValues(pod, "500").Add(n)
		}
		metrics.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// start runs Prometheus until the test ends or stop is called, and answers its address.
func start(t *testing.T, scraped string) (address string, stop func()) {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		enginetest.Missing(t, "no prometheus on this machine: make test installs Debian's package prometheus (%v)", err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	text := "global: { scrape_interval: 250ms, scrape_timeout: 250ms }\nscrape_configs: [ { job_name: shop, static_configs: [ { targets: [ \"" + scraped + "\" ] } ] } ]\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	_ = l.Close()
	var said bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	stop = func() {
		_ = cmd.Process.Kill()
		<-ended
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	return "http://" + address, stop
}

// until asks again until there is data.
func until(t *testing.T, p analysis.Provider, query string) {
	t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(time.Minute)
	for {
		_, found, err := p.Measure(t.Context(), analysis.Question{Query: query})
		if found {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%s has no data: %v", query, err)
		case <-again.C:
		}
	}
}

// TestARealPrometheus scrapes a real server: good and bad candidates are told apart, by limits and from stable.
func TestARealPrometheus(t *testing.T) {
	address, stop := start(t, exporter(t, map[string]float64{
		"web-7d4b9c6f5d-x2x9z": 2, "web-canary-6c9f7d8b4-zzzzz": 2,
		"api-7d4b9c6f5d-x2x9z": 2, "api-canary-6c9f7d8b4-zzzzz": 10,
		"api-db-7d4b9c6f5d-x2x9z": 90,
	}))
	p, err := provider.NewPrometheus(provider.Endpoint{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	const each = `sum(rate(http_requests_total{pod=~"$pods", code=~"5.."}[5s])) / sum(rate(http_requests_total{pod=~"$pods"}[5s]))`
	until(t, p, `rate(http_requests_total{pod="api-7d4b9c6f5d-x2x9z", code="500"}[5s]) > 0`)

	for query, want := range map[string]answer{
		"scalar(vector(2)) + 1":            {value: 3, found: true},
		"vector(0.25)":                     {value: 0.25, found: true},
		"nobody_has_this_total":            {},
		"http_requests_total":              {says: `and only one can be compared; add them up, as with sum(…)`},
		"http_requests_total[1m]":          {says: "the answer is a matrix, and not a number at one time"},
		"sum(":                             {says: "parse error"},
		`"text"`:                           {says: "unexpected value type"},
		`count(http_requests_total{}) > 0`: {value: 10, found: true},
	} {
		t.Run(query, func(t *testing.T) { want.check(t, p, analysis.Question{Query: query}) })
	}

	metric := func(name string, change func(*analysis.Metric)) analysis.Metric {
		m := analysis.Metric{Name: name, Query: each}
		change(&m)
		return m
	}
	run := func(service string, metrics ...analysis.Metric) (analysis.Report, []string) {
		var heard []string
		r, err := analysis.Run(t.Context(), analysis.Request{
			Subject: analysis.Subject{Project: "shop", Service: service, Environment: "prod", Cluster: "eu", Namespace: "shop", Weight: 10, Deployments: []string{service}},
			Pause:   time.Second,
			Analyses: []analysis.Analysis{{
				Name: "signals", Provider: analysis.Prometheus, Interval: 250 * time.Millisecond, NoData: analysis.Unknown, Tolerated: 1, Metrics: metrics,
			}},
		}, analysis.Providers{analysis.Prometheus: p}, func(text string) { heard = append(heard, text) })
		if err != nil {
			t.Fatal(err)
		}
		return r, heard
	}
	limits := []analysis.Metric{
		metric("errors", func(m *analysis.Metric) { m.Max = new(0.05) }),
		metric("ratio", func(m *analysis.Metric) { m.MaxRatio = new(2.0) }),
		metric("increase", func(m *analysis.Metric) { m.MaxIncrease = new(0.01) }),
	}
	if r, heard := run("web", limits...); r.Verdict != analysis.Passed || len(heard) < len(limits) {
		t.Errorf("as good as stable: %s\n%s\n%v", r.Verdict, r.Explanation(), heard)
	}
	for _, m := range limits {
		r, _ := run("api", m)
		if r.Verdict != analysis.Failed || !strings.Contains(r.Explanation(), fmt.Sprintf("signals/%s is 0.1, above 0.0", m.Name)) {
			t.Errorf("worse than stable, by %s: %s\n%s", m.Name, r.Verdict, r.Explanation())
		}
		t.Log(r.Explanation())
	}
	r, _ := run("api", metric("nan", func(m *analysis.Metric) { m.Query, m.Max = "0 / 0", new(0.0) }))
	if r.Verdict != analysis.Inconclusive || !strings.Contains(r.Explanation(), "has no data") {
		t.Errorf("NaN: %s\n%s", r.Verdict, r.Explanation())
	}
	stop()
	r, _ = run("api", limits...)
	if r.Verdict != analysis.Inconclusive || !strings.Contains(r.Explanation(), "connection refused") {
		t.Errorf("Prometheus is away: %s\n%s", r.Verdict, r.Explanation())
	}
}
