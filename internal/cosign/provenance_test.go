package cosign_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/internal/cosign"
)

// attested pushes an index as BuildKit does it: images, and beside each a manifest with statements.
func attested(t *testing.T, w where, platforms int, predicates ...string) (index, image string) {
	t.Helper()
	repo := w.host + "/shop/api"
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for range platforms {
		img := mutate.MediaType(must[v1.Image](t)(random.Image(64, 1)), types.OCIManifestSchema1)
		digest := must[v1.Hash](t)(img.Digest()).String()
		image = repo + "@" + digest
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
		about := attach(t, w, img, predicates...)
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: about, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}, Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": digest},
		}})
	}
	ref := must[name.Digest](t)(name.NewDigest(repo + "@" + must[v1.Hash](t)(idx.Digest()).String()))
	if err := remote.WriteIndex(ref, idx); err != nil {
		t.Fatal(err)
	}
	return ref.String(), image
}

// attach pushes an image, and statements about it that refer to it.
func attach(t *testing.T, w where, img v1.Image, predicates ...string) v1.Image {
	t.Helper()
	at := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.docker.attestation.manifest.v1+json")
	for _, p := range predicates {
		at = must[v1.Image](t)(mutate.Append(at, mutate.Addendum{
			Layer:     static.NewLayer([]byte(`{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"`+p+`","subject":[],"predicate":{"of":"`+p+`"}}`), "application/vnd.in-toto+json"),
			MediaType: "application/vnd.in-toto+json", Annotations: map[string]string{"in-toto.io/predicate-type": p},
		}))
	}
	about := mutate.Subject(at, v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: must[v1.Hash](t)(img.Digest()), Size: must[int64](t)(img.Size())}).(v1.Image)
	for _, one := range []v1.Image{img, about} {
		if err := remote.Write(must[name.Digest](t)(name.NewDigest(w.host+"/shop/api@"+must[v1.Hash](t)(one.Digest()).String())), one); err != nil {
			t.Fatal(err)
		}
	}
	return about
}

func TestProvenance(t *testing.T) {
	const v1Type, v02 = cosign.ProvenanceV1, "https://slsa.dev/provenance/v0.2"
	for kind, referrers := range map[string]bool{"referrers": true, "tags": false} {
		w := memory(t, referrers, nil)
		index, image := attested(t, w, 1, cosign.SPDX, v1Type)
		_, older := attested(t, w, 1, v02)
		_, other := attested(t, w, 1, cosign.SPDX)
		for what, c := range map[string]struct{ ref, want string }{
			"index": {index, v1Type}, "image": {image, v1Type}, "older": {older, v02}, "an SBOM alone": {other, ""}, "plain": {push(t, w), ""},
		} {
			a, ok, err := cosign.Provenance(t.Context(), c.ref, w.o)
			if err != nil || ok != (c.want != "") || a.PredicateType != c.want || ok && string(a.Predicate) != `{"of":"`+c.want+`"}` {
				t.Errorf("%s, %s: %+v %t: %v", kind, what, a, ok, err)
			}
		}
		many, _ := attested(t, w, 2, v1Type)
		if _, _, err := cosign.Provenance(t.Context(), many, w.o); err == nil || !strings.Contains(err.Error(), "expected an image of one platform") {
			t.Errorf("two platforms: %v", err)
		}
		refer(t, w, other, "application/vnd.example.notes")
		if _, ok, err := cosign.Provenance(t.Context(), other, w.o); ok || err != nil {
			t.Errorf("notes: %t: %v", ok, err)
		}
		repo, _, _ := strings.Cut(image, "@")
		if _, _, err := cosign.Provenance(t.Context(), repo+"@sha256:"+strings.Repeat("0", 64), w.o); !errors.Is(err, cosign.ErrNotFound) {
			t.Errorf("not there: %v", err)
		}
		twice := must[v1.Image](t)(remote.Image(must[name.Digest](t)(name.NewDigest(image))))
		attach(t, w, twice, v1Type, v1Type)
		if _, _, err := cosign.Provenance(t.Context(), image, w.o); err == nil || !strings.Contains(err.Error(), "of as many builds: name the index") {
			t.Errorf("two builds: %v", err)
		}
		if _, ok, err := cosign.Provenance(t.Context(), index, w.o); !ok || err != nil {
			t.Errorf("the index of one of them: %t: %v", ok, err)
		}
		// What is read can be signed.
		key, _ := newKey(t)
		a, _, err := cosign.Provenance(t.Context(), index, w.o)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := cosign.Sign(t.Context(), image, key, []cosign.Attestation{a}, w.o); err != nil || s.Added != 2 {
			t.Errorf("signed %+v: %v", s, err)
		}
	}
}
