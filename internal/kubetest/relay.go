package kubetest

import (
	"io"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

// Relay stands between a test and the API server, so that the test can let the cluster die without hurting the others.
type Relay struct {
	Kubeconfig string // reaches the cluster through the relay

	listener net.Listener
	server   string
	mu       sync.Mutex
	conns    []net.Conn
	dead     bool
	wg       sync.WaitGroup
}

// NewRelay starts one on a loopback port. It ends with the test.
func NewRelay(t testing.TB) *Relay {
	t.Helper()
	cfg, err := clientcmd.LoadFromFile(Kubeconfig(t))
	if err != nil {
		t.Fatal(err)
	}
	entry := cfg.Clusters[cfg.Contexts[cfg.CurrentContext].Cluster]
	server, err := url.Parse(entry.Server)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if entry.TLSServerName == "" {
		entry.TLSServerName = server.Hostname()
	}
	entry.Server = "https://" + listener.Addr().String()
	r := &Relay{Kubeconfig: filepath.Join(t.TempDir(), "relay.kubeconfig"), listener: listener, server: server.Host}
	if err := clientcmd.WriteToFile(*cfg, r.Kubeconfig); err != nil {
		t.Fatal(err)
	}
	r.wg.Go(r.serve)
	t.Cleanup(func() { r.Kill(); r.wg.Wait() })
	return r
}

// Kill cuts every connection and refuses new ones, as a dead API server does.
func (r *Relay) Kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dead = true
	_ = r.listener.Close()
	for _, conn := range r.conns {
		_ = conn.Close()
	}
	r.conns = nil
}

func (r *Relay) serve() {
	for {
		down, err := r.listener.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", r.server)
		if err != nil {
			_ = down.Close()
			continue
		}
		r.mu.Lock()
		if r.dead {
			_, _ = down.Close(), up.Close()
			r.mu.Unlock()
			return
		}
		r.conns = append(r.conns, down, up)
		r.mu.Unlock()
		r.wg.Go(func() { pipe(up, down) })
		r.wg.Go(func() { pipe(down, up) })
	}
}

func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_, _ = to.Close(), from.Close()
}
