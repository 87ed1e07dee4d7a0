package cosign

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	bundlePrefix                    = "application/vnd.dev.sigstore.bundle"
	bundleType      types.MediaType = bundlePrefix + ".v0.3+json"
	emptyConfig     types.MediaType = "application/vnd.oci.empty.v1+json"
	bundleContent                   = "dev.sigstore.bundle.content"
	bundlePredicate                 = "dev.sigstore.bundle.predicateType"
)

// bundle is a Sigstore bundle of a statement that a key signed.
type bundle struct {
	MediaType    types.MediaType `json:"mediaType"`
	Verification struct {
		Key struct {
			Hint string `json:"hint"`
		} `json:"publicKey"`
	} `json:"verificationMaterial"`
	Envelope envelope `json:"dsseEnvelope"`
}

// bundles writes signature and statements as bundles, where others have written some, and answers how
// many there were not yet.
func (r *registry) bundles(key *Key, statements []said) (added int, err error) {
	there, err := r.others()
	if err != nil || len(there) == 0 {
		return 0, err
	}
	signature, err := Attestation{PredicateType: signPredicate, Predicate: json.RawMessage("{}")}.about(r.image)
	if err != nil {
		return 0, err
	}
	for _, s := range append([]said{{signPredicate, signature}}, statements...) {
		ok, err := holds(there, func(d v1.Descriptor) (bool, error) {
			if !fits(d.Size, s.text) {
				return false, nil
			}
			data, err := r.blob(d)
			var b bundle
			return err == nil && json.Unmarshal(data, &b) == nil && key.sealed(b.Envelope, s.text), err
		})
		if err != nil {
			return added, fmt.Errorf("read the bundles of others: %w", err)
		}
		if ok {
			continue
		}
		if err := r.bundle(key, s); err != nil {
			return added, fmt.Errorf("write a bundle: %w", err)
		}
		added++
	}
	return added, nil
}

// others are the layers of the bundles beside the image. They are recognized as cosign does it.
func (r *registry) others() (out []v1.Descriptor, err error) {
	all, err := r.referrers()
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		if len(m.Layers) == 1 && strings.HasPrefix(string(m.Layers[0].MediaType), bundlePrefix) {
			out = append(out, m.Layers[0])
		}
	}
	return out, nil
}

// bundle writes a statement as a bundle that refers to the image.
func (r *registry) bundle(key *Key, s said) error {
	b := bundle{MediaType: bundleType}
	sum := sha256.Sum256(key.public)
	b.Verification.Key.Hint = base64.StdEncoding.EncodeToString(sum[:])
	var err error
	if b.Envelope, err = key.seal(s.text); err != nil {
		return err
	}
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	m := v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: string(bundleType),
		Subject:     &v1.Descriptor{MediaType: r.desc.MediaType, Digest: r.desc.Digest, Size: r.desc.Size},
		Annotations: map[string]string{bundleContent: "dsse-envelope", bundlePredicate: s.predicateType},
	}
	for at, layer := range []v1.Layer{static.NewLayer([]byte("{}"), emptyConfig), static.NewLayer(data, bundleType)} {
		if err := remote.WriteLayer(r.image.Context(), layer, r.with...); err != nil {
			return err
		}
		d, err := descriptor(layer)
		if err != nil {
			return err
		}
		if at == 0 {
			m.Config = d
		} else {
			m.Layers = []v1.Descriptor{d}
		}
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	digest, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	return remote.Put(r.image.Context().Digest(digest.String()), asIs(raw), r.with...)
}

func descriptor(layer v1.Layer) (d v1.Descriptor, err error) {
	if d.Digest, err = layer.Digest(); err != nil {
		return d, err
	}
	if d.Size, err = layer.Size(); err != nil {
		return d, err
	}
	d.MediaType, err = layer.MediaType()
	return d, err
}

// asIs is a manifest that is written as it is.
type asIs []byte

func (m asIs) RawManifest() ([]byte, error)      { return m, nil }
func (asIs) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
