package cosign

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Predicates that cosign has names for.
const (
	SPDX          = "https://spdx.dev/Document"           // --type spdxjson
	ProvenanceV1  = "https://slsa.dev/provenance/v1"      // --type slsaprovenance1
	provenanceV02 = "https://slsa.dev/provenance/v0.2"    // --type slsaprovenance
	cycloneDX     = "https://cyclonedx.org/bom"           // --type cyclonedx
	signPredicate = "https://sigstore.dev/cosign/sign/v1" // of a signature that is a bundle
)

const (
	inTotoType    = "application/vnd.in-toto+json" // of payloads in envelopes, and of BuildKit's layers
	statementType = "https://in-toto.io/Statement/v0.1"
)

// Attestation is what is said of an image.
type Attestation struct {
	PredicateType string          // a URI
	Predicate     json.RawMessage // an object
}

// statement is an in-toto statement. cosign writes v0.1 also about predicates that are newer, and all
// that verify read it.
type statement struct {
	Type          string          `json:"_type"`
	PredicateType string          `json:"predicateType"`
	Subject       []subject       `json:"subject"`
	Predicate     json.RawMessage `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// about is the statement as bytes, the same for the same.
func (a Attestation) about(image name.Digest) ([]byte, error) {
	var object map[string]json.RawMessage
	if a.PredicateType == "" {
		return nil, errors.New("an attestation has no type: expected a URI, as " + SPDX)
	}
	if json.Unmarshal(a.Predicate, &object) != nil || object == nil {
		return nil, fmt.Errorf("attestation %s: its predicate is no object of JSON", a.PredicateType)
	}
	return json.Marshal(statement{
		Type: statementType, PredicateType: a.PredicateType, Predicate: a.Predicate,
		Subject: []subject{{Name: image.Context().Name(), Digest: map[string]string{"sha256": hexOf(image)}}},
	})
}

// envelope is a DSSE envelope. In a bundle a signature has no key id.
type envelope struct {
	PayloadType string              `json:"payloadType"`
	Payload     []byte              `json:"payload"`
	Signatures  []envelopeSignature `json:"signatures"`
}

type envelopeSignature struct {
	KeyID string `json:"keyid"`
	Sig   []byte `json:"sig"`
}

// seal signs a statement.
func (k *Key) seal(statement []byte) (envelope, error) {
	sig, err := k.sign(encoded(statement))
	if err != nil {
		return envelope{}, fmt.Errorf("sign a statement: %w", err)
	}
	return envelope{PayloadType: inTotoType, Payload: statement, Signatures: []envelopeSignature{{Sig: sig}}}, nil
}

// sealed says whether an envelope has this statement, signed by this key.
func (k *Key) sealed(e envelope, statement []byte) bool {
	if e.PayloadType != inTotoType || string(e.Payload) != string(statement) {
		return false
	}
	for _, s := range e.Signatures {
		if k.signed(encoded(statement), s.Sig) {
			return true
		}
	}
	return false
}

// encoded is what a DSSE signature of a statement is over.
func encoded(statement []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(inTotoType), inTotoType, len(statement), statement)
}

// simple is the simple-signing payload of an image, as bytes that are the same for the same.
func simple(image name.Digest) ([]byte, error) {
	type critical struct {
		Identity struct {
			Reference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			Digest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	}
	c := critical{Type: "cosign container image signature"}
	c.Identity.Reference, c.Image.Digest = image.Context().Name(), image.DigestStr()
	return json.Marshal(struct {
		Critical critical       `json:"critical"`
		Optional map[string]any `json:"optional"`
	}{Critical: c})
}

func hexOf(image name.Digest) string { return strings.TrimPrefix(image.DigestStr(), "sha256:") }
