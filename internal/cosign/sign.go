package cosign

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Limits. cosign reads no more than this either.
const (
	maxLayers    = 1000      // below one tag
	maxStatement = 64 << 20  // bytes
	maxEnvelope  = 128 << 20 // bytes
	writes       = 5         // tries to write what somebody else writes too
)

const (
	simpleSigning       types.MediaType = "application/vnd.dev.cosign.simplesigning.v1+json"
	dsseEnvelope        types.MediaType = "application/vnd.dsse.envelope.v1+json"
	signatureAnnotation                 = "dev.cosignproject.cosign/signature"
	predicateAnnotation                 = "predicateType"
)

// Signed says what is beside an image now.
type Signed struct {
	Image        string // as it was asked
	Key          string // ID of the key
	Signatures   string // <repository>@sha256:… of what is under the tag of signatures
	Attestations string // the same of attestations; empty: none were given
	Added        int    // signatures, envelopes and bundles that were not there before
}

// Sign signs the image ref, "<registry>/<repository>@sha256:…", and says attestations of it. What this
// key has signed there already is not written again, and what others have signed stays. The image must
// be in the registry: else the error is ErrNotFound.
//
// A registry cannot compare and swap. Sign reads back what it wrote, and writes again where another
// signer has replaced it meanwhile; two who sign the same image at the same instant can still undo each
// other, and to sign again is always safe.
func Sign(ctx context.Context, ref string, key *Key, attestations []Attestation, o Options) (Signed, error) {
	s, err := sign(ctx, ref, key, attestations, o)
	if err != nil {
		return Signed{}, fmt.Errorf("sign %s: %w", ref, err)
	}
	return s, nil
}

func sign(ctx context.Context, ref string, key *Key, attestations []Attestation, o Options) (Signed, error) {
	out := Signed{Image: ref, Key: key.ID()}
	r, err := open(ctx, ref, o)
	if err != nil {
		return out, err
	}
	signature, err := key.signature(r)
	if err != nil {
		return out, err
	}
	var statements []said
	for _, a := range attestations {
		text, err := a.about(r.image)
		if err != nil {
			return out, err
		}
		if len(text) > maxStatement {
			return out, fmt.Errorf("attestation %s: it has %d bytes, and no more than %d can be verified", a.PredicateType, len(text), maxStatement)
		}
		statements = append(statements, said{a.PredicateType, text})
	}
	if out.Signatures, out.Added, err = r.add("sig", []entry{signature}); err != nil {
		return out, err
	}
	if len(statements) > 0 {
		var entries []entry
		for _, s := range statements {
			entries = append(entries, key.envelope(r, s))
		}
		var n int
		out.Attestations, n, err = r.add("att", entries)
		if err != nil {
			return out, err
		}
		out.Added += n
	}
	n, err := r.bundles(key, statements)
	out.Added += n
	return out, err
}

// said is a statement, and what it is of.
type said struct {
	predicateType string
	text          []byte
}

// entry is what one layer is to hold.
type entry struct {
	// there says whether a layer holds it already.
	there func(v1.Descriptor) (bool, error)
	// make signs it.
	make func() (mutate.Addendum, error)
}

// signature is that of an image: of the layer itself, beside it in an annotation.
func (k *Key) signature(r *registry) (entry, error) {
	payload, err := simple(r.image)
	if err != nil {
		return entry{}, err
	}
	layer := static.NewLayer(payload, simpleSigning)
	digest, err := layer.Digest()
	if err != nil {
		return entry{}, err
	}
	return entry{
		there: func(d v1.Descriptor) (bool, error) {
			sig, err := base64.StdEncoding.DecodeString(d.Annotations[signatureAnnotation])
			return err == nil && d.Digest == digest && d.MediaType == simpleSigning && k.signed(payload, sig), nil
		},
		make: func() (mutate.Addendum, error) {
			sig, err := k.sign(payload)
			if err != nil {
				return mutate.Addendum{}, err
			}
			return mutate.Addendum{Layer: layer, MediaType: simpleSigning, Annotations: map[string]string{signatureAnnotation: base64.StdEncoding.EncodeToString(sig)}}, nil
		},
	}, nil
}

// envelope is that of a statement.
func (k *Key) envelope(r *registry, s said) entry {
	return entry{
		there: func(d v1.Descriptor) (bool, error) {
			if d.MediaType != dsseEnvelope || d.Annotations[predicateAnnotation] != s.predicateType || !fits(d.Size, s.text) {
				return false, nil
			}
			data, err := r.blob(d)
			if err != nil {
				return false, err
			}
			var e envelope
			return json.Unmarshal(data, &e) == nil && k.sealed(e, s.text), nil
		},
		make: func() (mutate.Addendum, error) {
			e, err := k.seal(s.text)
			if err != nil {
				return mutate.Addendum{}, err
			}
			data, err := json.Marshal(e)
			if err != nil {
				return mutate.Addendum{}, err
			}
			// The empty signature is cosign's: the one that counts is in the envelope.
			return mutate.Addendum{Layer: static.NewLayer(data, dsseEnvelope), MediaType: dsseEnvelope, Annotations: map[string]string{predicateAnnotation: s.predicateType, signatureAnnotation: ""}}, nil
		},
	}
}

// fits says whether so many bytes can hold an envelope over a statement: others are not read.
func fits(size int64, statement []byte) bool {
	least := int64(base64.StdEncoding.EncodedLen(len(statement)))
	return size >= least && size <= least+64<<10 && size <= maxEnvelope
}

// add sees to it that entries are under the tag with this suffix. It answers what is there by digest,
// and how many were not.
func (r *registry) add(suffix string, entries []entry) (ref string, added int, err error) {
	tag := r.image.Context().Tag("sha256-" + hexOf(r.image) + "." + suffix)
	for range writes {
		img, err := r.under(tag)
		if err != nil {
			return "", 0, err
		}
		manifest, err := img.Manifest()
		if err != nil {
			return "", 0, fmt.Errorf("read %s: %w", tag, err)
		}
		var more []mutate.Addendum
		for _, e := range entries {
			if ok, err := holds(manifest.Layers, e.there); err != nil {
				return "", 0, fmt.Errorf("read %s: %w", tag, err)
			} else if ok {
				continue
			}
			one, err := e.make()
			if err != nil {
				return "", 0, err
			}
			more = append(more, one)
		}
		if len(more) == 0 {
			digest, err := img.Digest()
			return tag.Context().Name() + "@" + digest.String(), added, err
		}
		if len(manifest.Layers)+len(more) > maxLayers {
			return "", 0, fmt.Errorf("%s holds %d already, and cosign reads no more than %d: delete the tag, and sign again", tag, len(manifest.Layers), maxLayers)
		}
		if img, err = mutate.Append(img, more...); err != nil {
			return "", 0, fmt.Errorf("add to %s: %w", tag, err)
		}
		if err := remote.Write(tag, img, r.with...); err != nil {
			return "", 0, fmt.Errorf("write %s: %w", tag, err)
		}
		added = max(added, len(more))
	}
	return "", 0, fmt.Errorf("%s was written by somebody else each of %d times that it was written here: try again", tag, writes)
}

func holds(layers []v1.Descriptor, there func(v1.Descriptor) (bool, error)) (bool, error) {
	for _, d := range slices.Backward(layers) {
		if ok, err := there(d); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// nothing is an image that holds no signatures yet.
func nothing() v1.Image {
	return mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
}
