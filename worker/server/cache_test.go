package server_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/worker/config"
)

// cacheRegistry is one whose manifests are counted, and which can stop answering to those who push.
type cacheRegistry struct {
	host string

	mu       sync.Mutex
	hangs    bool
	pushed   chan string // paths of manifests
	hanging  chan struct{}
	anything sync.Once
}

func newCacheRegistry(t *testing.T) *cacheRegistry {
	t.Helper()
	c := &cacheRegistry{pushed: make(chan string, 100), hanging: make(chan struct{})}
	behind := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		hangs := c.hangs
		c.mu.Unlock()
		if hangs && r.Method == http.MethodPost {
			c.anything.Do(func() { close(c.hanging) })
			<-r.Context().Done()
			return
		}
		behind.ServeHTTP(w, r)
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
			c.pushed <- r.URL.Path
		}
	}))
	t.Cleanup(s.Close)
	c.host = strings.TrimPrefix(s.URL, "http://")
	return c
}

func (f *farm) scrape(t *testing.T) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+f.metrics+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer scrape")
	resp, err := (&http.Client{}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestCache: what a worker built is in the cache after its answer, what a stranger's commit built is not, and an export that
// hangs holds up no worker that stops.
func TestCache(t *testing.T) {
	r := newCacheRegistry(t)
	f := start(t, func(c *config.Config) { c.Cache = &config.Cache{Registry: r.host + "/cache"} })
	c := f.coordinator
	build := func(id, target string, cacheable bool) {
		t.Helper()
		work := f.build(target)
		work.Cacheable = cacheable
		g := &pb.Grant{TaskId: "build/" + id, Work: &pb.Grant_Build{Build: work}, Timeout: durationpb.New(time.Minute)}
		c.grant(t, "build", g)
		want(t, c.completion(t, "build_"+id), pb.Outcome_OUTCOME_SUCCEEDED)
	}
	build("stranger", "base", false)
	build("own", "", true)
	if path := <-r.pushed; path != "/v2/cache/shop/api/manifests/linux-amd64" {
		t.Errorf("exported to %s", path)
	}
	r.mu.Lock()
	r.hangs = true
	r.mu.Unlock()
	build("slow", "slow", true)
	<-r.hanging
	metrics := f.scrape(t)
	for _, w := range []string{`slipway_worker_cache_reads_total{result="missing"} 2`, `slipway_worker_cache_exports_total{result="done"} 1`, `slipway_worker_cache_exports_total{result="failed"} 0`} {
		if !strings.Contains(metrics, w+"\n") {
			t.Errorf("no %s in\n%s", w, metrics)
		}
	}
	begin := time.Now()
	f.stop()
	err := <-f.ended
	f.ended <- err
	if took := time.Since(begin); err != nil || took > 15*time.Second {
		t.Errorf("the worker took %s to stop: %v", took, err)
	}
	select {
	case path := <-r.pushed:
		t.Errorf("more than was wanted was exported: %s", path)
	default:
	}
}
