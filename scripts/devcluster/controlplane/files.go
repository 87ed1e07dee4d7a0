package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"

	"github.com/slipway-build/slipway/scripts/devcluster/clusterdir"
	"github.com/slipway-build/slipway/scripts/devcluster/pki"
)

// files are the paths of what the components read.
type files struct {
	dir                                 clusterdir.Dir
	cluster                             string
	ca, serverCert, serverKey           string
	kubeletClientCert, kubeletClientKey string
	serviceAccountKey                   string
	admin, controllerManager, scheduler string
	auditPolicy, egress                 string
}

// auditPolicy records who changed what and with what outcome. Leases and events would be most of the log and say nothing about
// a deployment.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: None
  verbs: [get, list, watch]
- level: None
  resources:
  - {group: coordination.k8s.io, resources: [leases]}
  - {group: "", resources: [events]}
  - {group: events.k8s.io, resources: [events]}
- level: Metadata
`

const egressConfig = `apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport: {uds: {udsName: %q}}
`

func writeFiles(cfg Config, server string) (files, *pki.Authority, error) {
	d := cfg.Dir
	f := files{
		dir: d, cluster: cfg.Name, ca: d.Path("pki", "ca.crt"),
		serverCert: d.Path("pki", "server.crt"), serverKey: d.Path("pki", "server.key"),
		kubeletClientCert: d.Path("pki", "kubelet-client.crt"), kubeletClientKey: d.Path("pki", "kubelet-client.key"),
		serviceAccountKey: d.Path("pki", "service-account.key"),
		auditPolicy:       d.Path("config", "audit.yaml"), egress: d.Path("config", "egress.yaml"),
	}
	authority, err := pki.LoadOrCreate(d.Path("pki"))
	if err != nil {
		return files{}, nil, err
	}
	if err := os.MkdirAll(d.Path("config"), 0o700); err != nil {
		return files{}, nil, fmt.Errorf("make the folder of configuration: %w", err)
	}
	if err := f.issue(cfg, authority); err != nil {
		return files{}, nil, err
	}
	masters := []string{"system:masters"}
	for _, user := range []struct {
		path *string
		name string
		s    pki.Subject
	}{
		{&f.admin, "admin", pki.Subject{User: "devcluster-admin", Groups: masters}},
		// Without credentials of its own for each controller it needs everything that any of them needs.
		{&f.controllerManager, "controller-manager", pki.Subject{User: "system:kube-controller-manager", Groups: masters}},
		{&f.scheduler, "scheduler", pki.Subject{User: "system:kube-scheduler"}},
	} {
		if *user.path, err = f.kubeconfig(authority, server, user.s, user.name); err != nil {
			return files{}, nil, err
		}
	}
	if err := pki.Write(f.auditPolicy, []byte(auditPolicy)); err != nil {
		return files{}, nil, err
	}
	if err := pki.Write(f.egress, fmt.Appendf(nil, egressConfig, cfg.EgressSocket)); err != nil {
		return files{}, nil, err
	}
	return f, authority, nil
}

func (f files) issue(cfg Config, authority *pki.Authority) error {
	ips := []netip.Addr{cfg.Bind.Addr(), cfg.Services.Addr().Next(), netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	for _, want := range []struct {
		cert, key string
		s         pki.Subject
	}{
		{f.serverCert, f.serverKey, pki.Subject{User: "kube-apiserver", Names: names, IPs: ips}},
		{f.kubeletClientCert, f.kubeletClientKey, pki.Subject{User: "kube-apiserver-kubelet-client", Groups: []string{"system:masters"}}},
	} {
		pair, err := authority.Issue(want.s)
		if err != nil {
			return err
		}
		if err := pki.Write(want.cert, pair.Cert); err != nil {
			return err
		}
		if err := pki.Write(want.key, pair.Key); err != nil {
			return err
		}
	}
	return serviceAccountKey(f.serviceAccountKey)
}

// serviceAccountKey makes the key that signs tokens, once: tokens outlive a restart.
func serviceAccountKey(path string) error {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the service account key: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("make the service account key: %w", err)
	}
	return pki.Write(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

func (f files) kubeconfig(authority *pki.Authority, server string, s pki.Subject, name string) (string, error) {
	b, err := authority.Kubeconfig(f.cluster, server, s)
	if err != nil {
		return "", err
	}
	path := f.dir.Kubeconfig(name)
	return path, pki.Write(path, b)
}
