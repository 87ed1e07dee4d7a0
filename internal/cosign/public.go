package cosign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// PublicKey tells whether a signature is by the private key that belongs to it.
type PublicKey struct {
	// Name for people, as "cosign.pub".
	Name string
	// Builder is what a provenance by this key must name as its builder; empty: any.
	Builder string

	key crypto.PublicKey // *ecdsa.PublicKey on P-256, or ed25519.PublicKey
	der []byte
}

// LoadPublicKey reads cosign.pub: one public key in PEM, of ECDSA on P-256 or of Ed25519.
func LoadPublicKey(pemBytes []byte) (*PublicKey, error) {
	block, rest := pem.Decode(pemBytes)
	switch {
	case block == nil:
		return nil, errors.New("it is no PEM: expected -----BEGIN PUBLIC KEY-----, as in cosign.pub")
	case strings.Contains(block.Type, "PRIVATE KEY"):
		return nil, errors.New("it is a private key, which nobody but who signs may have: expected the public key that belongs to it, cosign.pub and not cosign.key")
	case block.Type != "PUBLIC KEY":
		return nil, fmt.Errorf("it is a %q: expected -----BEGIN PUBLIC KEY-----, as in cosign.pub", block.Type)
	case strings.TrimSpace(string(rest)) != "":
		return nil, errors.New("it holds more than one key: expected one, and a file for each")
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the public key cannot be read: %w", err)
	}
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return nil, fmt.Errorf("the public key is of ECDSA on %s: expected P-256, as cosign makes them", k.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	default:
		return nil, fmt.Errorf("the public key is a %T: expected ECDSA on P-256, or Ed25519", public)
	}
	return &PublicKey{key: public, der: block.Bytes}, nil
}

// ID names the key, as Key.ID does.
func (k *PublicKey) ID() string { return keyID(k.der) }

// PEM is the key in its shortest form.
func (k *PublicKey) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.der})
}

func (k *PublicKey) signed(data, signature []byte) bool { return signedBy(k.key, data, signature) }

func keyID(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:4])
}

func signedBy(key crypto.PublicKey, data, signature []byte) bool {
	switch public := key.(type) {
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(data)
		return ecdsa.VerifyASN1(public, sum[:], signature)
	case ed25519.PublicKey:
		return ed25519.Verify(public, data, signature)
	}
	return false
}
