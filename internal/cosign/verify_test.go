package cosign_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/internal/cosign"
)

const farm = "https://example.com/farm"

func slsa(builder string) cosign.Attestation {
	return cosign.Attestation{PredicateType: cosign.ProvenanceV1, Predicate: json.RawMessage(`{"buildDefinition": {"buildType": "x"}, "runDetails": {"builder": {"id": "` + builder + `"}}}`)}
}

func publicOf(t *testing.T, k *cosign.Key, name string) *cosign.PublicKey {
	t.Helper()
	p := must[*cosign.PublicKey](t)(cosign.LoadPublicKey(k.Public()))
	p.Name, p.Builder = name, farm
	return p
}

func tagOf(t *testing.T, ref, suffix string) name.Tag {
	t.Helper()
	repo, digest, _ := strings.Cut(ref, "@")
	return must[name.Tag](t)(name.NewTag(repo + ":" + strings.Replace(digest, ":", "-", 1) + "." + suffix))
}

// put has layers alone under a tag of an image.
func put(t *testing.T, w where, ref, suffix string, layers []layer) {
	t.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, l := range layers {
		img = must[v1.Image](t)(mutate.Append(img, mutate.Addendum{Layer: static.NewLayer(l.content, l.MediaType), MediaType: l.MediaType, Annotations: l.Annotations}))
	}
	if err := remote.Write(tagOf(t, ref, suffix), img, w.with()...); err != nil {
		t.Fatal(err)
	}
}

// move puts what is said of an image beside another one.
func move(t *testing.T, w where, from, to string) {
	t.Helper()
	for _, suffix := range []string{"sig", "att"} {
		put(t, w, to, suffix, beside(t, w, from, suffix))
	}
}

func sign(t *testing.T, w where, ref string, key *cosign.Key, a ...cosign.Attestation) {
	t.Helper()
	if _, err := cosign.Sign(t.Context(), ref, key, a, w.o); err != nil {
		t.Fatal(err)
	}
}

// TestVerify: what Sign wrote counts, and what is missing, by another key, damaged or of another image does not, each in its own words.
func TestVerify(t *testing.T) {
	for kind, w := range map[string]where{"referrers": memory(t, true, nil), "tags": memory(t, false, nil), "ours": ours(t)} {
		t.Run(kind, func(t *testing.T) { verified(t, w) })
	}
}

