package node

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/slipway-build/slipway/scripts/devcluster/pki"
)

// pauseImage is what pods' sandboxes are made of. It is in no registry.
const pauseImage = "slipway.local/pause:1"

// socketPath lies in a memory file system of the init's own (privateFolders).
const socketPath = "/run/containerd/containerd.sock"

// configuration is where each program finds what it needs.
type configuration struct {
	socket, containerd, pause, corefile string
	kubelet, proxy                      []string
}

// paths is what the templates are rendered with.
type paths struct {
	Spec
	State, Config, Socket, Pause     string
	CA, KubeletCert, KubeletKey      string
	KubeletKubeconfig, DNSKubeconfig string
	ProxyKubeconfig, Certs, Node     string
}

func (n *node) configure(ctx context.Context) (configuration, error) {
	p := paths{
		Spec: n.spec, State: n.dir.Path("node"), Config: n.dir.Path("config"), Socket: socketPath, Pause: pauseImage,
		CA: n.dir.Path("pki", "ca.crt"), KubeletCert: n.dir.Path("pki", "kubelet.crt"), KubeletKey: n.dir.Path("pki", "kubelet.key"),
		Certs: n.dir.Path("config", "certs.d"), Node: n.spec.nodeName(),
	}
	var err error
	if p.KubeletKubeconfig, p.ProxyKubeconfig, p.DNSKubeconfig, err = n.kubeconfigs(); err != nil {
		return configuration{}, err
	}
	serving, err := n.api.Authority.Issue(pki.Subject{
		User: "system:node:" + n.spec.nodeName(), Groups: []string{"system:nodes"}, IPs: []netip.Addr{n.spec.Plan.NodeIP},
	})
	if err != nil {
		return configuration{}, err
	}
	for file, data := range map[string][]byte{p.KubeletCert: serving.Cert, p.KubeletKey: serving.Key} {
		if err := pki.Write(file, data); err != nil {
			return configuration{}, err
		}
	}
	for _, d := range []string{"tmp", "cni", "ipam", "kubelet", "plugins", "podlogs"} {
		if err := os.MkdirAll(filepath.Join(p.State, d), 0o755); err != nil {
			return configuration{}, fmt.Errorf("make the node's folders: %w", err)
		}
	}
	for file, text := range map[string]string{
		filepath.Join(p.State, "cni", "10-ptp.conflist"): cniConfig,
		filepath.Join(p.Config, "containerd.toml"):       containerdConfig,
		filepath.Join(p.Config, "kubelet.yaml"):          kubeletConfig,
		filepath.Join(p.Config, "resolv.conf"):           resolvConfig,
		filepath.Join(p.Config, "Corefile"):              corefile,
	} {
		if err := render(file, text, p); err != nil {
			return configuration{}, err
		}
	}
	for _, r := range n.spec.Registries {
		if err := writeRegistry(p.Certs, r); err != nil {
			return configuration{}, err
		}
	}
	pause := filepath.Join(p.State, "pause.tar")
	if err := writePause(filepath.Join(n.spec.Bin, "pause"), pause); err != nil {
		return configuration{}, err
	}
	if err := n.allowDNS(ctx); err != nil {
		return configuration{}, err
	}
	return configuration{
		socket: p.Socket, containerd: filepath.Join(p.Config, "containerd.toml"), pause: pause,
		corefile: filepath.Join(p.Config, "Corefile"),
		kubelet: []string{
			"--config=" + filepath.Join(p.Config, "kubelet.yaml"), "--kubeconfig=" + p.KubeletKubeconfig,
			"--hostname-override=" + p.Node, "--node-ip=" + n.spec.Plan.NodeIP.String(),
			"--root-dir=" + filepath.Join(p.State, "kubelet"), "--cert-dir=" + filepath.Join(p.State, "kubelet", "pki"),
		},
		proxy: []string{
			"--proxy-mode=nftables", "--kubeconfig=" + p.ProxyKubeconfig, "--hostname-override=" + p.Node,
			// What is not set stays as the machine has it.
			"--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
			"--healthz-bind-address=127.0.0.1:10256", "--metrics-bind-address=127.0.0.1:10249",
		},
	}, nil
}

