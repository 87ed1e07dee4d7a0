// Package controlplane runs etcd, kube-apiserver, kube-controller-manager and kube-scheduler in this process: the real ones, as
// libraries, without a container or a child.
//
// It runs no node: packages simulate and node bring those. Since the Kubernetes components keep process-wide state (logging,
// metrics, feature gates), a process can run one control plane, once.
package controlplane

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/slipway-build/slipway/scripts/devcluster/clusterdir"
	"github.com/slipway-build/slipway/scripts/devcluster/pki"
)

// Config is what a control plane needs to know. Every field but EgressSocket, Names and IPs is required.
type Config struct {
	Dir  clusterdir.Dir
	Name string
	// Bind is the address that the API server listens on; port 0 takes a free one.
	Bind     netip.AddrPort
	Services netip.Prefix
	// ServeServices lists the API server as an endpoint of the Service "kubernetes": right where pods really run.
	ServeServices bool
	// EgressSocket, if set, is a unix socket that gets every connection the API server makes to nodes, pods and Services.
	EgressSocket string
	// Lean leaves out controllers that a deployer never meets (volumes, cloud, IPAM, certificates).
	Lean bool
	// Audit writes every change to audit.log.
	Audit bool
	// Log takes what the components log.
	Log *os.File
	// Progress is told what has been reached.
	Progress func(format string, args ...any)
}

// API is how the parts that depend on the API server reach it.
type API struct {
	Server    string
	Admin     *rest.Config
	Authority *pki.Authority
	files     files
}

// Kubeconfig writes a kubeconfig for one more user and returns where it lies.
func (a API) Kubeconfig(s pki.Subject, name string) (string, error) {
	return a.files.kubeconfig(a.Authority, a.Server, s, name)
}

// Run starts the control plane, calls serve when the API server is ready, and stops everything in reverse order when serve
// returns, when ctx ends, or when a component fails. The context that serve gets ends in the last two cases. A stop that was
// asked for is not an error.
func Run(ctx context.Context, cfg Config, serve func(ctx context.Context, api API) error) (err error) {
	quiet(cfg.Log)
	listener, err := net.Listen("tcp", cfg.Bind.String())
	if err != nil {
		return fmt.Errorf("listen for the API server on %s: %w", cfg.Bind, err)
	}
	defer listener.Close() // the API server has closed it by then
	server := "https://" + listener.Addr().String()

	f, authority, err := writeFiles(cfg, server)
	if err != nil {
		return err
	}
	// A failing component ends everything with its error as the cause.
	running, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	store, err := startEtcd(ctx, cfg.Dir)
	if err != nil {
		return err
	}
	defer store.Close()
	cfg.Progress("etcd is ready")

	apiserver := start(ctx, "kube-apiserver", fail, func(ctx context.Context) error {
		return runAPIServer(ctx, cfg, f, listener)
	})
	defer apiserver.stop()
	admin, err := clientcmd.BuildConfigFromFlags("", f.admin)
	if err != nil {
		return fmt.Errorf("read the kubeconfig just written: %w", err)
	}
	admin.QPS, admin.Burst = 200, 400
	probe, err := newProbe(admin)
	if err != nil {
		return err
	}
	if err := probe.wait(running, "/livez/ping"); err != nil {
		return fmt.Errorf("wait for the API server: %w", err)
	}
	cfg.Progress("API server listens on %s", server)

	managers := start(ctx, "kube-controller-manager", fail, func(ctx context.Context) error {
		// It gives up after ten seconds by itself, which on a busy machine is less than the API server's first roles take.
		if err := probe.wait(ctx, "/healthz"); err != nil {
			return err
		}
		return runControllerManager(ctx, cfg, f)
	})
	defer managers.stop()
	scheduler := start(ctx, "kube-scheduler", fail, func(ctx context.Context) error {
		return runScheduler(ctx, f)
	})
	defer scheduler.stop()
	for _, path := range []string{"/readyz", "/api/v1/namespaces/default/serviceaccounts/default"} {
		if err := probe.wait(running, path); err != nil {
			return fmt.Errorf("wait for the control plane: %w", err)
		}
	}
	cfg.Progress("control plane is ready")

	err = serve(running, API{Server: server, Admin: admin, Authority: authority, files: f})
	if cause := context.Cause(running); cause != nil && ctx.Err() == nil {
		return cause
	}
	return err
}

// part is a component in a goroutine of its own that can be stopped apart from the others.
type part struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// stopTimeout bounds how long a component may take to end: open watches hold the API server, and nobody waits for them.
const stopTimeout = 5 * time.Second

// start runs a component until stop. Its context does not end with ctx, since what depends on it has to stop before.
func start(ctx context.Context, name string, fail context.CancelCauseFunc, run func(context.Context) error) *part {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &part{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		err := run(own)
		switch {
		case own.Err() != nil: // it was stopped
		case err == nil:
			fail(fmt.Errorf("%s ended by itself", name))
		default:
			fail(fmt.Errorf("%s: %w", name, err))
		}
	}()
	return p
}

func (p *part) stop() {
	p.cancel()
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-p.done:
	case <-timeout.C:
	}
}

// probe asks the API server whether a path answers 200.
type probe struct {
	client *http.Client
	base   string
}

func newProbe(cfg *rest.Config) (*probe, error) {
	tlsConfig, err := rest.TLSConfigFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("read the client certificate just written: %w", err)
	}
	tlsConfig.MinVersion = tls.VersionTLS12
	return &probe{
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig}, Timeout: 5 * time.Second},
		base:   cfg.Host,
	}, nil
}

func (p *probe) wait(ctx context.Context, path string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		last := p.get(ctx, path)
		if last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), last)
		case <-tick.C:
		}
	}
}

func (p *probe) get(ctx context.Context, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+path, http.NoBody)
	if err != nil {
		return err
	}
	res, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close() // only read
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, res.Status)
	}
	return nil
}
