package provider_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/deploy/analysis"
	"github.com/slipway-build/slipway/deploy/analysis/provider"
)

// answers serves one answer, and checks that it was asked as it should be.
func answers(t *testing.T, handle http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	return s.URL
}

func body(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, text)
	}
}

// answer is what comes of a measurement: a value, nothing, or an error that says something.
type answer struct {
	value float64
	found bool
	says  string
}

func (a answer) check(t *testing.T, p analysis.Provider, q analysis.Question) {
	t.Helper()
	value, found, err := p.Measure(t.Context(), q)
	switch {
	case a.says == "" && err != nil, a.says != "" && (err == nil || !strings.Contains(err.Error(), a.says)):
		t.Errorf("%v, want %q", err, a.says)
	case err == nil && (value != a.value || found != a.found):
		t.Errorf("%v, %t, want %v, %t", value, found, a.value, a.found)
	}
}

func TestJSON(t *testing.T) {
	const doc = `{"data": [{"a/b": {"~": 0.25}}], "none": null, "text": "1", "list": [1, 2e3]}`
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		field  string
		want   answer
	}{
		"a number":           {body(200, doc), "/data/0/a~1b/~0", answer{value: 0.25, found: true}},
		"in a list":          {body(200, doc), "/list/1", answer{value: 2000, found: true}},
		"beyond a list":      {body(200, doc), "/list/2", answer{}},
		"no such key":        {body(200, doc), "/data/0/b", answer{}},
		"below a number":     {body(200, doc), "/list/0/b", answer{}},
		"null":               {body(200, doc), "/none", answer{}},
		"a text":             {body(200, doc), "/text", answer{says: "/text in the answer is no number"}},
		"no JSON":            {body(200, "<html>"), "/a", answer{says: "the answer is no JSON"}},
		"more than JSON":     {body(200, "{} {}"), "/a", answer{says: "more than one JSON value"}},
		"beyond a float":     {body(200, `{"a": 1e999}`), "/a", answer{says: "out of range"}},
		"an error":           {body(503, "no slots"), "/a", answer{says: "HTTP 503 Service Unavailable: no slots"}},
		"too long an answer": {body(200, `{"a": "`+strings.Repeat("x", 1<<20)+`"}`), "/a", answer{says: "the answer has more than 1048576 bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := provider.NewJSON(provider.Endpoint{Address: answers(t, c.answer) + "/base/"})
			if err != nil {
				t.Fatal(err)
			}
			c.want.check(t, p, analysis.Question{Query: "/slo?a=b", Field: c.field})
		})
	}
}

// TestAsks: path, query and token are as they should be.
func TestAsks(t *testing.T) {
	address := answers(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/base/slo" || r.URL.RawQuery != "pods=%5Ba%5D%2B" || r.Header.Get("Authorization") != "Bearer secret" {
			t.Errorf("%s %s, %v", r.Method, r.URL, r.Header)
		}
		fmt.Fprint(w, "{\"a\": 1}")
	})
	p, err := provider.NewJSON(provider.Endpoint{Address: address + "/base", Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	answer{value: 1, found: true}.check(t, p, analysis.Question{Query: "/slo?pods=%5Ba%5D%2B", Field: "/a"})
	answer{says: `"@evil.example.com/" is not the path of a URL`}.check(t, p, analysis.Question{Query: "@evil.example.com/", Field: "/a"})
}

// TestRedirects: the token goes to no other host, and the same host may have moved something.
func TestRedirects(t *testing.T) {
	other := answers(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("another host was asked, with %v", r.Header) })
	address := answers(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away", "/api/v1/query":
			http.Redirect(w, r, other, http.StatusTemporaryRedirect)
		case "/moved":
			http.Redirect(w, r, "/here", http.StatusFound)
		case "/again":
			http.Redirect(w, r, "/again", http.StatusFound)
		default:
			fmt.Fprint(w, "1")
		}
	})
	e := provider.Endpoint{Address: address, Token: "secret"}
	p, err := provider.NewJSON(e)
	if err != nil {
		t.Fatal(err)
	}
	refused := answer{says: "a redirect to " + other + " is not followed: correct the address"}
	refused.check(t, p, analysis.Question{Query: "/away"})
	answer{value: 1, found: true}.check(t, p, analysis.Question{Query: "/moved"})
	answer{says: "a redirect to /again is not followed"}.check(t, p, analysis.Question{Query: "/again"})
	prometheus, err := provider.NewPrometheus(e)
	if err != nil {
		t.Fatal(err)
	}
	refused.check(t, prometheus, analysis.Question{Query: "up"})
}

func TestTLS(t *testing.T) {
	s := httptest.NewTLSServer(body(200, "7"))
	t.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	for _, c := range []struct {
		ca   []byte
		want answer
	}{{ca, answer{value: 7, found: true}}, {nil, answer{says: "certificate"}}} {
		p, err := provider.NewJSON(provider.Endpoint{Address: s.URL, CA: c.ca})
		if err != nil {
			t.Fatal(err)
		}
		c.want.check(t, p, analysis.Question{Query: "/"})
	}
	if _, err := provider.NewJSON(provider.Endpoint{Address: s.URL, CA: []byte("x")}); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Error(err)
	}
}

func TestAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"prometheus:9090": "want https://host:port", "ftp://a": "want https://host:port", "https://u:p@a": "nothing but", "https://a?b=c": "nothing but", "http://a": "needs https",
	} {
		if _, err := provider.NewPrometheus(provider.Endpoint{Address: address, Token: "t"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", address, err, want)
		}
	}
	if _, err := provider.NewPrometheus(provider.Endpoint{Address: "http://prometheus.monitoring:9090"}); err != nil {
		t.Error(err)
	}
}

// TestPrometheusAnswers are those that a real one is slow or unwilling to give.
func TestPrometheusAnswers(t *testing.T) {
	vector := func(samples string) http.HandlerFunc {
		return body(200, `{"status": "success", "data": {"resultType": "vector", "result": [`+samples+`]}}`)
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   answer
	}{
		"one":        {vector(`{"metric": {}, "value": [1, "0.5"]}`), answer{value: 0.5, found: true}},
		"a proxy":    {body(502, "bad gateway"), answer{says: "502"}},
		"too many":   {body(503, `{"status": "error", "errorType": "unavailable", "error": "too many queries"}`), answer{says: "too many queries"}},
		"no JSON":    {body(200, "<html>"), answer{says: "bad_response"}},
		"too long":   {vector(`{"metric": {"a": "` + strings.Repeat("x", 1<<20) + `"}, "value": [1, "0.5"]}`), answer{says: "the answer has more than 1048576 bytes"}},
		"histograms": {vector(`{"metric": {}, "histogram": [1, {"count": "1", "sum": "1", "buckets": []}]}`), answer{says: "histogram_quantile"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := provider.NewPrometheus(provider.Endpoint{Address: answers(t, c.answer)})
			if err != nil {
				t.Fatal(err)
			}
			c.want.check(t, p, analysis.Question{Query: "up"})
		})
	}
}

// TestGivesUp as soon as its time is over.
func TestGivesUp(t *testing.T) {
	asked, done := make(chan struct{}), make(chan struct{})
	address := answers(t, func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		select {
		case <-r.Context().Done():
		case <-done:
		}
	})
	t.Cleanup(func() { close(done) })
	p, err := provider.NewPrometheus(provider.Endpoint{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, _, err := p.Measure(ctx, analysis.Question{Query: "up"})
		ended <- err
	}()
	<-asked
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// datadog is a stand-in for GET /api/v1/query, made from Datadog's published reference of its API: the real one cannot be
// reached from tests. It refuses what the reference does not have.
type datadog struct {
	t      *testing.T
	now    time.Time
	answer string
}

func (d datadog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	var from, to int64
	if _, err := fmt.Sscan(query.Get("from")+" "+query.Get("to"), &from, &to); err != nil || from >= to || to != d.now.Unix() || to-from > 3600 {
		d.t.Errorf("from %s to %s", query.Get("from"), query.Get("to"))
	}
	for name := range query {
		if !slices.Contains([]string{"from", "to", "query"}, name) {
			d.t.Errorf("there is no parameter %s", name)
		}
	}
	switch {
	case r.Method != http.MethodGet || r.URL.Path != "/api/v1/query" || query.Get("query") == "":
		d.t.Errorf("%s %s", r.Method, r.URL)
	case r.Header.Get("DD-API-KEY") != "api" || r.Header.Get("DD-APPLICATION-KEY") != "app":
		body(403, `{"errors": ["Forbidden"]}`)(w, r)
	default:
		body(200, d.answer)(w, r)
	}
}

func TestDatadog(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	series := func(points ...string) string {
		all := make([]string, len(points))
		for i, p := range points {
			all[i] = `{"scope": "kube_deployment:d` + fmt.Sprint(i) + `", "expression": "avg:errors{*}", "interval": 20, "length": 2, "pointlist": [` + p + `]}`
		}
		return `{"status": "ok", "res_type": "time_series", "from_date": 1, "to_date": 2, "query": "q", "message": "", "group_by": [], "series": [` + strings.Join(all, ", ") + `]}`
	}
	for name, c := range map[string]struct {
		key, answer string
		want        answer
	}{
		"the newest point": {"api", series("[1.0, 5], [2.0, 0.25]"), answer{value: 0.25, found: true}},
		"that has a value": {"api", series("[1.0, 5], [2.0, null]"), answer{value: 5, found: true}},
		"none has":         {"api", series("[1.0, null]"), answer{}},
		"no point":         {"api", series(""), answer{}},
		"no series":        {"api", series(), answer{}},
		"two series":       {"api", series("[1.0, 5]", "[1.0, 6]"), answer{says: "the query has 2 answers, as of kube_deployment:d0 and kube_deployment:d1"}},
		"a wrong query":    {"api", `{"status": "error", "error": "Error parsing query", "series": []}`, answer{says: "error: Error parsing query"}},
		"a wrong key":      {"other", "", answer{says: "Forbidden"}},
		"not its API":      {"api", `{"series": 5}`, answer{says: "not what Datadog's API says"}},
		"an odd point":     {"api", series("[null, 5]"), answer{says: "a point without a time"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(datadog{t, now, c.answer})
			t.Cleanup(s.Close)
			p, err := provider.NewDatadog(s.URL, c.key, "app", func() time.Time { return now })
			if err != nil {
				t.Fatal(err)
			}
			c.want.check(t, p, analysis.Question{Query: "avg:errors{kube_deployment:web-canary}"})
		})
	}
}
