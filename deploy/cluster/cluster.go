package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// DefaultTimeout of a Spec. A request that takes longer is given up, so that a cluster which swallows packets cannot hold a lease
// until it runs out.
const DefaultTimeout = 15 * time.Second

// Spec says where a cluster is and how hard it may be used.
type Spec struct {
	Name       string        // the name in targets.yaml
	Kubeconfig string        // path of a file; nothing is read from the environment
	Context    string        // empty: the file's current-context
	AllowExec  bool          // let the kubeconfig start a program to obtain credentials
	QPS        float32       // requests a second; 0: as many as the API server's own priority and fairness lets through
	Burst      int           // 0: twice QPS
	Timeout    time.Duration // of one request; watches are not cut by it
}

// Cluster is one opened cluster. It is safe for concurrent use.
type Cluster struct {
	Typed    kubernetes.Interface
	Watching kubernetes.Interface // the same without a request timeout, for watches
	Dynamic  dynamic.Interface
	// WatchingDynamic and WatchingMetadata are without a request timeout, for watches.
	WatchingDynamic  dynamic.Interface
	WatchingMetadata metadata.Interface

	Metadata metadata.Interface
	Mapper   meta.ResettableRESTMapper
	Reads    Shared // what rollouts read together
	Memory   Memory // what earlier rollouts saw
	Watches  Pool   // what rollouts look through together

	discovery  discovery.CachedDiscoveryInterface
	http       *http.Client
	name       string
	server     string
	kubeconfig string
	context    string
	timeout    time.Duration
}

// Open reads the kubeconfig and makes the clients. It does not dial: Ping does.
func Open(spec Spec) (*Cluster, error) {
	cfg, contextName, err := load(spec)
	if err != nil {
		return nil, err
	}
	server, _, err := rest.DefaultServerUrlFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("cluster %q: kubeconfig %s, context %q: %w", spec.Name, spec.Kubeconfig, contextName, err)
	}
	c := &Cluster{
		name: spec.Name, server: server.String(), kubeconfig: spec.Kubeconfig, context: contextName,
		timeout: cfg.Timeout,
	}
	if err := c.connect(cfg); err != nil {
		return nil, fmt.Errorf("cluster %q: kubeconfig %s, context %q: %w", spec.Name, spec.Kubeconfig, contextName, err)
	}
	return c, nil
}

// Name is the cluster's name in targets.yaml.
func (c *Cluster) Name() string { return c.name }

// Server is the address of the API server.
func (c *Cluster) Server() string { return c.server }

func (c *Cluster) connect(cfg *rest.Config) error {
	typed := rest.CopyConfig(cfg)
	typed.ContentType = runtime.ContentTypeProtobuf
	typed.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	watching := rest.CopyConfig(typed)
	watching.Timeout = 0
	var err error
	if c.Typed, err = kubernetes.NewForConfig(typed); err != nil {
		return err
	}
	if c.Watching, err = kubernetes.NewForConfig(watching); err != nil {
		return err
	}
	if c.Dynamic, err = dynamic.NewForConfig(cfg); err != nil {
		return err
	}
	unbounded := rest.CopyConfig(cfg)
	unbounded.Timeout = 0
	if c.WatchingDynamic, err = dynamic.NewForConfig(unbounded); err != nil {
		return err
	}
	if c.WatchingMetadata, err = metadata.NewForConfig(unbounded); err != nil {
		return err
	}
	if c.Metadata, err = metadata.NewForConfig(cfg); err != nil {
		return err
	}
	if c.http, err = rest.HTTPClientFor(cfg); err != nil {
		return err
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.discovery = memory.NewMemCacheClient(c.Typed.Discovery())
	c.Mapper = restmapper.NewDeferredDiscoveryRESTMapper(c.discovery)
	return nil
}

type ping struct{}

// Ping asks the API server for its version. It answers within the request timeout, whatever the cluster does.
func (c *Cluster) Ping(ctx context.Context) (string, error) { return c.Answered(ctx, time.Now()) }

// Answered is Ping that goes by an answer to an earlier one, from the given moment on.
func (c *Cluster) Answered(ctx context.Context, since time.Time) (string, error) {
	return Read(ctx, &c.Reads, ping{}, since, func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, c.timeout)
		defer cancel()
		body, err := c.Typed.Discovery().RESTClient().Get().AbsPath("/version").Do(ctx).Raw()
		if err != nil {
			return "", c.Explain("ask for its version", err)
		}
		return versionOf(body)
	})
}

// Discovery lists the kinds the cluster knows; the answer is cached until the mapper is reset.
func (c *Cluster) Discovery() discovery.CachedDiscoveryInterface { return c.discovery }

