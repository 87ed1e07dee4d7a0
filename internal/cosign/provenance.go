package cosign

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const (
	buildkitKind     = "vnd.docker.reference.type"
	buildkitAttested = "attestation-manifest"
	buildkitArtifact = "application/vnd.docker.attestation.manifest.v1+json"
	inTotoPredicate  = "in-toto.io/predicate-type"
)

// maxProvenances of an image are read: the same image may have been built many times.
const maxProvenances = 10

// Provenance is the SLSA provenance that BuildKit attached to an image without a signature: of each
// build that made it, at most maxProvenances; none: there is none. ref is the index that BuildKit pushed,
// "<registry>/<repository>@sha256:…"; or the image in it, where the registry lists what refers to an image.
func Provenance(ctx context.Context, ref string, o Options) ([]Attestation, error) {
	a, err := provenance(ctx, ref, o)
	if err != nil {
		return nil, fmt.Errorf("read the provenance of %s: %w", ref, err)
	}
	return a, nil
}

func provenance(ctx context.Context, ref string, o Options) (out []Attestation, err error) {
	r, err := open(ctx, ref, o)
	if err != nil {
		return nil, err
	}
	var beside []v1.Descriptor
	if r.desc.MediaType.IsIndex() {
		index, err := v1.ParseIndexManifest(bytes.NewReader(r.desc.Manifest))
		if err != nil {
			return nil, err
		}
		for _, d := range index.Manifests {
			if d.Annotations[buildkitKind] == buildkitAttested {
				beside = append(beside, d)
			}
		}
	} else {
		all, err := r.referrers()
		if err != nil {
			return nil, err
		}
		for _, d := range all {
			if d.ArtifactType == buildkitArtifact {
				beside = append(beside, d)
			}
		}
	}
	for _, d := range beside[:min(len(beside), maxProvenances)] {
		desc, err := remote.Get(r.image.Context().Digest(d.Digest.String()), r.with...)
		if err != nil {
			return nil, err
		}
		m, err := v1.ParseManifest(bytes.NewReader(desc.Manifest))
		if err != nil {
			return nil, fmt.Errorf("%s is no manifest: %w", d.Digest, err)
		}
		for _, l := range m.Layers {
			if l.MediaType != inTotoType || l.Annotations[inTotoPredicate] != ProvenanceV1 && l.Annotations[inTotoPredicate] != provenanceV02 {
				continue
			}
			data, err := r.blob(l)
			if err != nil {
				return nil, err
			}
			var s statement
			if json.Unmarshal(data, &s) != nil || s.PredicateType != l.Annotations[inTotoPredicate] || len(s.Predicate) == 0 {
				return nil, fmt.Errorf("%s is no statement of %s, as its manifest says", l.Digest, l.Annotations[inTotoPredicate])
			}
			out = append(out, Attestation{PredicateType: s.PredicateType, Predicate: s.Predicate})
		}
	}
	return out, nil
}
