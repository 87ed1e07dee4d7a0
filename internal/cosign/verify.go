package cosign

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Want is what Verify looks for beside an image.
type Want string

// What can be asked for.
const (
	WantSignature  Want = "signature"  // of the image itself
	WantProvenance Want = "provenance" // an attestation of how it was built: SLSA 0.2 or 1
	WantSBOM       Want = "sbom"       // an attestation of what is in it: SPDX or CycloneDX
)

// maxSimple bounds what a signature is of.
const maxSimple = 1 << 20

// Doubt is what Verify did not find.
type Doubt struct {
	Want   Want   // empty: the image itself
	Reason string // for people, about "it", the image
}

// Verify looks for what is wanted beside the image ref, "<registry>/<repository>@sha256:…", in the tags of cosign 1 and 2 and in the bundles of
// cosign 3. A signature counts when one of the keys verifies it and its payload names the digest of the image. An attestation counts when one of
// the keys verifies its envelope, a subject of the statement has the digest of the image, its predicate is of a type that is wanted, and, of a
// provenance, names a builder: the key's, if that has one.
//
// Each thing that does not count is a Doubt, in the order of wants; none: all is there. An error means that the registry did not tell.
func Verify(ctx context.Context, ref string, wants []Want, keys []*PublicKey, o Options) ([]Doubt, error) {
	doubts, err := verify(ctx, ref, wants, keys, o)
	if errors.Is(err, ErrNotFound) {
		return []Doubt{{Reason: "the registry has no such image"}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", ref, err)
	}
	return doubts, nil
}

func verify(ctx context.Context, ref string, wants []Want, keys []*PublicKey, o Options) (doubts []Doubt, err error) {
	r, err := open(ctx, ref, o)
	if err != nil {
		return nil, err
	}
	v := &verifier{registry: r, keys: keys, seen: map[Want]*seen{}}
	for _, w := range wants {
		v.seen[w] = &seen{}
	}
	if v.seen[WantSignature] != nil {
		if err := v.tagged("sig", v.simple); err != nil {
			return nil, err
		}
	}
	if v.seen[WantProvenance] != nil || v.seen[WantSBOM] != nil {
		if err := v.tagged("att", v.attestation); err != nil {
			return nil, err
		}
	}
	if !v.done() {
		if err := v.bundled(); err != nil {
			return nil, err
		}
	}
	for _, w := range wants {
		if reason := v.seen[w].reason(w, v.names()); reason != "" {
			doubts = append(doubts, Doubt{w, reason})
		}
	}
	return doubts, nil
}

// verifier looks at what is beside one image.
type verifier struct {
	*registry
	keys []*PublicKey
	seen map[Want]*seen // of what is wanted
}

// seen is what was found of one thing that is wanted.
type seen struct {
	ok      bool
	unknown int    // verified by none of the keys
	other   string // the digest that one by a known key is of
	unfit   string // why one by a known key does not count
}

// reason why it does not count; empty: it does.
func (s *seen) reason(w Want, keys string) string {
	what := string(w)
	if w == WantSBOM {
		what = "SBOM"
	}
	switch {
	case s.ok:
		return ""
	case s.unfit != "":
		return fmt.Sprintf("its %s %s", what, s.unfit)
	case s.other != "":
		return fmt.Sprintf("its %s is of another image: %s", what, s.other)
	case s.unknown > 0:
		return fmt.Sprintf("its %s is forged, damaged or somebody else's: of %d beside it none is signed with %s", what, s.unknown, keys)
	}
	return map[Want]string{WantSignature: "it has no signature", WantProvenance: "it has no signed provenance", WantSBOM: "it has no signed SBOM"}[w]
}

func (v *verifier) names() string {
	var all []string
	for _, k := range v.keys {
		all = append(all, k.Name)
	}
	return strings.Join(all, " or ")
}

func (v *verifier) done() bool {
	for _, s := range v.seen {
		if !s.ok {
			return false
		}
	}
	return true
}

// by is the key that signed data; nil: none of those that count.
func (v *verifier) by(data, signature []byte) *PublicKey {
	for _, k := range v.keys {
		if k.signed(data, signature) {
			return k
		}
	}
	return nil
}

// tagged looks at the layers under a tag of the image, the newest first, until all is found.
func (v *verifier) tagged(suffix string, look func(v1.Descriptor) error) error {
	tag := v.image.Context().Tag("sha256-" + hexOf(v.image) + "." + suffix)
	img, err := v.under(tag)
	if err != nil {
		return err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return fmt.Errorf("read %s: %w", tag, err)
	}
	if n := len(manifest.Layers); n > maxLayers {
		return fmt.Errorf("%s holds %d, and no more than %d are read", tag, n, maxLayers)
	}
	for _, d := range slices.Backward(manifest.Layers) {
		if v.done() {
			return nil
		}
		if err := look(d); err != nil {
			return fmt.Errorf("read %s: %w", tag, err)
		}
	}
	return nil
}

// simple looks at a signature in the form of cosign 1.
func (v *verifier) simple(d v1.Descriptor) error {
	s := v.seen[WantSignature]
	if s.ok || d.MediaType != simpleSigning {
		return nil
	}
	signature, err := base64.StdEncoding.DecodeString(d.Annotations[signatureAnnotation])
	if err != nil || d.Size > maxSimple {
		s.unknown++
		return nil //nolint:nilerr // it is none
	}
	payload, err := v.blob(d)
	if err != nil {
		return err
	}
	var said struct {
		Critical struct {
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
		} `json:"critical"`
	}
	switch {
	case v.by(payload, signature) == nil:
		s.unknown++
	case json.Unmarshal(payload, &said) != nil || said.Critical.Image.Digest != v.image.DigestStr():
		s.other = cmp.Or(said.Critical.Image.Digest, "none")
	default:
		s.ok = true
	}
	return nil
}

// attestation looks at an envelope under the tag of attestations.
func (v *verifier) attestation(d v1.Descriptor) error {
	if kind, ok := d.Annotations[predicateAnnotation]; d.MediaType != dsseEnvelope || ok && v.wanted(kind) == nil {
		return nil
	}
	data, err := v.blob(d)
	if err != nil {
		return err
	}
	var e envelope
	if json.Unmarshal(data, &e) == nil {
		v.envelope(e)
	}
	return nil
}

// bundled looks at the bundles that refer to the image.
func (v *verifier) bundled() error {
	there, err := v.others()
	if err != nil {
		return err
	}
	for _, d := range slices.Backward(there) {
		if v.done() {
			return nil
		}
		data, err := v.blob(d)
		if err != nil {
			return fmt.Errorf("read a bundle: %w", err)
		}
		var b bundle
		if json.Unmarshal(data, &b) == nil {
			v.envelope(b.Envelope)
		}
	}
	return nil
}

// wanted is what an attestation of a type stands for; nil: nothing that is wanted.
func (v *verifier) wanted(predicateType string) *seen {
	switch {
	case predicateType == signPredicate:
		return v.seen[WantSignature]
	case predicateType == ProvenanceV1 || predicateType == provenanceV02:
		return v.seen[WantProvenance]
	case under(predicateType, SPDX) || under(predicateType, cycloneDX):
		return v.seen[WantSBOM]
	}
	return nil
}

// under says that a type is another one, or a version of it.
func under(predicateType, of string) bool {
	return predicateType == of || strings.HasPrefix(predicateType, of+"/")
}

func (v *verifier) envelope(e envelope) {
	var said statement
	if e.PayloadType != inTotoType || json.Unmarshal(e.Payload, &said) != nil {
		return
	}
	s := v.wanted(said.PredicateType)
	if s == nil || s.ok {
		return
	}
	var key *PublicKey
	for _, signature := range e.Signatures {
		if key == nil {
			key = v.by(encoded(e.Payload), signature.Sig)
		}
	}
	switch other := v.elsewhere(said.Subject); {
	case key == nil:
		s.unknown++
	case other != "":
		s.other = other
	default:
		s.unfit = unfit(said, key)
		s.ok = s.unfit == ""
	}
}

// elsewhere is the digest that a statement is about; empty: it is about the image.
func (v *verifier) elsewhere(subjects []subject) string {
	other := "none"
	for _, s := range subjects {
		sum := s.Digest["sha256"]
		if sum == hexOf(v.image) {
			return ""
		}
		if sum != "" {
			other = "sha256:" + sum
		}
	}
	return other
}

// unfit is why a statement about the image does not count; empty: it does.
func unfit(s statement, key *PublicKey) string {
	if p := bytes.TrimSpace(s.Predicate); s.PredicateType != signPredicate && (len(p) == 0 || p[0] != '{' || string(p) == "{}") {
		return "says nothing"
	}
	if s.PredicateType != ProvenanceV1 && s.PredicateType != provenanceV02 {
		return ""
	}
	type builder struct {
		ID string `json:"id"`
	}
	var by struct {
		Builder builder `json:"builder"` // 0.2
		Run     struct {
			Builder builder `json:"builder"`
		} `json:"runDetails"` // 1
	}
	if err := json.Unmarshal(s.Predicate, &by); err != nil {
		return "cannot be read: " + err.Error()
	}
	id := by.Builder.ID
	if s.PredicateType == ProvenanceV1 {
		id = by.Run.Builder.ID
	}
	switch {
	case id == "":
		return "names no builder"
	case key.Builder != "" && id != key.Builder:
		return fmt.Sprintf("names the builder %q: expected %q", id, key.Builder)
	}
	return ""
}
