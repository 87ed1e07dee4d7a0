//go:build e2e

package rollout_test

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

// door is the way to an API server, which can be shut.
type door struct {
	to    string
	l     net.Listener
	mu    sync.Mutex
	shut  bool
	conns map[net.Conn]bool
}

// behind puts a cluster behind a door, and answers a kubeconfig that goes through it.
func (w *world) behind(t *testing.T, kubeconfig, name string) (*door, string) {
	t.Helper()
	config, err := clientcmd.LoadFromFile(kubeconfig)
	must(t, err)
	d := &door{conns: map[net.Conn]bool{}}
	d.l, err = net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	for _, c := range config.Clusters {
		u, err := url.Parse(c.Server)
		must(t, err)
		host := u.Hostname()
		d.to, u.Host = u.Host, d.l.Addr().String()
		c.Server, c.TLSServerName = u.String(), host
	}
	path := filepath.Join(w.dir, name+".kubeconfig")
	must(t, clientcmd.WriteToFile(*config, path))
	var all sync.WaitGroup
	all.Go(func() { d.serve(&all) })
	w.stop = append(w.stop, func() {
		_ = d.l.Close()
		d.open(false)
		all.Wait()
	})
	return d, path
}

func (d *door) serve(all *sync.WaitGroup) {
	for {
		in, err := d.l.Accept()
		if err != nil {
			return
		}
		all.Go(func() { d.pass(in) })
	}
}

func (d *door) pass(in net.Conn) {
	defer in.Close()
	out, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", d.to)
	if err != nil {
		return
	}
	defer out.Close()
	if !d.keep(in, out) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
	both.Go(func() { _, _ = io.Copy(in, out); _ = in.Close() })
	both.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.conns, in)
	delete(d.conns, out)
}

func (d *door) keep(list ...net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range list {
		d.conns[c] = true
	}
	return !d.shut
}

// open opens the door, or shuts it: what goes through ends, and nothing gets through.
func (d *door) open(open bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut = !open; d.shut {
		for c := range d.conns {
			_ = c.Close()
		}
	}
}
