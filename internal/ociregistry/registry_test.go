package ociregistry_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/slipway-build/slipway/internal/ociregistry"
)

var credentials = []ociregistry.Credential{
	{User: "reader", Password: "r", Role: ociregistry.Pull},
	{User: "builder", Password: "b", Role: ociregistry.Push},
	{User: "bases", Password: "m", Role: ociregistry.Mirror},
}

func basic(user, password string) remote.Option {
	return remote.WithAuth(&authn.Basic{Username: user, Password: password})
}

// serve runs a registry on its listeners and returns a function that stops it and waits.
func serve(t *testing.T, cfg ociregistry.Config, listeners ...net.Listener) (stop func()) {
	t.Helper()
	cfg.Credentials = credentials
	server, err := ociregistry.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx, listeners...) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run registry: %v", err)
		}
		done <- nil
	}
	t.Cleanup(stop)
	return stop
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func reference(t *testing.T, s string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func image(t *testing.T) v1.Image {
	t.Helper()
	img, err := random.Image(2048, 2)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func wantStatus(t *testing.T, err error, status int) {
	t.Helper()
	var te *transport.Error
	if !errors.As(err, &te) {
		t.Fatalf("got error %v, want HTTP status %d", err, status)
	}
	if te.StatusCode != status {
		t.Errorf("got HTTP status %d (%v), want %d", te.StatusCode, err, status)
	}
}

func TestContentOutlivesTheProcess(t *testing.T) {
	cfg := ociregistry.Config{Dir: t.TempDir(), MirrorDir: t.TempDir()}
	first := listen(t)
	stop := serve(t, cfg, first)
	img, base := image(t), image(t)
	host := first.Addr().String()
	if err := remote.Write(reference(t, host+"/shop/cart:abc"), img, basic("builder", "b")); err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(reference(t, host+"/"+ociregistry.MirrorPrefix+"/library/alpine:3.22"), base, basic("bases", "m")); err != nil {
		t.Fatal(err)
	}
	stop()

	second := listen(t)
	serve(t, cfg, second)
	host = second.Addr().String()
	for repo, want := range map[string]v1.Image{
		host + "/shop/cart:abc": img,
		host + "/" + ociregistry.MirrorPrefix + "/library/alpine:3.22": base,
	} {
		got, err := remote.Image(reference(t, repo), basic("reader", "r"))
		if err != nil {
			t.Fatalf("pull %s after a restart: %v", repo, err)
		}
		gotDigest, err := got.Digest()
		if err != nil {
			t.Fatal(err)
		}
		wantDigest, err := want.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if gotDigest != wantDigest {
			t.Errorf("%s is %s after a restart, was %s", repo, gotDigest, wantDigest)
		}
		layers, err := got.Layers()
		if err != nil {
			t.Fatal(err)
		}
		if len(layers) != 2 {
			t.Errorf("%s has %d layers, want 2", repo, len(layers))
		}
	}
}

func TestCredentials(t *testing.T) {
	l := listen(t)
	serve(t, ociregistry.Config{Dir: t.TempDir(), MirrorDir: t.TempDir()}, l)
	host := l.Addr().String()
	img := image(t)
	if err := remote.Write(reference(t, host+"/shop/cart:1"), img, basic("builder", "b")); err != nil {
		t.Fatal(err)
	}

	_, err := remote.Head(reference(t, host+"/shop/cart:1"))
	wantStatus(t, err, http.StatusUnauthorized)
	_, err = remote.Head(reference(t, host+"/shop/cart:1"), basic("reader", "wrong"))
	wantStatus(t, err, http.StatusUnauthorized)
	if _, err := remote.Head(reference(t, host+"/shop/cart:1"), basic("builder", "b")); err != nil {
		t.Errorf("a push credential may pull too: %v", err)
	}

	err = remote.Write(reference(t, host+"/shop/cart:2"), img, basic("reader", "r"))
	wantStatus(t, err, http.StatusForbidden)
	if !strings.Contains(err.Error(), "needs a push credential; the one sent is for pull") {
		t.Errorf("the refusal does not say what is needed: %v", err)
	}
	err = remote.Write(reference(t, host+"/"+ociregistry.MirrorPrefix+"/library/alpine:3"), img, basic("builder", "b"))
	wantStatus(t, err, http.StatusForbidden)
}

func TestWithoutMirror(t *testing.T) {
	l := listen(t)
	serve(t, ociregistry.Config{Dir: t.TempDir()}, l)
	ref := reference(t, l.Addr().String()+"/"+ociregistry.MirrorPrefix+"/library/alpine:3")
	_, err := remote.Get(ref, basic("reader", "r"))
	wantStatus(t, err, http.StatusNotFound)
}

func TestBadConfiguration(t *testing.T) {
	for name, cfg := range map[string]ociregistry.Config{
		"no folder":      {},
		"empty password": {Dir: t.TempDir(), Credentials: []ociregistry.Credential{{User: "u", Role: ociregistry.Pull}}},
		"no role":        {Dir: t.TempDir(), Credentials: []ociregistry.Credential{{User: "u", Password: "p"}}},
		"not a folder":   {Dir: "/dev/null/registry"},
	} {
		if server, err := ociregistry.New(cfg); err == nil {
			server.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestTLSServesTheSameContent(t *testing.T) {
	now := time.Now()
	dir := t.TempDir()
	ca, err := ociregistry.OpenCA(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	plain, inner := listen(t), listen(t)
	secure, err := ca.Listener(inner, now, "127.0.0.1", "registry.slipway.test")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, ociregistry.Config{Dir: t.TempDir()}, plain, secure)
	img := image(t)
	if err := remote.Write(reference(t, plain.Addr().String()+"/shop/cart:1"), img, basic("builder", "b")); err != nil {
		t.Fatal(err)
	}

	again, err := ociregistry.OpenCA(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	if string(again.PEM()) != string(ca.PEM()) {
		t.Error("a second OpenCA made another authority")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(again.PEM()) {
		t.Fatal("PEM holds no certificate")
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+inner.Addr().String()+"/v2/shop/cart/manifests/1", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth("reader", "r")
	request.Header.Set("Accept", "application/vnd.docker.distribution.manifest.v2+json")
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	want, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if got := response.Header.Get("Docker-Content-Digest"); got != want.String() {
		t.Errorf("over TLS: status %d digest %q, want %s", response.StatusCode, got, want)
	}
	client.CloseIdleConnections()
}