func load(spec Spec) (*rest.Config, string, error) {
	raw, err := clientcmd.LoadFromFile(spec.Kubeconfig)
	if err != nil {
		return nil, "", fmt.Errorf("cluster %q: kubeconfig: %w; correct kubeconfig: of this cluster in deployer.yaml", spec.Name, err)
	}
	name := spec.Context
	if name == "" {
		name = raw.CurrentContext
	}
	entry, ok := raw.Contexts[name]
	if !ok {
		return nil, "", fmt.Errorf("cluster %q: kubeconfig %s has no context %q; it has %s",
			spec.Name, spec.Kubeconfig, name, names(raw.Contexts))
	}
	if err := checkCredentials(spec, raw.AuthInfos[entry.AuthInfo]); err != nil {
		return nil, "", err
	}
	if err := checkPlugin(spec, raw.AuthInfos[entry.AuthInfo]); err != nil {
		return nil, "", err
	}
	loader := clientcmd.NewNonInteractiveClientConfig(*raw, name, &clientcmd.ConfigOverrides{}, nil)
	cfg, err := loader.ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("cluster %q: kubeconfig %s, context %q: %w", spec.Name, spec.Kubeconfig, name, err)
	}
	if err := checkTransport(spec, cfg); err != nil {
		return nil, "", err
	}
	tune(spec, cfg)
	return cfg, name, nil
}

func tune(spec Spec, cfg *rest.Config) {
	cfg.UserAgent = "slipway-deployer"
	cfg.QPS, cfg.Burst, cfg.Timeout = spec.QPS, spec.Burst, spec.Timeout
	if cfg.QPS == 0 {
		cfg.QPS = -1
	}
	if cfg.Burst == 0 {
		cfg.Burst = int(2*cfg.QPS) + 1
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	// What the server warns about is reported by the strict dry run; nothing is to be printed from below.
	cfg.WarningHandler = rest.NoWarnings{}
	if cfg.Proxy == nil {
		// A cluster is reached the way its kubeconfig says (proxy-url), never by what the environment happens to hold.
		cfg.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	}
}

func checkCredentials(spec Spec, user *clientcmdapi.AuthInfo) error {
	if user == nil {
		return nil
	}
	if user.Exec != nil && !spec.AllowExec {
		return fmt.Errorf("cluster %q: kubeconfig %s starts the program %q to obtain credentials, which is not allowed; "+
			"use a token or a client certificate, or set allow_exec: true for this cluster in deployer.yaml (slipway up: --allow-exec)",
			spec.Name, spec.Kubeconfig, user.Exec.Command)
	}
	if user.AuthProvider != nil {
		return fmt.Errorf("cluster %q: kubeconfig %s uses the auth provider %q, which client-go no longer supports; "+
			"use a token, a client certificate or an exec plugin", spec.Name, spec.Kubeconfig, user.AuthProvider.Name)
	}
	return nil
}

// checkPlugin looks for the program that an allowed kubeconfig starts, before the first
// request would fail for want of it.
func checkPlugin(spec Spec, user *clientcmdapi.AuthInfo) error {
	if user == nil || user.Exec == nil {
		return nil
	}
	if _, err := exec.LookPath(user.Exec.Command); err != nil {
		advice := "install it where the deployer runs"
		if user.Exec.InstallHint != "" {
			advice += " (" + strings.Join(strings.Fields(user.Exec.InstallHint), " ") + ")"
		}
		return fmt.Errorf("cluster %q: kubeconfig %s obtains credentials with the program %q, which is not on the deployer's PATH; %s",
			spec.Name, spec.Kubeconfig, user.Exec.Command, advice)
	}
	return nil
}

// checkTransport refuses credentials over a connection that anyone on the way could read or answer.
func checkTransport(spec Spec, cfg *rest.Config) error {
	host := cfg.Host
	if u, err := url.Parse(cfg.Host); err == nil && u.Host != "" {
		if u.Scheme != "http" && !cfg.Insecure {
			return nil
		}
		host = u.Hostname()
	} else if !cfg.Insecure {
		return nil
	}
	if ip := net.ParseIP(host); host == "localhost" || (ip != nil && ip.IsLoopback()) {
		return nil
	}
	return fmt.Errorf("cluster %q: kubeconfig %s reaches %s without verified TLS; "+
		"give it an https server and a certificate-authority (only loopback addresses may do without)",
		spec.Name, spec.Kubeconfig, cfg.Host)
}

var errNoVersion = errors.New("the answer is no Kubernetes version")

// Mapping is what a cluster says of a kind.
type Mapping struct {
	Resource   schema.GroupVersionResource
	Namespaced bool
}

// MappingFor finds the resource of a kind. An unknown kind is looked up once more with fresh discovery, since a definition may
// have been installed in the meantime; IsNoKind recognizes the error.
func (c *Cluster) MappingFor(ctx context.Context, kind schema.GroupVersionKind) (Mapping, error) {
	if err := ctx.Err(); err != nil {
		return Mapping{}, err
	}
	mapping, err := c.Mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		c.Mapper.Reset()
		mapping, err = c.Mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	if err != nil {
		return Mapping{}, c.Explain("look up kind "+kind.Kind, err)
	}
	return Mapping{Resource: mapping.Resource, Namespaced: mapping.Scope.Name() == meta.RESTScopeNameNamespace}, nil
}

// IsNoKind reports that the cluster answered, and does not know the kind.
func IsNoKind(err error) bool {
	return meta.IsNoMatchError(errors.Unwrap(err)) || meta.IsNoMatchError(err)
}
