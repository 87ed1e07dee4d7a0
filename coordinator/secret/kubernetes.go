package secret

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/slipway-build/slipway/coordinator/pipeline"
)

// requestTimeout of the API server.
const requestTimeout = 5 * time.Second

// Kubernetes says how the API server is reached that has the Secrets. Zero: the one of
// the cluster that the coordinator runs in, with its service account.
type Kubernetes struct {
	Kubeconfig string // path; nothing is read from the environment
	Context    string // empty: the current one
}

// cluster reads Secrets. It connects when the first is needed.
type cluster struct {
	cfg Kubernetes

	mu     sync.Mutex
	client kubernetes.Interface
}

func (c *cluster) Resolve(ctx context.Context, s *pipeline.Secret) ([]byte, error) {
	client, err := c.connect()
	if err != nil {
		return nil, err
	}
	k := s.Kubernetes
	where := fmt.Sprintf("Secret %s in namespace %s", k.Name, k.Namespace)
	found, err := client.CoreV1().Secrets(k.Namespace).Get(ctx, k.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("there is no %s; create it, or correct kubernetes: at %s", where, s.Pos)
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return nil, fmt.Errorf("the coordinator may not read %s: allow its account `get` on this Secret with a Role: %w", where, err)
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", where, err)
	}
	value, ok := found.Data[k.Key]
	if !ok {
		return nil, fmt.Errorf("%s has no key %s, but %s; correct key: at %s", where, k.Key, strings.Join(slices.Sorted(maps.Keys(found.Data)), ", "), s.Pos)
	}
	return value, nil
}

func (c *cluster) connect() (kubernetes.Interface, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client != nil {
		return c.client, nil
	}
	cfg, err := c.rest()
	if err != nil {
		return nil, err
	}
	cfg.UserAgent, cfg.Timeout, cfg.WarningHandler = "slipway-coordinator", requestTimeout, rest.NoWarnings{}
	if c.client, err = kubernetes.NewForConfig(cfg); err != nil {
		return nil, fmt.Errorf("connect to Kubernetes: %w", err)
	}
	return c.client, nil
}

func (c *cluster) rest() (*rest.Config, error) {
	if c.cfg.Kubeconfig == "" {
		cfg, err := rest.InClusterConfig()
		if errors.Is(err, rest.ErrNotInCluster) {
			return nil, errors.New("the coordinator does not run in a cluster; write kubernetes: { kubeconfig: PATH } in coordinator.yaml")
		}
		return cfg, err
	}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: c.cfg.Kubeconfig}, &clientcmd.ConfigOverrides{CurrentContext: c.cfg.Context})
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", c.cfg.Kubeconfig, err)
	}
	for name, user := range raw.AuthInfos {
		if user.Exec != nil {
			return nil, fmt.Errorf("kubeconfig %s: user %s starts the program %q to obtain credentials; the coordinator starts none: use a token or a client certificate", c.cfg.Kubeconfig, name, user.Exec.Command)
		}
	}
	cfg, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", c.cfg.Kubeconfig, err)
	}
	return cfg, nil
}
