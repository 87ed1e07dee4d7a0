package farm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// Harm is what a cluster does instead of answering.
type Harm string

// What a gate does with requests.
const (
	Partition Harm = "partition" // nothing comes back, and then the connection breaks
	Away      Harm = "away"      // the same, for longer than a rollout is tried
	TooMany   Harm = "429"       // it is asked too much
	Internal  Harm = "500"       // something in it is broken
	Slow      Harm = "slow"      // it answers late
)

// Harms are all of them.
func Harms() []Harm { return []Harm{Partition, Away, TooMany, Internal, Slow} }

// Gate is the way to one cluster: the only one that deployers have.
type Gate struct {
	// Doubles: each write of a Deployment comes a second time, as somebody else's. The control of an experiment has it.
	Doubles bool

	proxy  *httputil.ReverseProxy
	server *http.Server
	addr   string

	mu    sync.Mutex
	harm  Harm
	lasts time.Duration
	until time.Time // zero: it has not begun
}

// openGate stands before the API server of config.
func openGate(config *rest.Config) (*Gate, error) {
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, fmt.Errorf("gate of a cluster: %w", err)
	}
	to, err := url.Parse(config.Host)
	if err != nil {
		return nil, fmt.Errorf("gate of a cluster: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("gate of a cluster: %w", err)
	}
	g := &Gate{addr: l.Addr().String(), proxy: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, Transport: transport, FlushInterval: -1,
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {}, // whoever asked is gone
	}}
	g.server = &http.Server{Handler: g, ReadHeaderTimeout: time.Minute}
	go func() { _ = g.server.Serve(l) }() // until it is closed
	return g, nil
}

func (g *Gate) close() { _ = g.server.Close() }

// kubeconfig leads through the gate.
func (g *Gate) kubeconfig(file string) error {
	c := api.Config{
		Clusters: map[string]*api.Cluster{"c": {Server: "http://" + g.addr}}, Contexts: map[string]*api.Context{"c": {Cluster: "c"}}, CurrentContext: "c",
	}
	if err := clientcmd.WriteToFile(c, file); err != nil {
		return fmt.Errorf("kubeconfig of a gate: %w", err)
	}
	return nil
}

// Hurt has the cluster do harm for a while, which begins with the next write.
func (g *Gate) Hurt(h Harm, lasts time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.harm, g.lasts, g.until = h, lasts, time.Time{}
}

// Heal ends it, and says whether it had begun.
func (g *Gate) Heal() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	begun := !g.until.IsZero()
	g.harm = ""
	return begun
}

// now is what is done with a request, and for how long.
func (g *Gate) now(write bool) (Harm, time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.harm == "" {
		return "", 0
	}
	if g.until.IsZero() && write {
		g.until = time.Now().Add(g.lasts)
	}
	left := time.Until(g.until)
	if left <= 0 {
		return "", 0
	}
	return g.harm, left
}

// writes reports a request that changes something.
func writes(r *http.Request) bool {
	return r.Method != http.MethodGet && r.URL.Query().Get("dryRun") == "" && !strings.Contains(r.URL.Path, "/authorization.k8s.io/")
}

// ServeHTTP implements http.Handler.
func (g *Gate) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	write := writes(r)
	switch h, left := g.now(write); h {
	case Partition, Away:
		select {
		case <-time.After(left):
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler) // the connection breaks
	case TooMany:
		out.Header().Set("Retry-After", "1")
		refuse(out, http.StatusTooManyRequests, "TooManyRequests")
		return
	case Internal:
		refuse(out, http.StatusInternalServerError, "InternalError")
		return
	case Slow:
		select {
		case <-time.After(300 * time.Millisecond):
		case <-r.Context().Done():
			return
		}
	}
	if g.Doubles && write && r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/deployments/") {
		g.double(out, r)
		return
	}
	g.proxy.ServeHTTP(out, r)
}

func refuse(out http.ResponseWriter, code int, reason string) {
	out.Header().Set("Content-Type", "application/json")
	out.WriteHeader(code)
	fmt.Fprintf(out, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": %q, "message": "the gate says so", "code": %d}`, reason, code)
}

// double passes a write on, and the same once more without what it says of the version that it is about.
func (g *Gate) double(out http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	again := r.Clone(r.Context())
	g.proxy.ServeHTTP(out, r)
	var object map[string]any
	if json.Unmarshal(body, &object) != nil {
		return
	}
	if m, ok := object["metadata"].(map[string]any); ok {
		delete(m, "resourceVersion")
		delete(m, "uid")
	}
	if s, ok := object["spec"].(map[string]any); ok {
		s["minReadySeconds"] = 1
	}
	body, _ = json.Marshal(object)
	again.Body, again.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	g.proxy.ServeHTTP(httptest.NewRecorder(), again)
}
