package submit_test

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/coordinator/submit"
)

// TestARegistryIsAskedHowOnce, and again after it could not answer.
func TestARegistryIsAskedHowOnce(t *testing.T) {
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	var pings atomic.Int32
	var down atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case down.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case r.URL.Path == "/v2/":
			pings.Add(1)
		}
		images.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	repo := strings.TrimPrefix(srv.URL, "http://") + "/shop/api"
	tag, err := name.NewTag(repo + ":latest")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, empty.Image); err != nil {
		t.Fatal(err)
	}
	d, err := empty.Image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	pings.Store(0)
	r := submit.NewRegistry(authn.NewMultiKeychain())
	ask := func(ref string, want bool) {
		t.Helper()
		if got, err := r.Exists(t.Context(), ref); err != nil || got != want {
			t.Errorf("%s is there: %t, %v; want %t", ref, got, err, want)
		}
	}
	here, gone := repo+"@"+d.String(), repo+"@sha256:"+strings.Repeat("0", 64)
	for range 3 {
		ask(here, true)
		ask(gone, false)
	}
	if n := pings.Load(); n != 1 {
		t.Errorf("it was asked %d times how it wants to be asked, want once", n)
	}
	down.Store(true)
	if _, err := r.Exists(t.Context(), here); !errors.Is(err, submit.ErrRegistry) {
		t.Errorf("a registry that is down: %v", err)
	}
	if _, err := r.Exists(t.Context(), strings.Replace(here, "/api@", "/web@", 1)); !errors.Is(err, submit.ErrRegistry) {
		t.Errorf("a registry that is down: %v", err)
	}
	down.Store(false)
	ask(here, true)
	ask(strings.Replace(here, "/api@", "/web@", 1), false)
}
