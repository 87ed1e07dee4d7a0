package cosign_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/internal/cosign"
)

// refer writes a manifest with one layer that refers to an image, as others do it.
func refer(t *testing.T, w where, ref string, kind types.MediaType) {
	t.Helper()
	subject := must[*remote.Descriptor](t)(remote.Get(must[name.Digest](t)(name.NewDigest(ref)), w.with()...))
	img := must[v1.Image](t)(mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{Layer: static.NewLayer([]byte("{}"), kind), MediaType: kind}))
	about := mutate.Subject(img, v1.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}).(v1.Image)
	repo, _, _ := strings.Cut(ref, "@")
	if err := remote.Write(must[name.Digest](t)(name.NewDigest(repo+"@"+must[v1.Hash](t)(about.Digest()).String())), about, w.with()...); err != nil {
		t.Fatal(err)
	}
}

// referring are the predicate types of the bundles beside an image whose content is of a Sigstore
// bundle, and their statements.
func referring(t *testing.T, w where, ref string) map[string][]byte {
	t.Helper()
	d := must[name.Digest](t)(name.NewDigest(ref))
	index := must[*v1.IndexManifest](t)(must[v1.ImageIndex](t)(remote.Referrers(d, w.with()...)).IndexManifest())
	out := map[string][]byte{}
	for _, m := range index.Manifests {
		img := must[v1.Image](t)(remote.Image(d.Context().Digest(m.Digest.String()), w.with()...))
		manifest := must[*v1.Manifest](t)(img.Manifest())
		if p := manifest.Annotations["dev.sigstore.bundle.predicateType"]; p != "" {
			out[p] = content(t, img, manifest.Layers[0].Digest)
		}
	}
	return out
}

// TestUntold: a registry that does not say what refers to an image has signatures all the same; one
// that is out of order is asked again.
func TestUntold(t *testing.T) {
	for status, want := range map[int]string{http.StatusForbidden: "", http.StatusMethodNotAllowed: "", http.StatusInternalServerError: "read what refers to the image"} {
		w := memory(t, true, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "/referrers/") {
					rw.WriteHeader(status)
					return
				}
				next.ServeHTTP(rw, r)
			})
		})
		ref := push(t, w)
		key, _ := newKey(t)
		_, err := cosign.Sign(t.Context(), ref, key, nil, w.o)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d: %v", status, err)
		}
	}
}

// TestBundles: they are written where others have written some, and nowhere else.
func TestBundles(t *testing.T) {
	for kind, w := range map[string]where{"referrers": memory(t, true, nil), "tags": memory(t, false, nil), "ours": ours(t)} {
		ref := push(t, w)
		key, private := newKey(t)
		sign := func(added int) {
			t.Helper()
			if s, err := cosign.Sign(t.Context(), ref, key, []cosign.Attestation{sbom("a")}, w.o); err != nil || s.Added != added {
				t.Errorf("%s: signed %+v, expected %d new: %v", kind, s, added, err)
			}
		}
		refer(t, w, ref, "application/vnd.example.notes")
		sign(2)
		if got := referring(t, w, ref); len(got) != 0 {
			t.Errorf("%s: bundles without need: %v", kind, got)
		}
		refer(t, w, ref, "application/vnd.dev.sigstore.bundle.v0.3+json")
		sign(2)
		sign(0)
		got := referring(t, w, ref)
		for _, p := range []string{cosign.SPDX, "https://sigstore.dev/cosign/sign/v1"} {
			var b struct {
				MediaType            string
				VerificationMaterial struct{ PublicKey struct{ Hint string } }
				DSSEEnvelope         json.RawMessage `json:"dsseEnvelope"`
			}
			if err := json.Unmarshal(got[p], &b); err != nil || b.VerificationMaterial.PublicKey.Hint == "" {
				t.Errorf("%s: %s: %s: %v", kind, p, got[p], err)
				continue
			}
			if text := statement(t, private, b.DSSEEnvelope); !strings.Contains(text, `"predicateType":"`+p+`"`) {
				t.Errorf("%s: %s", p, text)
			}
		}
	}
}
