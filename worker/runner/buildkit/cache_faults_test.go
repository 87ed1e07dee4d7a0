package buildkit_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
	"github.com/slipway-build/slipway/worker/runner/buildkit/buildkittest"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
)

// TestCacheBroken: whatever is wrong with the cache costs the cache and a bounded time.
func TestCacheBroken(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	hangs := func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-stop:
		case <-r.Context().Done():
		}
		return true
	}
	answers := func(code int, text string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			w.WriteHeader(code)
			_, _ = w.Write([]byte(text))
			return true
		}
	}
	// Of blobs the first is the configuration.
	layers := func(fault func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
		var mu sync.Mutex
		n := 0
		return func(w http.ResponseWriter, r *http.Request) bool {
			mu.Lock()
			n++
			first := n == 1
			mu.Unlock()
			return !first && fault(w, r)
		}
	}
	f := newFront(t)
	one := newCached(t, f.host)
	one.build(t, "one", nil)
	one.exports(t)
	for what, c := range map[string]struct {
		stage string
		fault func(http.ResponseWriter, *http.Request) bool
	}{
		"does not answer":         {"GET manifest", hangs},
		"502":                     {"GET manifest", answers(502, "bad")},
		"denies":                  {"GET manifest", answers(403, "no")},
		"garbage":                 {"GET manifest", answers(200, "garbage")},
		"something else":          {"GET manifest", answers(200, `{"schemaVersion":2,"config":{"mediaType":"text/plain"}}`)},
		"no configuration":        {"GET blob", answers(404, "{}")},
		"garbage in it":           {"GET blob", answers(200, "{}")},
		"configuration hangs":     {"GET blob", hangs},
		"layers are gone":         {"GET blob", layers(answers(404, "{}"))},
		"layers are garbage":      {"GET blob", layers(answers(200, strings.Repeat("x", 1<<20)))},
		"layers hang":             {"GET blob", layers(hangs)},
		"layers break off":        {"GET blob", layers(func(w http.ResponseWriter, _ *http.Request) bool { panic(http.ErrAbortHandler) })},
		"layers are not answered": {"GET blob", layers(answers(500, ""))},
	} {
		t.Run(what, func(t *testing.T) {
			f.breaks(c.stage, c.fault)
			defer f.breaks("", nil)
			other := newCached(t, f.host)
			begin := time.Now()
			o, rec := other.build(t, "two "+what, nil)
			took := time.Since(begin)
			wantRan(t, what, o, everything)
			if took > 15*time.Second || other.counts[buildkit.CacheFound]+other.counts[buildkit.CacheFailed]+other.counts[buildkit.CacheMissing] == 0 {
				t.Errorf("took %s: %v\n%s", took, other.counts, rec.Log())
			}
			t.Logf("took %s: %v", took, other.counts)
			f.breaks("", nil)
			if o, _ := other.build(t, "three "+what, nil); true {
				wantRan(t, "then", o, "cat")
			}
			if n := other.exports(t); n == 0 {
				t.Error("nothing is exported any more")
			}
		})
	}
	t.Run("nobody is there", func(t *testing.T) {
		other := newCached(t, "127.0.0.1:1")
		o, _ := other.build(t, "two", nil)
		wantRan(t, "without a registry", o, everything)
		for _, run := range other.jobs {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			err := run(ctx)
			cancel()
			if err == nil {
				t.Error("an export to nobody succeeds")
			}
		}
		o, _ = other.build(t, "two", nil)
		wantRan(t, "again", o, "")
	})
}

// TestCacheDenied: a registry that refuses the cache of one service is asked for those of others.
func TestCacheDenied(t *testing.T) {
	f := newFront(t)
	one := newCached(t, f.host)
	one.build(t, "one", nil)
	one.exports(t)
	f.breaks("GET manifest", func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/cache/shop/web/") {
			http.Error(w, "{}", http.StatusForbidden)
			return true
		}
		return false
	})
	other := newCached(t, f.host)
	web := task(t, buildkittest.Base, nil)
	web.Service = "web"
	runnertest.Want(t, other.builder.Run(t.Context(), web, &runnertest.Recorder{}), runner.Succeeded, runner.ClassNone)
	if other.counts[buildkit.CacheMissing] != 1 {
		t.Errorf("of a service that is refused: %v", other.counts)
	}
	o, _ := other.build(t, "one", nil)
	if ran(o) != "" || other.counts[buildkit.CacheFound] != 1 {
		t.Errorf("of another service: %q, %v", ran(o), other.counts)
	}
}

// TestCacheExportHangs: an export that gets no answer is in nobody's way, and ends when it is told to.
func TestCacheExportHangs(t *testing.T) {
	f := newFront(t)
	one := newCached(t, f.host)
	one.build(t, "one", nil)
	began := make(chan struct{})
	once := sync.OnceFunc(func() { close(began) })
	f.breaks("POST blob", func(_ http.ResponseWriter, r *http.Request) bool {
		once()
		<-r.Context().Done()
		return true
	})
	ctx, cancel := context.WithCancel(t.Context())
	end := make(chan error, 1)
	go func() { end <- one.jobs[0](ctx) }()
	<-began
	begin := time.Now()
	o, _ := one.build(t, "two", nil)
	wantRan(t, "beside an export that hangs", o, "cat")
	t.Logf("beside it a build took %s", time.Since(begin))
	begin = time.Now()
	cancel()
	if err := <-end; err == nil {
		t.Error("no error")
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %s to end", took)
	}
	f.breaks("", nil)
	one.jobs = one.jobs[1:]
	if n := one.exports(t); n != 1 {
		t.Errorf("%d exports", n)
	}
}
