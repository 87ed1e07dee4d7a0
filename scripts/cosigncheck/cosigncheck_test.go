package cosigncheck

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/sigstore/cosign/v3/cmd/cosign/cli"

	"github.com/slipway-build/slipway/internal/cosign"
)

const password = "correct horse"

// TestMain has whatever would leave the machine fail: only loopback is reached without a proxy.
func TestMain(m *testing.M) {
	for _, k := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		if err := os.Setenv(k, "http://127.0.0.1:1"); err != nil {
			panic(err)
		}
	}
	if err := os.Setenv("COSIGN_PASSWORD", password); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// run runs the command line of cosign, with its defaults.
func run(t *testing.T, args ...string) error {
	t.Helper()
	cmd := cli.New()
	cmd.SetArgs(args)
	cmd.SetOut(io.Discard)
	cmd.SetErr(io.Discard)
	return cmd.ExecuteContext(t.Context())
}

// generate has cosign make an encrypted key, and loads it.
func generate(t *testing.T) (key *cosign.Key, private, public string) {
	t.Helper()
	prefix := filepath.Join(t.TempDir(), "k")
	if err := run(t, "generate-key-pair", "--output-key-prefix", prefix); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(prefix + ".key")
	if err != nil {
		t.Fatal(err)
	}
	if key, err = cosign.LoadKey(data, []byte(password)); err != nil {
		t.Fatal(err)
	}
	if _, err := cosign.LoadKey(data, []byte("wrong")); err == nil || !strings.Contains(err.Error(), "the password does not open the key") {
		t.Errorf("wrong password: %v", err)
	}
	written, err := os.ReadFile(prefix + ".pub")
	if err != nil || !bytes.Equal(bytes.TrimSpace(written), bytes.TrimSpace(key.Public())) {
		t.Errorf("cosign.pub is %s, Public is %s (%v)", written, key.Public(), err)
	}
	return key, prefix + ".key", prefix + ".pub"
}

// push pushes an image, of the registry with referrers or the one without.
func push(t *testing.T, referrers bool) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(referrers), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	img, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	ref := strings.TrimPrefix(server.URL, "http://") + "/shop/api@" + digest.String()
	if err := remote.Write(parse(t, ref), img); err != nil {
		t.Fatal(err)
	}
	return ref
}

