package server

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/coordinator/config"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/internal/cosign/cosigntest"
)

func testSigner(t *testing.T) *signer {
	t.Helper()
	s, err := newSigner(config.Signing{Key: cosigntest.Key(t)}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// pushed is an image in a registry, all of whose requests go through a handler first.
func pushed(t *testing.T, around func(http.ResponseWriter, *http.Request, http.Handler)) string {
	t.Helper()
	whole := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	ready := false
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !ready {
			whole.ServeHTTP(w, r)
			return
		}
		around(w, r, whole)
	}))
	t.Cleanup(srv.Close)
	img, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewDigest(strings.TrimPrefix(srv.URL, "http://")+"/shop/api@"+digest.String(), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	ready = true
	return ref.String()
}

// TestWhatIsNotSigned: another key than the plan names, nothing, and what a registry refuses, which is not asked for minutes.
func TestWhatIsNotSigned(t *testing.T) {
	s := testSigner(t)
	var none *signer
	image := pushed(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodPost || r.Method == http.MethodPut {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
	gone := image[:len(image)-1] + "0"
	if gone == image {
		gone = image[:len(image)-1] + "1"
	}
	for name, c := range map[string]struct {
		s     *signer
		key   string
		built plan.Result
		want  string
	}{
		"another key": {s, "00000000", plan.Result{Image: image}, "this coordinator has " + s.id()},
		"no key":      {none, s.id(), plan.Result{Image: image}, "this coordinator has none"},
		"no image":    {s, s.id(), plan.Result{}, "the build left no image"},
		"refused":     {s, s.id(), plan.Result{Image: image}, "registry_auth of the coordinator must allow it to push there"},
		"gone":        {s, s.id(), plan.Result{Image: gone}, "the registry has no such image"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // less than it would be asked again for
		if _, err := c.s.sign(ctx, c.key, c.built); err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}

// TestARegistryThatIsAwayForAMoment is asked again; a build that pushed no more than its image has no provenance.
func TestARegistryThatIsAwayForAMoment(t *testing.T) {
	s := testSigner(t)
	refused := 0
	image := pushed(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if refused < 5 {
			refused++
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
	message, err := s.sign(t.Context(), s.id(), plan.Result{Image: image, Index: image})
	if err != nil || message != "signed with key "+s.id() || refused < 5 {
		t.Errorf("%q, %v, refused %d times", message, err, refused)
	}
}
