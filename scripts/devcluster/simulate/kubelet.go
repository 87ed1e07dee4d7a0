package simulate

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/slipway-build/slipway/scripts/devcluster/pki"
)

// kubelet answers the one question of the kubelet's API that a deployer asks: what a container has printed. It listens on
// loopback, and only for clients with a certificate of the cluster.
type kubelet struct {
	listener net.Listener
	server   *http.Server
	serving  sync.WaitGroup
}

func listenKubelet() (*kubelet, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the simulated kubelet: %w", err)
	}
	return &kubelet{listener: l}, nil
}

func (k *kubelet) addr() string { return k.listener.Addr().String() }

func (k *kubelet) port() int {
	addr, ok := k.listener.Addr().(*net.TCPAddr)
	if !ok {
		return 0
	}
	return addr.Port
}

func (k *kubelet) serve(authority *pki.Authority, pods kubernetes.Interface) error {
	pair, err := authority.Issue(pki.Subject{User: "simulated-kubelet", IPs: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}})
	if err != nil {
		return err
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		return fmt.Errorf("read the simulated kubelet's certificate: %w", err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(authority.Cert)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		logs(w, r, pods)
	})
	k.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	listener := tls.NewListener(k.listener, &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert,
	})
	k.serving.Go(func() {
		_ = k.server.Serve(listener) // ends with ErrServerClosed
	})
	return nil
}

func (k *kubelet) close() {
	if k.server != nil {
		_ = k.server.Close()
	}
	_ = k.listener.Close()
	k.serving.Wait()
}

func logs(w http.ResponseWriter, r *http.Request, c kubernetes.Interface) {
	name, container := r.PathValue("pod"), r.PathValue("container")
	pod, err := c.CoreV1().Pods(r.PathValue("namespace")).Get(r.Context(), name, metav1.GetOptions{})
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	text, refusal := printed(pod)
	if refusal != "" {
		http.Error(w, fmt.Sprintf("container %q in pod %q %s", container, name, refusal), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = fmt.Fprint(w, tail(text, r.URL.Query().Get("tailLines")))
}

// printed returns what the containers of a pod have printed, or why they cannot have.
func printed(pod *corev1.Pod) (text, refusal string) {
	text = "simulated: starting\nsimulated: ready\n"
	for _, b := range behaviors() {
		if b.name == pod.Annotations[Annotation] {
			text, refusal = b.log, b.logError
		}
	}
	if own := pod.Annotations[LogAnnotation]; own != "" {
		text = strings.TrimRight(own, "\n") + "\n"
	}
	return text, refusal
}

// tail returns the last lines of a text. A number that cannot be read means all of them.
func tail(text, lines string) string {
	var n int
	if _, err := fmt.Sscanf(lines, "%d", &n); err != nil || n < 0 {
		return text
	}
	all := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	switch {
	case n == 0:
		return ""
	case n >= len(all):
		return text
	}
	return strings.Join(all[len(all)-n:], "") + "\n"
}
