package cosign

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	buildkitKind     = "vnd.docker.reference.type"
	buildkitAttested = "attestation-manifest"
	buildkitArtifact = "application/vnd.docker.attestation.manifest.v1+json"
	inTotoPredicate  = "in-toto.io/predicate-type"
)

// Provenance is the SLSA provenance that BuildKit attached to an image without a signature; false:
// there is none. ref is the index that BuildKit pushed, "<registry>/<repository>@sha256:…". It may be
// the image in it, where the registry lists what refers to an image: but of an image that several
// builds made alike nobody can tell which is asked for, and that is an error. So is an index of
// several platforms, which has a provenance for each.
func Provenance(ctx context.Context, ref string, o Options) (Attestation, bool, error) {
	a, err := provenance(ctx, ref, o)
	if err != nil {
		return Attestation{}, false, fmt.Errorf("read the provenance of %s: %w", ref, err)
	}
	if len(a) == 0 {
		return Attestation{}, false, nil
	}
	return a[0], true, nil
}

// provenance are those of an image: none or one.
func provenance(ctx context.Context, ref string, o Options) (out []Attestation, err error) {
	r, err := open(ctx, ref, o)
	if err != nil {
		return nil, err
	}
	beside, err := r.attested()
	if err != nil {
		return nil, err
	}
	for _, m := range beside {
		more, err := r.provenanceIn(m)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	switch {
	case len(out) < 2:
		return out, nil
	case r.desc.MediaType.IsIndex():
		return nil, fmt.Errorf("it has %d, of as many platforms: expected an image of one platform", len(out))
	}
	return nil, fmt.Errorf("it has %d, of as many builds: name the index that one of them pushed", len(out))
}

// attested are the manifests of BuildKit's attestations.
func (r *registry) attested() (out []*v1.Manifest, err error) {
	if !r.desc.MediaType.IsIndex() {
		all, err := r.referrers()
		return slices.DeleteFunc(all, func(m *v1.Manifest) bool {
			return m.ArtifactType != buildkitArtifact && m.Config.MediaType != buildkitArtifact
		}), err
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(r.desc.Manifest))
	if err != nil {
		return nil, fmt.Errorf("it is no index: %w", err)
	}
	for _, d := range index.Manifests {
		if d.Annotations[buildkitKind] != buildkitAttested {
			continue
		}
		m, err := r.manifest(d.Digest)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// provenanceIn are the provenances of one manifest of attestations.
func (r *registry) provenanceIn(m *v1.Manifest) (out []Attestation, err error) {
	for _, l := range m.Layers {
		kind := l.Annotations[inTotoPredicate]
		if l.MediaType != inTotoType || kind != ProvenanceV1 && kind != provenanceV02 {
			continue
		}
		data, err := r.blob(l)
		if err != nil {
			return nil, err
		}
		var s statement
		if json.Unmarshal(data, &s) != nil || s.PredicateType != kind || len(s.Predicate) == 0 {
			return nil, fmt.Errorf("%s is no statement of %s, as its manifest says", l.Digest, kind)
		}
		out = append(out, Attestation{PredicateType: s.PredicateType, Predicate: s.Predicate})
	}
	return out, nil
}
