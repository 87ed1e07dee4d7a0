//go:build e2e

package install_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// repo is a copy of this repository, as it is in the working tree.
type repo struct {
	t   *testing.T
	dir string
}

func repository(t *testing.T, p *place) *repo {
	t.Helper()
	r := &repo{t: t, dir: filepath.Join(p.dir, "repository")}
	for name := range strings.SplitSeq(string(run(t, root, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")), "\x00") {
		content, err := os.ReadFile(filepath.Join(root, name))
		if name == "" || os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		r.write(name, string(content))
	}
	proxy := modules(t) + ",https://proxy.golang.org,direct"
	r.edit("slipway.yaml", "target: slipway }", `target: slipway, args: { GOPROXY: "`+proxy+`" } }`)
	r.edit("slipway.yaml", "target: nats }", `target: nats, args: { GOPROXY: "`+proxy+`" } }`)
	run(t, r.dir, "git", "init", "-q", "-b", "main")
	r.commit("Slipway")
	return r
}

// modules serves what go has downloaded on this machine, which compiled the same programs, as a module proxy. Build steps
// have the machine's network.
func modules(t *testing.T) string {
	t.Helper()
	cache := strings.TrimSpace(string(run(t, root, "go", "env", "GOMODCACHE")))
	s := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(cache, "cache", "download"))))
	t.Cleanup(s.Close)
	return s.URL
}

func (r *repo) write(name, content string) {
	r.t.Helper()
	file := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r *repo) edit(name, old, text string) {
	r.t.Helper()
	content, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil || strings.Count(string(content), old) != 1 {
		r.t.Fatalf("%s has %q not once: %v", name, old, err)
	}
	r.write(name, strings.Replace(string(content), old, text, 1))
}

func (r *repo) commit(message string) {
	r.t.Helper()
	run(r.t, r.dir, "git", "add", "-A")
	run(r.t, r.dir, "git", "-c", "user.name=Anna", "-c", "user.email=anna@example.com", "commit", "-q", "-m", message)
}

// certificate is one that signed itself, for the names and for loopback.
func certificate(t *testing.T, names ...string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
}
