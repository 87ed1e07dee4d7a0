package cosign_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"regexp"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"

	"github.com/slipway-build/slipway/internal/cosign"
)

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	return must[[]byte](t)(x509.MarshalPKCS8PrivateKey(key))
}

func public(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	return pemOf("PUBLIC KEY", must[[]byte](t)(x509.MarshalPKIXPublicKey(key.Public())))
}

func p256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	return must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
}

// newKey is a key, as it is loaded.
func newKey(t *testing.T) (*cosign.Key, *ecdsa.PrivateKey) {
	t.Helper()
	private := p256(t)
	return must[*cosign.Key](t)(cosign.LoadKey(pemOf("PRIVATE KEY", pkcs8(t, private)), nil)), private
}

func TestLoadKey(t *testing.T) {
	ec := p256(t)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	box := must[[]byte](t)(encrypted.Encrypt(pkcs8(t, ec), []byte("secret")))
	open := must[[]byte](t)(encrypted.Encrypt(pkcs8(t, ec), nil))
	sec1 := pemOf("EC PRIVATE KEY", must[[]byte](t)(x509.MarshalECPrivateKey(ec)))
	ids := map[string]bool{}
	for name, c := range map[string]struct {
		pem      []byte
		password string
		of       crypto.Signer
	}{
		"cosign": {pemOf("ENCRYPTED SIGSTORE PRIVATE KEY", box), "secret", ec}, "older cosign": {pemOf("ENCRYPTED COSIGN PRIVATE KEY", box), "secret", ec},
		"empty password": {pemOf("ENCRYPTED SIGSTORE PRIVATE KEY", open), "", ec}, "PKCS #8": {pemOf("PRIVATE KEY", pkcs8(t, ec)), "any", ec}, "Ed25519": {pemOf("PRIVATE KEY", pkcs8(t, ed)), "", ed},
		"SEC 1": {sec1, "", ec}, "openssl ecparam": {append(pemOf("EC PARAMETERS", []byte{6}), sec1...), "", ec},
	} {
		k, err := cosign.LoadKey(c.pem, []byte(c.password))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !bytes.Equal(k.Public(), public(t, c.of)) || !regexp.MustCompile(`^[0-9a-f]{8}$`).MatchString(k.ID()) {
			t.Errorf("%s: %s, %s", name, k.ID(), k.Public())
		}
		ids[k.ID()] = true
	}
	if len(ids) != 2 {
		t.Errorf("two keys have the ids %v", ids)
	}
}

func TestLoadKeyRefuses(t *testing.T) {
	ec := p256(t)
	p384 := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	rsaKey := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	box := must[[]byte](t)(encrypted.Encrypt(pkcs8(t, ec), []byte("secret")))
	sealed := pemOf("ENCRYPTED SIGSTORE PRIVATE KEY", box)
	for name, c := range map[string]struct {
		pem            []byte
		password, want string
	}{
		"wrong password":   {sealed, "secret\n", "the password does not open the key"},
		"no password":      {sealed, "", "there is no password"},
		"damaged":          {pemOf("ENCRYPTED SIGSTORE PRIVATE KEY", []byte("{")), "secret", "damaged"},
		"slow on purpose":  {pemOf("ENCRYPTED SIGSTORE PRIVATE KEY", bytes.Replace(box, []byte(`"N":65536`), []byte(`"N":33554432`), 1)), "secret", "unsupported scrypt parameters"},
		"public":           {public(t, ec), "", "expected the private key"},
		"P-384":            {pemOf("PRIVATE KEY", pkcs8(t, p384)), "", "ECDSA on P-384: expected P-256"},
		"RSA":              {pemOf("PRIVATE KEY", pkcs8(t, rsaKey)), "", "*rsa.PrivateKey: expected ECDSA"},
		"PKCS #1":          {pemOf("RSA PRIVATE KEY", nil), "", `"RSA PRIVATE KEY", which is not supported`},
		"OpenSSH":          {pemOf("OPENSSH PRIVATE KEY", nil), "", "not supported"},
		"old openssl":      {pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}}), "", "openssl pkey"},
		"no PEM":           {[]byte("secret"), "", "no PEM"},
		"nothing":          {nil, "", "no PEM"},
		"not what it says": {pemOf("PRIVATE KEY", []byte("x")), "", "cannot be read"},
	} {
		_, err := cosign.LoadKey(c.pem, []byte(c.password))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, expected %q", name, err, c.want)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error has the password: %v", name, err)
		}
	}
}
