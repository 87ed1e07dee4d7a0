package cosign_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/internal/cosign"
	"github.com/slipway-build/slipway/internal/ociregistry"
)

// keychain has one credential for all registries.
type keychain struct{ user, password string }

func (k keychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return &authn.Basic{Username: k.user, Password: k.password}, nil
}

// where is a registry, and how it is spoken to.
type where struct {
	host string
	o    cosign.Options
}

func (w where) with() []remote.Option {
	if w.o.Keychain == nil {
		return nil
	}
	return []remote.Option{remote.WithAuthFromKeychain(w.o.Keychain)}
}

// memory is a registry in memory, which wrap surrounds.
func memory(t *testing.T, referrers bool, wrap func(http.Handler) http.Handler) where {
	t.Helper()
	h := ggcr.New(ggcr.WithReferrersSupport(referrers), ggcr.Logger(log.New(io.Discard, "", 0)))
	if wrap != nil {
		h = wrap(h)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return where{host: strings.TrimPrefix(server.URL, "http://")}
}

// ours is the registry of a farm on one machine, which wants credentials and lists no referrers.
func ours(t *testing.T) where {
	t.Helper()
	server, err := ociregistry.New(ociregistry.Config{Dir: t.TempDir(), MirrorDir: t.TempDir(), Credentials: []ociregistry.Credential{
		{User: "builder", Password: "b", Role: ociregistry.Push}, {User: "bases", Password: "m", Role: ociregistry.Mirror}, {User: "reader", Password: "r", Role: ociregistry.Pull},
	}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	ctx := t.Context()
	go func() { done <- server.Run(ctx, l) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return where{host: l.Addr().String(), o: cosign.Options{Keychain: keychain{"builder", "b"}}}
}

func push(t *testing.T, w where) string {
	t.Helper()
	img := must[v1.Image](t)(random.Image(64, 1))
	digest := must[v1.Hash](t)(img.Digest())
	ref := must[name.Digest](t)(name.NewDigest(w.host + "/shop/api@" + digest.String()))
	if err := remote.Write(ref, img, w.with()...); err != nil {
		t.Fatal(err)
	}
	return ref.String()
}

// layer is what is under a tag beside an image.
type layer struct {
	v1.Descriptor
	content []byte
}

func beside(t *testing.T, w where, ref, suffix string) (out []layer) {
	t.Helper()
	repo, digest, _ := strings.Cut(ref, "@")
	img := must[v1.Image](t)(remote.Image(must[name.Tag](t)(name.NewTag(repo+":"+strings.Replace(digest, ":", "-", 1)+"."+suffix)), w.with()...))
	m := must[*v1.Manifest](t)(img.Manifest())
	if m.Config.MediaType != types.OCIConfigJSON || m.MediaType != types.OCIManifestSchema1 {
		t.Errorf("%s: %s with %s", suffix, m.MediaType, m.Config.MediaType)
	}
	for _, d := range m.Layers {
		out = append(out, layer{d, content(t, img, d.Digest)})
	}
	return out
}

func content(t *testing.T, img v1.Image, digest v1.Hash) []byte {
	t.Helper()
	l := must[v1.Layer](t)(img.LayerByDigest(digest))
	return must[[]byte](t)(io.ReadAll(must[io.ReadCloser](t)(l.Compressed())))
}

func verifies(private *ecdsa.PrivateKey, data, sig []byte) bool {
	sum := sha256.Sum256(data)
	return ecdsa.VerifyASN1(&private.PublicKey, sum[:], sig)
}

type envelope struct {
	PayloadType string
	Payload     []byte
	Signatures  []struct{ Sig []byte }
}

// statement is what an envelope says, if its signature is right.
func statement(t *testing.T, private *ecdsa.PrivateKey, data []byte) string {
	t.Helper()
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		t.Fatal(err)
	}
	if !verifies(private, fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(e.PayloadType), e.PayloadType, len(e.Payload), e.Payload), e.Signatures[0].Sig) {
		t.Errorf("the signature of %s is wrong", e.Payload)
	}
	return string(e.Payload)
}

func sbom(text string) cosign.Attestation {
	return cosign.Attestation{PredicateType: cosign.SPDX, Predicate: json.RawMessage(`{"name": "` + text + `"}`)}
}

func TestSign(t *testing.T) {
	for kind, w := range map[string]where{"referrers": memory(t, true, nil), "tags": memory(t, false, nil), "ours": ours(t)} {
		t.Run(kind, func(t *testing.T) { signs(t, w) })
	}
}

func signs(t *testing.T, w where) {
	t.Helper()
	ref := push(t, w)
	repo, digest, _ := strings.Cut(ref, "@")
	key, private := newKey(t)
	sign := func(k *cosign.Key, added int, a ...cosign.Attestation) cosign.Signed {
		t.Helper()
		s, err := cosign.Sign(t.Context(), ref, k, a, w.o)
		if err != nil {
			t.Fatal(err)
		}
		if s.Added != added || s.Image != ref || s.Key != k.ID() || !strings.HasPrefix(s.Signatures, repo+"@sha256:") {
			t.Errorf("signed %+v, expected %d new", s, added)
		}
		return s
	}
	first := sign(key, 2, sbom("a"))
	sigs := beside(t, w, ref, "sig")
	want := `{"critical":{"identity":{"docker-reference":"` + repo + `"},"image":{"docker-manifest-digest":"` + digest + `"},"type":"cosign container image signature"},"optional":null}`
	if len(sigs) != 1 || string(sigs[0].content) != want || sigs[0].MediaType != "application/vnd.dev.cosign.simplesigning.v1+json" {
		t.Fatalf("signatures %+v", sigs)
	}
	sig, err := base64.StdEncoding.DecodeString(sigs[0].Annotations["dev.cosignproject.cosign/signature"])
	if err != nil || !verifies(private, sigs[0].content, sig) {
		t.Errorf("signature %v: %v", sigs[0].Annotations, err)
	}
	atts := beside(t, w, ref, "att")
	if len(atts) != 1 || atts[0].MediaType != "application/vnd.dsse.envelope.v1+json" || atts[0].Annotations["predicateType"] != cosign.SPDX {
		t.Fatalf("attestations %+v", atts)
	}
	want = `{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document","subject":[{"name":"` + repo + `","digest":{"sha256":"` + strings.TrimPrefix(digest, "sha256:") + `"}}],"predicate":{"name":"a"}}`
	if diff := cmp.Diff(want, statement(t, private, atts[0].content)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	// Again: nothing. More: what is new. Another key: beside the first.
	if again := sign(key, 0, sbom("a")); again.Signatures != first.Signatures || again.Attestations != first.Attestations {
		t.Errorf("the same again is %+v, was %+v", again, first)
	}
	if none := sign(key, 0); none.Attestations != "" {
		t.Errorf("nothing said: %+v", none)
	}
	sign(key, 1, sbom("a"), sbom("b"))
	other, _ := newKey(t)
	sign(other, 3, sbom("a"), sbom("b"))
	sign(key, 0, sbom("b"), sbom("a"))
	if all := append(beside(t, w, ref, "sig"), beside(t, w, ref, "att")...); len(all) != 6 || all[0].Annotations["dev.cosignproject.cosign/signature"] != sigs[0].Annotations["dev.cosignproject.cosign/signature"] {
		t.Errorf("%d layers: %+v", len(all), all)
	}
}

// TestDamaged: what does not verify does not count as signed, and is left where it is.
func TestDamaged(t *testing.T) {
	w := memory(t, true, nil)
	ref := push(t, w)
	key, private := newKey(t)
	if _, err := cosign.Sign(t.Context(), ref, key, nil, w.o); err != nil {
		t.Fatal(err)
	}
	good := beside(t, w, ref, "sig")[0]
	sig := must[[]byte](t)(base64.StdEncoding.DecodeString(good.Annotations["dev.cosignproject.cosign/signature"]))
	sig[len(sig)-1] ^= 1
	img := must[v1.Image](t)(mutate.Append(mutate.ConfigMediaType(mutate.MediaType(must[v1.Image](t)(random.Image(1, 0)), types.OCIManifestSchema1), types.OCIConfigJSON), mutate.Addendum{
		Layer: static.NewLayer(good.content, good.MediaType), MediaType: good.MediaType,
		Annotations: map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(sig), "theirs": "kept"},
	}))
	repo, digest, _ := strings.Cut(ref, "@")
	if err := remote.Write(must[name.Tag](t)(name.NewTag(repo+":"+strings.Replace(digest, ":", "-", 1)+".sig")), img); err != nil {
		t.Fatal(err)
	}
	if s, err := cosign.Sign(t.Context(), ref, key, nil, w.o); err != nil || s.Added != 1 {
		t.Fatalf("signed %+v: %v", s, err)
	}
	all := beside(t, w, ref, "sig")
	sig = must[[]byte](t)(base64.StdEncoding.DecodeString(all[1].Annotations["dev.cosignproject.cosign/signature"]))
	if len(all) != 2 || all[0].Annotations["theirs"] != "kept" || !verifies(private, all[1].content, sig) {
		t.Errorf("signatures %+v", all)
	}
}

// TestRace: what another signer writes over is written again, beside it.
func TestRace(t *testing.T) {
	var mu sync.Mutex
	var put []byte // the manifest that somebody writes after the next write here
	w := memory(t, true, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(rw, r)
			mu.Lock()
			defer mu.Unlock()
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, ".sig") && put != nil {
				again := r.Clone(r.Context())
				again.Body, again.ContentLength = io.NopCloser(bytes.NewReader(put)), int64(len(put))
				put = nil
				next.ServeHTTP(httptest.NewRecorder(), again)
			}
		})
	})
	ref := push(t, w)
	first, _ := newKey(t)
	second, _ := newKey(t)
	s, err := cosign.Sign(t.Context(), ref, first, nil, w.o)
	if err != nil {
		t.Fatal(err)
	}
	desc, err := remote.Get(must[name.Digest](t)(name.NewDigest(s.Signatures)))
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	put = desc.Manifest
	mu.Unlock()
	if s, err = cosign.Sign(t.Context(), ref, second, nil, w.o); err != nil || s.Added != 1 {
		t.Fatalf("signed %+v: %v", s, err)
	}
	if all := beside(t, w, ref, "sig"); len(all) != 2 {
		t.Errorf("%d signatures", len(all))
	}
}

