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
		desc := v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: must[v1.Hash](t)(img.Digest()), Size: must[int64](t)(img.Size())}
		image = repo + "@" + desc.Digest.String()
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
		at := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.docker.attestation.manifest.v1+json")
		for _, p := range predicates {
			at = must[v1.Image](t)(mutate.Append(at, mutate.Addendum{
				Layer:     static.NewLayer([]byte(`{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"`+p+`","subject":[],"predicate":{"of":"`+p+`"}}`), "application/vnd.in-toto+json"),
				MediaType: "application/vnd.in-toto+json", Annotations: map[string]string{"in-toto.io/predicate-type": p},
			}))
		}
		about := mutate.Subject(at, desc).(v1.Image)
		if err := remote.Write(must[name.Digest](t)(name.NewDigest(image)), img); err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(must[name.Digest](t)(name.NewDigest(repo+"@"+must[v1.Hash](t)(about.Digest()).String())), about); err != nil {
			t.Fatal(err)
		}
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: about, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}, Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": desc.Digest.String()},
		}})
	}
	ref := must[name.Digest](t)(name.NewDigest(repo + "@" + must[v1.Hash](t)(idx.Digest()).String()))
	if err := remote.WriteIndex(ref, idx); err != nil {
		t.Fatal(err)
	}
	return ref.String(), image
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
			a, err := cosign.Provenance(t.Context(), c.ref, w.o)
			if err != nil || (len(a) == 1) != (c.want != "") || len(a) == 1 && (a[0].PredicateType != c.want || string(a[0].Predicate) != `{"of":"`+c.want+`"}`) {
				t.Errorf("%s, %s: %+v: %v", kind, what, a, err)
			}
		}
		many, _ := attested(t, w, 2, v1Type)
		if a, err := cosign.Provenance(t.Context(), many, w.o); err != nil || len(a) != 2 {
			t.Errorf("two builds: %v, %v", a, err)
		}
		repo, _, _ := strings.Cut(image, "@")
		if _, err := cosign.Provenance(t.Context(), repo+"@sha256:"+strings.Repeat("0", 64), w.o); !errors.Is(err, cosign.ErrNotFound) {
			t.Errorf("not there: %v", err)
		}
		// What is read can be signed.
		key, _ := newKey(t)
		a, err := cosign.Provenance(t.Context(), image, w.o)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := cosign.Sign(t.Context(), image, key, a, w.o); err != nil || s.Added != 2 {
			t.Errorf("signed %+v: %v", s, err)
		}
	}
}
