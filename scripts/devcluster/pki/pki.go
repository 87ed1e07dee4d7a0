// Package pki makes the certificates and kubeconfigs of a development cluster. The authority is kept in the cluster's folder,
// so that a restarted cluster still knows its old clients; everything else is issued anew at each start.
//
// It does not revoke or rotate: a development cluster does not live that long.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const lifetime = 5 * 365 * 24 * time.Hour

// Pair is a certificate with its key, both PEM.
type Pair struct {
	Cert, Key []byte
}

// Subject says who a certificate is for. Names and IPs are needed by servers only.
type Subject struct {
	User   string
	Groups []string
	Names  []string
	IPs    []netip.Addr
}

// Authority signs the certificates of one cluster.
type Authority struct {
	Cert []byte
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// LoadOrCreate reads ca.crt and ca.key below dir, or makes them.
func LoadOrCreate(dir string) (*Authority, error) {
	crtFile, keyFile := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	crt, err := os.ReadFile(crtFile)
	if errors.Is(err, fs.ErrNotExist) {
		return create(dir, crtFile, keyFile)
	}
	if err != nil {
		return nil, fmt.Errorf("read the cluster's authority: %w", err)
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's authority: %w", err)
	}
	a, err := parse(crt, key)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's authority %s: %w; remove %s to have a new one made", crtFile, err, dir)
	}
	return a, nil
}

func create(dir, crtFile, keyFile string) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the cluster's authority: %w", err)
	}
	t, err := template("slipway-devcluster")
	if err != nil {
		return nil, err
	}
	t.IsCA, t.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
	pair, err := sign(t, t, key, key)
	if err != nil {
		return nil, fmt.Errorf("make the cluster's authority: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the cluster's authority: %w", err)
	}
	// The key goes first: a certificate without its key would be taken for a whole authority at the next start.
	if err := Write(keyFile, pair.Key); err != nil {
		return nil, err
	}
	if err := Write(crtFile, pair.Cert); err != nil {
		return nil, err
	}
	return parse(pair.Cert, pair.Key)
}

func parse(crt, key []byte) (*Authority, error) {
	cb, _ := pem.Decode(crt)
	kb, _ := pem.Decode(key)
	if cb == nil || kb == nil {
		return nil, errors.New("no PEM block")
	}
	c, err := x509.ParseCertificate(cb.Bytes)
	if err != nil {
		return nil, err
	}
	k, err := x509.ParseECPrivateKey(kb.Bytes)
	if err != nil {
		return nil, err
	}
	return &Authority{Cert: crt, cert: c, key: k}, nil
}

// Issue signs a certificate that serves as client and as server.
func (a *Authority) Issue(s Subject) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("issue a certificate for %s: %w", s.User, err)
	}
	t, err := template(s.User)
	if err != nil {
		return Pair{}, err
	}
	t.Subject.Organization = s.Groups
	t.DNSNames = s.Names
	for _, ip := range s.IPs {
		t.IPAddresses = append(t.IPAddresses, net.IP(ip.AsSlice()))
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	pair, err := sign(t, a.cert, key, a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("issue a certificate for %s: %w", s.User, err)
	}
	return pair, nil
}

// Kubeconfig issues a client certificate and returns a kubeconfig that uses it.
func (a *Authority) Kubeconfig(cluster, server string, s Subject) ([]byte, error) {
	pair, err := a.Issue(s)
	if err != nil {
		return nil, err
	}
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters[cluster] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: a.Cert}
	// Named after the cluster too: kubeconfigs of several clusters are merged by name.
	user := s.User + "@" + cluster
	cfg.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: pair.Cert, ClientKeyData: pair.Key}
	cfg.Contexts[cluster] = &clientcmdapi.Context{Cluster: cluster, AuthInfo: user}
	cfg.CurrentContext = cluster
	b, err := clientcmd.Write(*cfg)
	if err != nil {
		return nil, fmt.Errorf("encode the kubeconfig of %s: %w", s.User, err)
	}
	return b, nil
}

// Write stores a secret file, readable by its owner only, so that a reader never sees half of it.
func Write(path string, data []byte) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func template(name string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(lifetime),
		BasicConstraintsValid: true,
	}, nil
}

func sign(t, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) (Pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, signer)
	if err != nil {
		return Pair{}, err
	}
	kb, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: kb}),
	}, nil
}
