package kubetest

import (
	"context"
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
func NewRelay(tb testing.TB) *Relay {
	tb.Helper()
	cfg, err := clientcmd.LoadFromFile(Kubeconfig(tb))
	if err != nil {
		tb.Fatal(err)
	}
	entry := cfg.Clusters[cfg.Contexts[cfg.CurrentContext].Cluster]
	server, err := url.Parse(entry.Server)
	if err != nil {
		tb.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	if entry.TLSServerName == "" {
		entry.TLSServerName = server.Hostname()
	}
	entry.Server = "https://" + listener.Addr().String()
	r := &Relay{Kubeconfig: filepath.Join(tb.TempDir(), "relay.kubeconfig"), listener: listener, server: server.Host}
	if err := clientcmd.WriteToFile(*cfg, r.Kubeconfig); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.wg.Go(func() { r.serve(ctx) })
	tb.Cleanup(func() { r.Kill(); cancel(); r.wg.Wait() })
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

func (r *Relay) serve(ctx context.Context) {
	var dialer net.Dialer
	for {
		down, err := r.listener.Accept()
		if err != nil {
			return
		}
		up, err := dialer.DialContext(ctx, "tcp", r.server)
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