func verified(t *testing.T, w where) {
	t.Helper()
	key, _ := newKey(t)
	other, _ := newKey(t)
	all := []cosign.Want{cosign.WantSignature, cosign.WantProvenance, cosign.WantSBOM}
	keys := []*cosign.PublicKey{publicOf(t, key, "the farm's key"), publicOf(t, must[*cosign.Key](t)(cosign.LoadKey(pemOf("PRIVATE KEY", pkcs8(t, p256(t))), nil)), "vendor.pub")}
	unknown := func(what string) string {
		return "its " + what + " is forged, damaged or somebody else's: of 1 beside it none is signed with the farm's key or vendor.pub"
	}
	elsewhere := push(t, w)
	sign(t, w, elsewhere, key, slsa(farm), sbom("a"))
	_, digest, _ := strings.Cut(elsewhere, "@")
	for name, c := range map[string]struct {
		make func(ref string)
		want []string // of signature, provenance and SBOM
	}{
		"all": {func(ref string) { sign(t, w, ref, key, slsa(farm), sbom("a")) }, nil},
		"among others": {func(ref string) {
			sign(t, w, ref, other, slsa("x"), sbom("b"))
			sign(t, w, ref, key, slsa(farm), sbom("a"))
		}, nil},
		"nothing":       {func(string) {}, []string{"it has no signature", "it has no signed provenance", "it has no signed SBOM"}},
		"another key":   {func(ref string) { sign(t, w, ref, other, slsa(farm), sbom("a")) }, []string{unknown("signature"), unknown("provenance"), unknown("SBOM")}},
		"no SBOM":       {func(ref string) { sign(t, w, ref, key, slsa(farm)) }, []string{"it has no signed SBOM"}},
		"no provenance": {func(ref string) { sign(t, w, ref, key, sbom("a")) }, []string{"it has no signed provenance"}},
		"another image's": {func(ref string) { move(t, w, elsewhere, ref) }, []string{
			"its signature is of another image: " + digest, "its provenance is of another image: " + digest, "its SBOM is of another image: " + digest,
		}},
		"another builder": {func(ref string) { sign(t, w, ref, key, slsa("https://example.com/laptop"), sbom("a")) }, []string{
			`its provenance names the builder "https://example.com/laptop": expected "https://example.com/farm"`,
		}},
		"no builder": {func(ref string) { sign(t, w, ref, key, slsa(""), sbom("a")) }, []string{"its provenance names no builder"}},
		"empty": {func(ref string) {
			sign(t, w, ref, key, slsa(farm), cosign.Attestation{PredicateType: cosign.SPDX, Predicate: json.RawMessage("{}")})
		}, []string{"its SBOM says nothing"}},
		"a flipped bit": {func(ref string) {
			sign(t, w, ref, key, slsa(farm))
			l := beside(t, w, ref, "sig")
			sig := must[[]byte](t)(base64.StdEncoding.DecodeString(l[0].Annotations["dev.cosignproject.cosign/signature"]))
			sig[len(sig)-1] ^= 1
			l[0].Annotations["dev.cosignproject.cosign/signature"] = base64.StdEncoding.EncodeToString(sig)
			put(t, w, ref, "sig", l)
			l = beside(t, w, ref, "att")
			payload := base64.StdEncoding.EncodeToString([]byte(`{"_type":"https://in-toto.io/Statement/v0.1"`))[:20]
			l[0].content = []byte(strings.Replace(string(l[0].content), payload, base64.StdEncoding.EncodeToString([]byte(`{"_type":"HTTPS://in-toto.io/Statement/v0.1"`))[:20], 1))
			put(t, w, ref, "att", l)
		}, []string{unknown("signature"), unknown("provenance"), "it has no signed SBOM"}},
	} {
		ref := push(t, w)
		c.make(ref)
		doubts, err := cosign.Verify(t.Context(), ref, all, keys, w.o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, d := range doubts {
			got = append(got, d.Reason)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if doubts, err := cosign.Verify(t.Context(), elsewhere, all[2:], keys, w.o); err != nil || doubts != nil {
		t.Errorf("the SBOM alone: %v, %v", doubts, err)
	}
}

// TestVerifyBundles alone, as cosign 3 writes them.
func TestVerifyBundles(t *testing.T) {
	w := memory(t, true, nil)
	ref := push(t, w)
	key, _ := newKey(t)
	refer(t, w, ref, "application/vnd.dev.sigstore.bundle.v0.3+json") // else none are written
	sign(t, w, ref, key, slsa(farm), sbom("a"))
	for _, suffix := range []string{"sig", "att"} {
		if err := remote.Delete(tagOf(t, ref, suffix), w.with()...); err != nil {
			t.Fatal(err)
		}
	}
	all := []cosign.Want{cosign.WantSignature, cosign.WantProvenance, cosign.WantSBOM}
	if doubts, err := cosign.Verify(t.Context(), ref, all, []*cosign.PublicKey{publicOf(t, key, "k")}, w.o); err != nil || doubts != nil {
		t.Errorf("%v, %v", doubts, err)
	}
	other, _ := newKey(t)
	doubts, err := cosign.Verify(t.Context(), ref, all, []*cosign.PublicKey{publicOf(t, other, "k")}, w.o)
	if err != nil || len(doubts) != 3 || !strings.Contains(doubts[0].Reason, "none is signed with k") {
		t.Errorf("another key: %v, %v", doubts, err)
	}
}

// TestVerifyCannotTell: an image that is not there is a doubt, and a registry that does not answer is none.
func TestVerifyCannotTell(t *testing.T) {
	down := false
	w := memory(t, true, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if down && strings.HasSuffix(r.URL.Path, ".sig") {
				rw.WriteHeader(http.StatusForbidden)
				return
			}
			next.ServeHTTP(rw, r)
		})
	})
	ref := push(t, w)
	key, _ := newKey(t)
	sign(t, w, ref, key)
	keys, wants := []*cosign.PublicKey{publicOf(t, key, "k")}, []cosign.Want{cosign.WantSignature}
	repo, _, _ := strings.Cut(ref, "@")
	doubts, err := cosign.Verify(t.Context(), repo+"@sha256:"+strings.Repeat("0", 64), wants, keys, w.o)
	if diff := cmp.Diff([]cosign.Doubt{{Reason: "the registry has no such image"}}, doubts); err != nil || diff != "" {
		t.Errorf("not there: %v\n%s", err, diff)
	}
	down = true
	if doubts, err = cosign.Verify(t.Context(), ref, wants, keys, w.o); err == nil || doubts != nil || !strings.Contains(err.Error(), "verify "+ref+": read ") {
		t.Errorf("a registry that refuses: %v, %v", doubts, err)
	}
}

// TestLoadPublicKey reads what Public writes, and says of anything else what it is.
func TestLoadPublicKey(t *testing.T) {
	key, _ := newKey(t)
	p := must[*cosign.PublicKey](t)(cosign.LoadPublicKey(key.Public()))
	if p.ID() != key.ID() || string(p.PEM()) != string(key.Public()) {
		t.Errorf("%s, %s", p.ID(), p.PEM())
	}
	for want, text := range map[string]string{
		"it is no PEM":                   "ssh-ed25519 AAAA",
		"it is a private key":            string(pemOf("ENCRYPTED SIGSTORE PRIVATE KEY", []byte("x"))),
		`it is a "CERTIFICATE"`:          string(pemOf("CERTIFICATE", []byte("x"))),
		"it holds more than one key":     string(key.Public()) + string(key.Public()),
		"the public key cannot be read:": string(pemOf("PUBLIC KEY", []byte("x"))),
	} {
		if _, err := cosign.LoadPublicKey([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