func render(file, text string, p paths) error {
	t, err := template.New(filepath.Base(file)).Parse(text)
	if err != nil {
		return fmt.Errorf("parse %s: %w", file, err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return fmt.Errorf("render %s: %w", file, err)
	}
	return pki.Write(file, b.Bytes())
}

// writeRegistry tells containerd where a registry is served and with what to ask it. The "server" line is the same address, so
// that a failing pull does not go on to whatever listens under the reference's own name.
func writeRegistry(certs string, r Registry) error {
	u, err := url.Parse(r.URL)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return fmt.Errorf("--registry %s=%s: expected a URL such as https://10.250.0.1:7423", r.Name, r.URL)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "server = %q\n\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", r.URL, r.URL)
	if r.CA != "" {
		fmt.Fprintf(&b, "  ca = %q\n", r.CA)
	}
	if r.Auth != "" {
		secret, err := os.ReadFile(r.Auth)
		if err != nil {
			return fmt.Errorf("--registry %s: read user:password: %w", r.Name, err)
		}
		user, password, ok := strings.Cut(strings.TrimSpace(string(secret)), ":")
		if !ok || user == "" || password == "" {
			return fmt.Errorf("--registry %s: %s holds no user:password", r.Name, r.Auth)
		}
		basic := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
		fmt.Fprintf(&b, "  [host.%q.header]\n    Authorization = \"Basic %s\"\n", r.URL, basic)
	}
	dir := filepath.Join(certs, r.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("configure registry %s: %w", r.Name, err)
	}
	return pki.Write(filepath.Join(dir, "hosts.toml"), []byte(b.String()))
}

const containerdConfig = `version = 3
root = "{{.State}}/containerd"
state = "/run/containerd/state"
temp = "{{.State}}/tmp"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs",
  "io.containerd.nri.v1.nri", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]

[grpc]
  address = "{{.Socket}}"

[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "{{.Pause}}"
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = "{{.Certs}}"

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["{{.Bin}}"]
    conf_dir = "{{.State}}/cni"
    use_internal_loopback = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = "runc"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = "{{.Runc}}"
        SystemdCgroup = false
`

// Every pod has a link of its own to the node and is routed: on a shared bridge, answers between two pods of a Service would
// bypass the node's address translation where the kernel does not filter bridges.
const cniConfig = `{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipMasq": false, "ipam": {
    "type": "host-local", "dataDir": "{{.State}}/ipam",
    "ranges": [[{"subnet": "{{.Plan.Pods}}"}]], "routes": [{"dst": "0.0.0.0/0"}]}}
]}
`

const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {{.Plan.NodeIP}}
port: 10250
readOnlyPort: 0
healthzPort: 0
tlsCertFile: {{.KubeletCert}}
tlsPrivateKeyFile: {{.KubeletKey}}
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: {{.CA}}}}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix://{{.Socket}}
failCgroupV1: false
failSwapOn: false
cgroupDriver: cgroupfs
cgroupRoot: {{.Plan.Cgroup}}
cgroupsPerQOS: true
enforceNodeAllocatable: []
podLogsDir: {{.State}}/podlogs
volumePluginDir: {{.State}}/plugins
staticPodPath: ""
resolvConf: {{.Config}}/resolv.conf
clusterDomain: cluster.local
clusterDNS: ["{{.Plan.DNS}}"]
makeIPTablesUtilChains: false
localStorageCapacityIsolation: false
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
nodeStatusUpdateFrequency: 2s
syncFrequency: 10s
serializeImagePulls: false
shutdownGracePeriod: 0s
`

// resolvConfig is what pods with the node's own DNS policy get: the cluster's names, since there is nothing else to ask.
const resolvConfig = `nameserver {{.Plan.DNS}}
`

const corefile = `cluster.local:53 in-addr.arpa:53 {
  errors
  ready 127.0.0.1:8181
  cache 5
  kubernetes cluster.local in-addr.arpa {
    kubeconfig {{.DNSKubeconfig}}
  }
}
.:53 {
  errors
  template ANY ANY {
    rcode NXDOMAIN
  }
}
`
