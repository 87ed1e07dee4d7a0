package cachestore_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/worker/runner/cachestore"
)

// served is a registry with one cache, that asks for a password.
type served struct {
	host  string
	layer []byte

	mu    sync.Mutex
	stall bool          // layers
	piece int           // of a layer that is sent at once; 0: all of it
	pause time.Duration // after each
	reads int           // of layers
}

func (s *served) set(stall bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stall = stall
}

func newServed(t *testing.T) *served {
	t.Helper()
	return newServedOf(t, 3<<20)
}

func newServedOf(t *testing.T, size int) *served {
	t.Helper()
	s := &served{layer: make([]byte, size)}
	_, _ = rand.Read(s.layer)
	behind := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, secret, _ := r.BasicAuth(); user != "u" || secret != "p" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			http.Error(w, "{}", http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/blobs/"+digest.FromBytes(s.layer).String()) {
			s.mu.Lock()
			s.reads++
			stall, piece, pause := s.stall, s.piece, s.pause
			s.mu.Unlock()
			for rest := s.layer; piece > 0; rest = rest[piece:] {
				if _, err := w.Write(rest[:min(piece, len(rest))]); err != nil || len(rest) <= piece {
					return
				}
				w.(http.Flusher).Flush()
				<-time.After(pause)
			}
			if stall {
				_, _ = w.Write(s.layer[:1000])
				w.(http.Flusher).Flush()
				<-r.Context().Done()
				return
			}
		}
		behind.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	s.host = strings.TrimPrefix(srv.URL, "http://")
	config := []byte(`{"layers":[],"records":[]}`)
	for _, blob := range [][]byte{s.layer, config} {
		s.put(t, http.MethodPost, "/v2/cache/api/blobs/uploads/?digest="+digest.FromBytes(blob).String(), blob)
	}
	s.put(t, http.MethodPut, "/v2/cache/api/manifests/x", []byte(fmt.Sprintf(
		`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.buildkit.cacheconfig.v0","digest":%q,"size":%d},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		ocispecs.MediaTypeImageManifest, digest.FromBytes(config), len(config), ocispecs.MediaTypeImageLayerZstd, digest.FromBytes(s.layer), len(s.layer))))
	return s
}

func (s *served) put(t *testing.T, method, path string, data []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.host+path, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("u", "p")
	req.Header.Set("Content-Type", ocispecs.MediaTypeImageManifest)
	res, err := new(http.Client).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		t.Fatalf("%s %s: %s", method, path, res.Status)
	}
}

func (s *served) registry(t *testing.T, secret string) *cachestore.Registry {
	t.Helper()
	r := cachestore.New(cachestore.Options{
		Keychain: password(secret), Answer: time.Second, Stall: 200 * time.Millisecond,
	})
	t.Cleanup(r.Close)
	return r
}

type password string

func (p password) Resolve(authn.Resource) (authn.Authenticator, error) {
	return &authn.Basic{Username: "u", Password: string(p)}, nil
}

func TestRead(t *testing.T) {
	s := newServed(t)
	r := s.registry(t, "p")
	c, err := r.Open(t.Context(), s.host+"/cache/api:x", true)
	if err != nil {
		t.Fatal(err)
	}
	store := c.Store(t.Context())
	defer store.Close()
	manifest := read(t, store, c.Digest)
	if digest.FromBytes(manifest) != c.Digest {
		t.Errorf("manifest: %s", manifest)
	}
	layer := digest.FromBytes(s.layer)
	if got := read(t, store, layer); !bytes.Equal(got, s.layer) {
		t.Error("another layer")
	}
	if s.reads != 1 {
		t.Errorf("%d requests for a layer that was read in order", s.reads)
	}
	ra, err := store.ReaderAt(t.Context(), ocispecs.Descriptor{Digest: layer})
	if err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{100, 5000, 7, int64(len(s.layer)) - 3} { // in any order
		p := make([]byte, 10)
		n, err := ra.ReadAt(p, off)
		want := s.layer[off:min(off+10, int64(len(s.layer)))]
		if !bytes.Equal(p[:n], want) || (err != nil) != (len(want) < 10) {
			t.Errorf("at %d: %d bytes, %v", off, n, err)
		}
	}
	if _, err := store.ReaderAt(t.Context(), ocispecs.Descriptor{Digest: digest.FromString("other")}); err == nil {
		t.Error("it has what it has not")
	}
	if _, err := store.Writer(t.Context()); err == nil {
		t.Error("it is written to")
	}
	if err := store.Failed(); err != nil {
		t.Error(err)
	}
}

func read(t *testing.T, s *cachestore.Store, d digest.Digest) []byte {
	t.Helper()
	var out []byte
	for { // as BuildKit does
		info, err := s.Info(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		ra, err := s.ReaderAt(t.Context(), ocispecs.Descriptor{Digest: d})
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 1<<20)
		n, err := ra.ReadAt(p, int64(len(out)))
		out = append(out, p[:n]...)
		if err = errors.Join(err, ra.Close()); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if int64(len(out)) == info.Size {
			return out
		}
	}
}

func TestStalls(t *testing.T) {
	s := newServed(t)
	c, err := s.registry(t, "p").Open(t.Context(), s.host+"/cache/api:x", true)
	if err != nil {
		t.Fatal(err)
	}
	s.set(true)
	store := c.Store(t.Context())
	defer store.Close()
	ra, err := store.ReaderAt(t.Context(), ocispecs.Descriptor{Digest: digest.FromBytes(s.layer)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ra.ReadAt(make([]byte, 1<<20), 0); err == nil || !strings.Contains(err.Error(), "nothing came for 200ms") {
		t.Errorf("a layer that stalls: %v", err)
	}
	s.set(false)
	if _, err := ra.ReadAt(make([]byte, 1<<20), 0); err == nil || store.Failed() == nil {
		t.Errorf("what broke is read again: %v, %v", err, store.Failed())
	}
	whole := c.Store(t.Context())
	read(t, whole, digest.FromBytes(s.layer))
	whole.Close()
	if _, err := whole.ReaderAt(t.Context(), ocispecs.Descriptor{Digest: digest.FromBytes(s.layer)}); err != nil {
		t.Fatal(err)
	}
}

// TestSlow: a layer that always brings something is waited for while it is no slower than it may be, also where it is not
// read from its beginning.
func TestSlow(t *testing.T) {
	for _, c := range []struct {
		name  string
		piece int
		pause time.Duration
		bad   string
	}{
		{"longer than a stall", 128 << 10, 100 * time.Millisecond, ""},
		{"too slow", 1 << 10, 20 * time.Millisecond, "took longer than 1.5s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServedOf(t, 1<<20)
			s.piece, s.pause = c.piece, c.pause
			r := cachestore.New(cachestore.Options{Keychain: password("p"), Stall: 500 * time.Millisecond})
			t.Cleanup(r.Close)
			found, err := r.Open(t.Context(), s.host+"/cache/api:x", true)
			if err != nil {
				t.Fatal(err)
			}
			store := found.Store(t.Context())
			defer store.Close()
			ra, err := store.ReaderAt(t.Context(), ocispecs.Descriptor{Digest: digest.FromBytes(s.layer)})
			if err != nil {
				t.Fatal(err)
			}
			p := make([]byte, 10)
			_, err = ra.ReadAt(p, 1<<20-10)
			switch {
			case c.bad == "" && (err != nil || !bytes.Equal(p, s.layer[1<<20-10:])):
				t.Error(err)
			case c.bad != "" && (err == nil || !strings.Contains(err.Error(), c.bad) || store.Failed() == nil):
				t.Errorf("%v, want one that %s", err, c.bad)
			}
		})
	}
}

func TestOpen(t *testing.T) {
	s := newServed(t)
	if _, err := s.registry(t, "p").Open(t.Context(), s.host+"/cache/web:x", true); !errors.Is(err, cachestore.ErrMissing) {
		t.Errorf("a cache that is not there: %v", err)
	}
	if _, err := s.registry(t, "wrong").Open(t.Context(), s.host+"/cache/api:x", true); !errors.Is(err, cachestore.ErrDenied) {
		t.Errorf("a wrong password: %v", err)
	}
	s.put(t, http.MethodPut, "/v2/cache/api/manifests/y", []byte(`{"schemaVersion":2,"config":{"mediaType":"text/plain"}}`))
	if _, err := s.registry(t, "p").Open(t.Context(), s.host+"/cache/api:y", true); !errors.Is(err, cachestore.ErrUnusable) {
		t.Errorf("an image: %v", err)
	}
}
