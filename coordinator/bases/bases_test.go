package bases_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/coordinator/bases"
	"github.com/slipway-build/slipway/coordinator/planner"
	"github.com/slipway-build/slipway/internal/natstest"
)

// place is a registry that counts who asks for manifests, and may be down.
type place struct {
	*httptest.Server
	host  string
	asked atomic.Int32
	down  atomic.Bool
}

func start(t *testing.T) *place {
	t.Helper()
	p := &place{}
	images := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)))
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead || r.Method == http.MethodGet {
			if strings.Contains(r.URL.Path, "/manifests/") {
				p.asked.Add(1)
			}
			if p.down.Load() {
				http.Error(w, "down", http.StatusServiceUnavailable)
				return
			}
		}
		images.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	p.host = strings.TrimPrefix(p.URL, "http://")
	return p
}

// push makes a new image, lets the tag mean it, and answers its digest.
func (p *place) push(t *testing.T, repository string) string {
	t.Helper()
	img, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(p.host + "/" + repository)
	if err == nil {
		err = remote.Write(ref, img)
	}
	if err != nil {
		t.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

// hours is a clock that the test moves.
type hours struct{ at atomic.Int64 }

func (h *hours) Now() time.Time { return time.Unix(h.at.Load(), 0) }

func resolver(t *testing.T, edit func(*bases.Config)) (*bases.Resolver, *hours) {
	t.Helper()
	memory, err := bases.OpenMemory(t.Context(), natstest.Start(t).JetStream(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	h := &hours{}
	h.at.Store(1000)
	cfg := bases.Config{Keychain: authn.DefaultKeychain, Memory: memory, Fresh: time.Minute, Now: h.Now, Log: slog.New(slog.DiscardHandler)}
	edit(&cfg)
	return bases.New(cfg), h
}

func TestATagThatMoves(t *testing.T) {
	mirror := start(t)
	memory := (*bases.Memory)(nil)
	r, h := resolver(t, func(c *bases.Config) {
		c.Mirrors = map[string][]string{"docker.io": {"127.0.0.1:1/nobody", mirror.host + "/mirror"}}
		memory = c.Memory
	})
	const image = "docker.io/library/golang:1.26"
	is := func(want string) {
		t.Helper()
		if got := r.Resolve(t.Context(), []string{image})[image].Digest; got != want {
			t.Errorf("it is %q, want %q", got, want)
		}
	}
	first := mirror.push(t, "mirror/library/golang:1.26")
	before := mirror.asked.Load()
	var g sync.WaitGroup
	for range 20 {
		g.Go(func() { is(first) })
	}
	g.Wait()
	if n := mirror.asked.Load() - before; n != 1 {
		t.Errorf("twenty who ask at once make %d requests", n)
	}
	second := mirror.push(t, "mirror/library/golang:1.26")
	is(first) // it is believed for a while
	h.at.Add(61)
	is(second)
	// Nobody answers: it is what it was, also for a coordinator that begins anew.
	mirror.down.Store(true)
	h.at.Add(61)
	is(second)
	anew := bases.New(bases.Config{Mirrors: map[string][]string{"docker.io": {mirror.host + "/mirror"}}, Keychain: authn.DefaultKeychain, Memory: memory, Fresh: time.Minute, Now: h.Now, Log: slog.New(slog.DiscardHandler)})
	if got := anew.Resolve(t.Context(), []string{image})[image]; got.Digest != second || got.Was != first {
		t.Errorf("to another one it is %+v, want %s, and %s before", got, second, first)
	}
}

func TestWhatCannotMoveIsNotAskedFor(t *testing.T) {
	r, _ := resolver(t, func(*bases.Config) {})
	const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	got := r.Resolve(t.Context(), []string{"registry.invalid/other:1", "registry.invalid/base:1@" + digest, "registry.invalid/another:1"})
	if len(got) != 1 || got["registry.invalid/base:1@"+digest].Digest != digest {
		t.Errorf("got %v", got)
	}
}

// TestTheMachineItselfIsNoRegistry: a stranger's Dockerfile may name it; what the platform names is asked.
func TestTheMachineItselfIsNoRegistry(t *testing.T) {
	here := start(t)
	digest := here.push(t, "base:1")
	image := here.host + "/base:1"
	before := here.asked.Load()
	for _, trusted := range []bool{false, true} {
		r, _ := resolver(t, func(c *bases.Config) {
			if trusted {
				c.Trusted = []string{here.host}
			}
		})
		got := r.Resolve(t.Context(), []string{image, "169.254.169.254/latest:meta-data", "[::1]:5000/x:1", "nobody.invalid/x:1"})
		if trusted && (len(got) != 1 || got[image].Digest != digest) || !trusted && len(got) != 0 {
			t.Errorf("trusted %t: got %v", trusted, got)
		}
		if asked := here.asked.Load() - before; !trusted && asked != 0 {
			t.Errorf("it was asked %d times", asked)
		}
	}
}

// TestWhatIsNotAnsweredInTimeIsWhatItWas: however many images a plan names whose registry hangs, and
// whoever goes waits for none.
func TestWhatIsNotAnsweredInTimeIsWhatItWas(t *testing.T) {
	hung := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hung }))
	defer slow.Close()
	defer close(hung)
	host := strings.TrimPrefix(slow.URL, "http://")
	var memory *bases.Memory
	r, _ := resolver(t, func(c *bases.Config) {
		c.Trusted, c.Wait, memory = []string{host}, 50*time.Millisecond, c.Memory
	})
	var images []string
	for i := range 100 {
		images = append(images, fmt.Sprint(host, "/base:", i))
	}
	is := planner.Tag{Digest: "sha256:02", Was: "sha256:01"}
	if err := memory.Keep(t.Context(), images[99], is); err != nil {
		t.Fatal(err)
	}
	if got := r.Resolve(t.Context(), images); len(got) != 1 || got[images[99]] != is {
		t.Errorf("got %v, want what the last one was", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := r.Resolve(ctx, images); len(got) != 0 {
		t.Errorf("who has gone is told %v", got)
	}
}

// TestWhatNobodySaysIsLogged, with the image, who was asked, and what follows.
func TestWhatNobodySaysIsLogged(t *testing.T) {
	var log lines
	r, _ := resolver(t, func(c *bases.Config) {
		c.Mirrors = map[string][]string{"nobody.invalid": {"127.0.0.1:1/mirror"}}
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		if err := c.Memory.Keep(t.Context(), "nobody.invalid/known:1", planner.Tag{Digest: "sha256:02"}); err != nil {
			t.Fatal(err)
		}
	})
	r.Resolve(t.Context(), []string{"nobody.invalid/base:1", "nobody.invalid/known:1", "127.0.0.1:9/base:1"})
	text := log.String()
	for _, want := range []string{
		`msg="no registry says what a base image is: when its tag moves, what stands on it is not built again" image=nobody.invalid/base:1`, "127.0.0.1:1/mirror: ",
		`msg="no registry says what a base image is now; it is taken for what it was" image=nobody.invalid/known:1 digest=sha256:02`,
		"image=127.0.0.1:9/base:1", "no registry is asked at this address: it is the machine's own, or of its link: 127.0.0.1",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in the log:\n%s", want, text)
		}
	}
}

// lines is a log that is read while it is written.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
