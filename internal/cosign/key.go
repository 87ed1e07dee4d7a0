package cosign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

// makeOne is what to do about a key that cannot be used.
const makeOne = "make one with cosign generate-key-pair"

// Key is a private key that signs.
type Key struct {
	private crypto.Signer // *ecdsa.PrivateKey on P-256, or ed25519.PrivateKey
	public  []byte        // DER
}

// LoadKey reads a private key from PEM: one that cosign encrypted, with its password; or one that is
// not encrypted, as PKCS #8 or SEC 1, for which the password does not count. It is of ECDSA on P-256,
// as cosign's own are, or Ed25519.
func LoadKey(pemBytes, password []byte) (*Key, error) {
	block, rest := pem.Decode(pemBytes)
	for block != nil && block.Type == "EC PARAMETERS" { // which openssl writes before the key
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, errors.New("the key is no PEM: expected -----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY----- or another private key; " + makeOne)
	}
	if strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return nil, errors.New("the key is encrypted in the old way of OpenSSL, which is not supported: decrypt it with openssl pkey, or " + makeOne)
	}
	switch block.Type {
	case "ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY":
		der, err := decrypt(block.Bytes, password)
		if err != nil {
			return nil, err
		}
		return parse(x509.ParsePKCS8PrivateKey(der))
	case "PRIVATE KEY":
		return parse(x509.ParsePKCS8PrivateKey(block.Bytes))
	case "EC PRIVATE KEY":
		return parse(x509.ParseECPrivateKey(block.Bytes))
	case "PUBLIC KEY", "CERTIFICATE":
		return nil, fmt.Errorf("the key is a %s: expected the private key that belongs to it, cosign.key and not cosign.pub", strings.ToLower(block.Type))
	}
	return nil, fmt.Errorf("the key is a %q, which is not supported: expected a key of cosign, or an unencrypted one of ECDSA P-256 or Ed25519; %s", block.Type, makeOne)
}

func decrypt(box, password []byte) ([]byte, error) {
	der, err := encrypted.Decrypt(box, password)
	switch {
	case err == nil:
		return der, nil
	case !strings.Contains(err.Error(), "decryption failed"):
		return nil, fmt.Errorf("the encrypted key is damaged, or of a newer cosign: %w", err)
	case len(password) == 0:
		return nil, errors.New("the key is encrypted, and there is no password: give the one that it was made with")
	}
	return nil, errors.New("the password does not open the key: it is another key's, or has a newline at its end")
}

func parse(private any, err error) (*Key, error) {
	if err != nil {
		return nil, fmt.Errorf("the key cannot be read: %w", err)
	}
	k := &Key{}
	switch p := private.(type) {
	case *ecdsa.PrivateKey:
		if p.Curve != elliptic.P256() {
			return nil, fmt.Errorf("the key is of ECDSA on %s: expected P-256; %s", p.Curve.Params().Name, makeOne)
		}
		k.private = p
	case ed25519.PrivateKey:
		k.private = p
	default:
		return nil, fmt.Errorf("the key is a %T: expected ECDSA on P-256, or Ed25519; %s", private, makeOne)
	}
	if k.public, err = x509.MarshalPKIXPublicKey(k.private.Public()); err != nil {
		return nil, fmt.Errorf("the public half of the key: %w", err)
	}
	return k, nil
}

// Public is the public key in PEM, as cosign.pub is.
func (k *Key) Public() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.public})
}

// ID is a hint of which key it is: the first 8 hex digits of the SHA-256 of the public key in DER.
func (k *Key) ID() string { return keyID(k.public) }

func (k *Key) sign(data []byte) ([]byte, error) {
	if _, ok := k.private.(ed25519.PrivateKey); ok {
		return k.private.Sign(rand.Reader, data, crypto.Hash(0))
	}
	sum := sha256.Sum256(data)
	return k.private.Sign(rand.Reader, sum[:], crypto.SHA256)
}

// signed says whether a signature of data is this key's.
func (k *Key) signed(data, signature []byte) bool {
	return signedBy(k.private.Public(), data, signature)
}
