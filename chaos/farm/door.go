package farm

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
)

// door is what stands before several coordinators: a connection goes to one of those that
// can be reached, as behind the Service of a cluster.
type door struct {
	l  net.Listener
	to []string
	mu sync.Mutex
	on map[net.Conn]net.Conn
}

func openDoor(to []string) (*door, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &door{l: l, to: to, on: map[net.Conn]net.Conn{}}
	go d.accept() // until it is closed
	return d, nil
}

func (d *door) address() string { return d.l.Addr().String() }

func (d *door) accept() {
	for {
		in, err := d.l.Accept()
		if err != nil {
			return
		}
		go d.lead(in)
	}
}

func (d *door) lead(in net.Conn) {
	defer in.Close()
	for _, i := range rand.Perm(len(d.to)) {
		out, err := net.Dial("tcp", d.to[i])
		if err != nil {
			continue
		}
		d.keep(in, out)
		return
	}
}

// keep copies both ways until either end is gone.
func (d *door) keep(in, out net.Conn) {
	d.mu.Lock()
	d.on[in] = out
	d.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(out, in)
		_, _ = out.Close(), in.Close()
	}()
	_, _ = io.Copy(in, out)
	_, _ = out.Close(), in.Close()
	<-done
	d.mu.Lock()
	delete(d.on, in)
	d.mu.Unlock()
}

// close ends every connection too.
func (d *door) close() {
	_ = d.l.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	for in, out := range d.on {
		_, _ = in.Close(), out.Close()
	}
}
