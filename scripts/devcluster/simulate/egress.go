package simulate

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// egress is an HTTP CONNECT proxy through which the API server has to make every connection to nodes, pods and Services. It
// lets through what goes to the simulated kubelet and refuses the rest with a sentence, because the addresses of simulated pods
// belong to nobody here and such a connection would leave the machine.
type egress struct {
	server *http.Server
	allow  string
	done   chan struct{}
	// stopped ends the connections that were let through: the API server keeps them open for reuse.
	stopped chan struct{}
	pipes   sync.WaitGroup
}

func listenEgress(socket, allow string) (*egress, error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("listen for the API server's connections to pods: %w", err)
	}
	e := &egress{allow: allow, done: make(chan struct{}), stopped: make(chan struct{})}
	e.server = &http.Server{Handler: http.HandlerFunc(e.connect), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(e.done)
		_ = e.server.Serve(l) // ends with ErrServerClosed
	}()
	return e, nil
}

func (e *egress) close() {
	_ = e.server.Close()
	<-e.done
	close(e.stopped)
	e.pipes.Wait()
}

func (e *egress) connect(w http.ResponseWriter, r *http.Request) {
	hijacker, ok := w.(http.Hijacker)
	if !ok || r.Method != http.MethodConnect {
		http.Error(w, "only CONNECT", http.StatusMethodNotAllowed)
		return
	}
	client, _, err := hijacker.Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if r.Host != e.allow && r.RequestURI != e.allow {
		_, _ = io.WriteString(client, "HTTP/1.1 502 pods of this cluster are simulated: nothing listens\r\nContent-Length: 0\r\n\r\n")
		_ = client.Close()
		return
	}
	e.pipe(r.Context(), client)
}

// pipe copies in both directions until one end is done or the egress is closed.
func (e *egress) pipe(ctx context.Context, client net.Conn) {
	defer client.Close() // both ends are done
	server, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", e.allow)
	if err != nil {
		_, _ = io.WriteString(client, "HTTP/1.1 502 the simulated kubelet does not answer\r\nContent-Length: 0\r\n\r\n")
		return
	}
	defer server.Close() // both ends are done
	if _, err := io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	ended := make(chan struct{}, 2)
	for _, ends := range [][2]net.Conn{{server, client}, {client, server}} {
		e.pipes.Go(func() {
			_, _ = io.Copy(ends[0], ends[1])
			ended <- struct{}{}
		})
	}
	select {
	case <-ended:
	case <-e.stopped:
	}
}
