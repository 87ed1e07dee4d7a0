package shop_test

import (
	"context"
	"io"
	"net"
	"net/url"
	"sync"

	"k8s.io/client-go/tools/clientcmd"
)

// link stands between the farm and a cluster's API server, so that a test can let the
// cluster die for the farm, and live again.
type link struct {
	kubeconfig string // reaches the cluster through the link
	address    string
	server     string

	mu       sync.Mutex
	listener net.Listener // nil while the link is cut
	conns    []net.Conn
	wg       sync.WaitGroup
}

func newLink(kubeconfig, through string) (*link, error) {
	cfg, err := clientcmd.LoadFromFile(kubeconfig)
	if err != nil {
		return nil, err
	}
	entry := cfg.Clusters[cfg.Contexts[cfg.CurrentContext].Cluster]
	server, err := url.Parse(entry.Server)
	if err != nil {
		return nil, err
	}
	l := &link{kubeconfig: through, address: "127.0.0.1:0", server: server.Host}
	if err := l.mend(); err != nil {
		return nil, err
	}
	if entry.TLSServerName == "" {
		entry.TLSServerName = server.Hostname()
	}
	entry.Server = "https://" + l.address
	return l, clientcmd.WriteToFile(*cfg, through)
}

// mend listens again, on the address of the first time.
func (l *link) mend() error {
	listener, err := net.Listen("tcp", l.address)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listener, l.address = listener, listener.Addr().String()
	l.wg.Go(func() { l.serve(listener) })
	return nil
}

// cut closes every connection and refuses new ones, as a dead API server does.
func (l *link) cut() {
	l.mu.Lock()
	if l.listener != nil {
		_ = l.listener.Close()
	}
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.listener, l.conns = nil, nil
	l.mu.Unlock()
	l.wg.Wait()
}

func (l *link) serve(listener net.Listener) {
	var dialer net.Dialer
	for {
		down, err := listener.Accept()
		if err != nil {
			return
		}
		up, err := dialer.DialContext(context.Background(), "tcp", l.server)
		if err != nil {
			_ = down.Close()
			continue
		}
		l.mu.Lock()
		if l.listener == nil {
			_, _ = down.Close(), up.Close()
			l.mu.Unlock()
			return
		}
		l.conns = append(l.conns, down, up)
		l.mu.Unlock()
		l.wg.Go(func() { pipe(up, down) })
		l.wg.Go(func() { pipe(down, up) })
	}
}

func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_, _ = to.Close(), from.Close()
}