func TestRefuses(t *testing.T) {
	w, mine := memory(t, true, nil), ours(t)
	ref := push(t, w)
	repo, _, _ := strings.Cut(ref, "@")
	key, _ := newKey(t)
	gone := "@sha256:" + strings.Repeat("0", 64)
	large := sbom(strings.Repeat("x", 64<<20))
	for what, c := range map[string]struct {
		ref  string
		a    []cosign.Attestation
		o    cosign.Options
		want string
	}{
		"a tag":          {ref: repo + ":latest", want: "expected <registry>/<repository>@sha256:…"},
		"no digest":      {ref: repo + "@sha256:abc", want: "expected <registry>/<repository>@sha256:…"},
		"no registry":    {ref: "api" + gone, want: "expected <registry>/<repository>@sha256:…"},
		"not there":      {ref: repo + gone, want: "the registry has no such image: push it first"},
		"no repository":  {ref: w.host + "/nothing" + gone, want: "the registry has no such image"},
		"no type":        {ref: ref, a: []cosign.Attestation{{Predicate: json.RawMessage("{}")}}, want: "has no type"},
		"no JSON":        {ref: ref, a: []cosign.Attestation{{PredicateType: "x:y", Predicate: json.RawMessage("{")}}, want: "attestation x:y: its predicate is no object"},
		"no object":      {ref: ref, a: []cosign.Attestation{{PredicateType: "x:y", Predicate: json.RawMessage("null")}}, want: "no object"},
		"too long":       {ref: ref, a: []cosign.Attestation{large}, want: "no more than 67108864"},
		"no credentials": {ref: mine.host + "/shop/api" + gone, want: "UNAUTHORIZED"},
		"may not write":  {ref: push(t, mine), o: cosign.Options{Keychain: keychain{"reader", "r"}}, want: "write " + mine.host + "/shop/api:sha256-"},
	} {
		_, err := cosign.Sign(t.Context(), c.ref, key, c.a, c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "sign "+c.ref) || strings.Contains(err.Error(), "%!") {
			t.Errorf("%s: %v, expected %q", what, err, c.want)
		}
	}
	_, err := cosign.Sign(t.Context(), repo+gone, key, nil, w.o)
	if !errors.Is(err, cosign.ErrNotFound) {
		t.Errorf("not there: %v", err)
	}
	if _, err := remote.Get(must[name.Tag](t)(name.NewTag(repo + ":" + strings.Replace(strings.TrimPrefix(ref, repo+"@"), ":", "-", 1) + ".sig"))); err == nil {
		t.Error("what was refused is signed all the same")
	}
}