func parse(t *testing.T, ref string) name.Reference {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func attestations() []cosign.Attestation {
	return []cosign.Attestation{
		{PredicateType: cosign.SPDX, Predicate: json.RawMessage(`{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","name":"api","packages":[]}`)},
		{PredicateType: cosign.ProvenanceV1, Predicate: json.RawMessage(`{"buildDefinition":{"buildType":"https://mobyproject.org/buildkit@v1","externalParameters":{"a":1}},"runDetails":{"builder":{"id":"x"}}}`)},
	}
}

func sign(t *testing.T, ref string, key *cosign.Key, added int) {
	t.Helper()
	s, err := cosign.Sign(t.Context(), ref, key, attestations(), cosign.Options{})
	if err != nil || s.Added != added {
		t.Fatalf("signed %+v, expected %d new (%v)", s, added, err)
	}
}

// verify is what cosign says of signature, SBOM and provenance.
func verify(t *testing.T, ref, public string, more ...string) map[string]error {
	t.Helper()
	with := append([]string{"--key", public, "--insecure-ignore-tlog=true"}, more...)
	out := map[string]error{"signature": run(t, append(append([]string{"verify"}, with...), ref)...)}
	for _, kind := range []string{"spdxjson", "slsaprovenance1"} {
		out[kind] = run(t, append(append([]string{"verify-attestation", "--type", kind}, with...), ref)...)
	}
	return out
}

func accepted(t *testing.T, ref, public string, more ...string) {
	t.Helper()
	for what, err := range verify(t, ref, public, more...) {
		if err != nil {
			t.Errorf("%s with %v: %v", what, more, err)
		}
	}
}

func refused(t *testing.T, ref, public string, more ...string) {
	t.Helper()
	for what, err := range verify(t, ref, public, more...) {
		if err == nil {
			t.Errorf("%s with %v is accepted", what, more)
		}
		t.Logf("%s is refused: %v", what, err)
	}
}

func TestVerify(t *testing.T) {
	key, _, public := generate(t)
	_, _, another := generate(t)
	for kind, referrers := range map[string]bool{"referrers": true, "tags": false} {
		t.Run(kind, func(t *testing.T) {
			ref := push(t, referrers)
			refused(t, ref, public)
			sign(t, ref, key, 3)
			accepted(t, ref, public)
			accepted(t, ref, public, "--new-bundle-format=false") // as older tools do it
			refused(t, ref, another)
			refused(t, ref, another, "--new-bundle-format=false")
		})
	}
}

// TestOthers: signatures of cosign and ours stand beside each other, whichever form cosign used.
func TestOthers(t *testing.T) {
	key, _, public := generate(t)
	_, theirs, theirPublic := generate(t)
	for form, args := range map[string][]string{"tag": {"--new-bundle-format=false"}, "bundle": {"--new-bundle-format=true"}} {
		for kind, referrers := range map[string]bool{"referrers": true, "tags": false} {
			t.Run(form+" "+kind, func(t *testing.T) {
				ref := push(t, referrers)
				if err := run(t, append(append([]string{"sign", "--key", theirs, "--tlog-upload=false", "--use-signing-config=false", "--yes"}, args...), ref)...); err != nil {
					t.Fatal(err)
				}
				added := 3
				if form == "bundle" {
					added = 6
				}
				sign(t, ref, key, added)
				sign(t, ref, key, 0)
				accepted(t, ref, public)
				accepted(t, ref, public, "--new-bundle-format=false")
				if err := verify(t, ref, theirPublic)["signature"]; err != nil {
					t.Errorf("theirs: %v", err)
				}
			})
		}
	}
}

// TestFlipped: one bit is enough.
func TestFlipped(t *testing.T) {
	key, _, public := generate(t)
	ref := push(t, true)
	sign(t, ref, key, 3)
	flip := func(suffix string, change func(content []byte, annotations map[string]string) []byte) {
		t.Helper()
		repo, digest, _ := strings.Cut(ref, "@")
		tag := parse(t, repo+":"+strings.Replace(digest, ":", "-", 1)+"."+suffix)
		img, err := remote.Image(tag)
		if err != nil {
			t.Fatal(err)
		}
		m, err := img.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		out := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
		for i, l := range layers(t, img) {
			data := change(l, m.Layers[i].Annotations)
			if out, err = mutate.Append(out, mutate.Addendum{Layer: static.NewLayer(data, m.Layers[i].MediaType), MediaType: m.Layers[i].MediaType, Annotations: m.Layers[i].Annotations}); err != nil {
				t.Fatal(err)
			}
		}
		if err := remote.Write(tag, out); err != nil {
			t.Fatal(err)
		}
	}
	same := func(content []byte, _ map[string]string) []byte { return content }
	const annotation = "dev.cosignproject.cosign/signature"
	signature := func(c []byte, a map[string]string) []byte { a[annotation] = flipped(t, a[annotation]); return c }
	payload := func(c []byte, _ map[string]string) []byte { // of the name of the repository
		i := bytes.Index(c, []byte("shop/api"))
		c[i] ^= 1
		return c
	}
	sealed := func(field func(map[string]any)) func([]byte, map[string]string) []byte {
		return func(c []byte, _ map[string]string) []byte {
			var e map[string]any
			if err := json.Unmarshal(c, &e); err != nil {
				t.Fatal(err)
			}
			field(e)
			out, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
	}
	statement := sealed(func(e map[string]any) { e["payload"] = flipped(t, e["payload"].(string)) })
	seal := sealed(func(e map[string]any) {
		s := e["signatures"].([]any)[0].(map[string]any)
		s["sig"] = flipped(t, s["sig"].(string))
	})
	judge := func(what string, signature, attested bool) {
		t.Helper()
		for kind, err := range verify(t, ref, public) {
			if want := kind == "signature" && signature || kind != "signature" && attested; (err == nil) != want {
				t.Errorf("%s: %s is accepted: %t, expected %t (%v)", what, kind, err == nil, want, err)
			} else if err != nil && !strings.Contains(err.Error(), "signature") {
				t.Errorf("%s: %s is refused for another reason: %v", what, kind, err)
			}
		}
	}
	flip("sig", same)
	flip("att", same)
	judge("nothing", true, true)
	flip("sig", signature)
	judge("signature", false, true)
	sign(t, ref, key, 1)
	judge("signed again", true, true)
	ref = push(t, true)
	sign(t, ref, key, 3)
	flip("sig", payload)
	flip("att", statement)
	judge("payloads", false, false)
	ref = push(t, true)
	sign(t, ref, key, 3)
	flip("att", seal)
	judge("signature of the attestation", true, false)
}

// TestBundle: one bit of a bundle is enough too.
func TestBundle(t *testing.T) {
	key, _, public := generate(t)
	_, theirs, _ := generate(t)
	for what, change := range map[string]func(envelope map[string]any){
		"nothing": func(map[string]any) {},
		"payload": func(e map[string]any) { e["payload"] = flipped(t, e["payload"].(string)) },
		"signature": func(e map[string]any) {
			s := e["signatures"].([]any)[0].(map[string]any)
			s["sig"] = flipped(t, s["sig"].(string))
		},
	} {
		ref := push(t, true)
		if err := run(t, "sign", "--key", theirs, "--tlog-upload=false", "--use-signing-config=false", "--yes", ref); err != nil {
			t.Fatal(err)
		}
		sign(t, ref, key, 6)
		rewrite(t, ref, change)
		for kind, err := range verify(t, ref, public) {
			if (err == nil) != (what == "nothing") {
				t.Errorf("%s: %s: %v", what, kind, err)
			}
			t.Logf("%s: %s: %v", what, kind, err)
		}
	}
}

// rewrite changes the envelopes of all bundles beside an image.
func rewrite(t *testing.T, ref string, change func(envelope map[string]any)) {
	t.Helper()
	image := parse(t, ref).(name.Digest)
	index, err := remote.Referrers(image)
	if err != nil {
		t.Fatal(err)
	}
	all, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all.Manifests {
		old := image.Context().Digest(d.Digest.String())
		img, err := remote.Image(old)
		if err != nil {
			t.Fatal(err)
		}
		m, err := img.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		var bundle map[string]any
		if err := json.Unmarshal(layers(t, img)[0], &bundle); err != nil {
			t.Fatal(err)
		}
		change(bundle["dsseEnvelope"].(map[string]any))
		data, err := json.Marshal(bundle)
		if err != nil {
			t.Fatal(err)
		}
		kind := m.Layers[0].MediaType
		out, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{Layer: static.NewLayer(data, kind), MediaType: kind})
		if err != nil {
			t.Fatal(err)
		}
		about := mutate.Subject(out, *m.Subject).(v1.Image)
		digest, err := about.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(image.Context().Digest(digest.String()), about); err != nil {
			t.Fatal(err)
		}
		if err := remote.Delete(old); err != nil {
			t.Fatal(err)
		}
	}
}

// TestKinds: keys that cosign did not make are verified by it too.
func TestKinds(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for kind, private := range map[string]any{"ECDSA": ec, "Ed25519": ed} {
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		key, err := cosign.LoadKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil)
		if err != nil {
			t.Fatal(err)
		}
		public := filepath.Join(t.TempDir(), kind+".pub")
		if err := os.WriteFile(public, key.Public(), 0o600); err != nil {
			t.Fatal(err)
		}
		ref := push(t, true)
		sign(t, ref, key, 3)
		accepted(t, ref, public)
		accepted(t, ref, public, "--new-bundle-format=false")
	}
}

// flipped is base64 with one bit of what it says changed: that of its middle byte, which is JSON still.
func flipped(t *testing.T, s string) string {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(data) == 0 {
		t.Fatalf("no base64: %q (%v)", s, err)
	}
	data[len(data)/2] ^= 1
	return base64.StdEncoding.EncodeToString(data)
}

func layers(t *testing.T, img v1.Image) (out [][]byte) {
	t.Helper()
	all, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		r, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, data)
	}
	return out
}
