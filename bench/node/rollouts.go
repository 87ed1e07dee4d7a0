package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/canary"
	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/manifest"
	"github.com/slipway-build/slipway/deploy/rolling"
)

// Rollouts is a process that brings services onto clusters and sees them work: as a deployer does once it has a lease, or with
// client-go alone. The clusters are namespaces of one API server, each with clients of its own.
type Rollouts struct {
	Kubeconfig string `json:"kubeconfig"`
	Clusters   int    `json:"clusters"`
	Services   int    `json:"services"` // on each
	Slots      int    `json:"slots"`    // services at a time on each, at most
}

// Agents that the halves call themselves, for the audit log.
const (
	AgentOurs = "slipway-deployer"
	AgentRaw  = "bench-raw"
)

// Site is where services go: the namespaces that begin so. Counter is the one of the fence.
type Site struct {
	Prefix  string `json:"prefix"`
	Counter uint64 `json:"counter"`
}

// Namespace of a cluster.
func (s Site) Namespace(cluster int) string { return fmt.Sprintf("%s-%02d", s.Prefix, cluster) }

// Service has a name.
func Service(n int) string { return fmt.Sprintf("s%02d", n) }

// Rolled is what came of everything.
type Rolled struct {
	Elapsed time.Duration `json:"elapsed"`
	Again   int           `json:"again"` // services that were tried again: a request was not answered in time
}

// tries of a deployment to a cluster that does not answer.
const tries = 4

// ObjectsOf a service are so many.
const ObjectsOf = 4

// Manifests of a service: configuration, an account, a Service without an address of its own (there are not enough for all in a
// development cluster), and a Deployment of one pod.
func Manifests(name string) []byte {
	return fmt.Appendf(nil, `{apiVersion: v1, kind: ConfigMap, metadata: {name: %[1]s}, data: {mode: quiet}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: %[1]s}}
---
{apiVersion: v1, kind: Service, metadata: {name: %[1]s}, spec: {clusterIP: None, selector: {app: %[1]s}, ports: [{port: 80, targetPort: 8080}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: 1
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      serviceAccountName: %[1]s
      containers: [{name: server, image: "registry.invalid/server:1", envFrom: [{configMapRef: {name: %[1]s}}]}]
`, name)
}

// Run serves until the input ends.
func (r Rollouts) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	clusters := make([]*cluster.Cluster, r.Clusters)
	raw := make([]dynamic.Interface, r.Clusters)
	for i := range clusters {
		var err error
		if clusters[i], err = cluster.Open(cluster.Spec{Name: fmt.Sprintf("c%02d", i), Kubeconfig: r.Kubeconfig}); err != nil {
			return fmt.Errorf("open a cluster: %w", err)
		}
		config, err := clientcmd.BuildConfigFromFlags("", r.Kubeconfig)
		if err != nil {
			return fmt.Errorf("open a cluster: %w", err)
		}
		config.QPS, config.UserAgent = -1, AgentRaw
		if raw[i], err = dynamic.NewForConfig(config); err != nil {
			return fmt.Errorf("open a cluster: %w", err)
		}
	}
	var again atomic.Int64
	on := func(do func(ctx context.Context, cluster int, s Site) error) func(context.Context, Site) (any, error) {
		return func(ctx context.Context, s Site) (any, error) {
			again.Store(0)
			began := time.Now()
			g, ctx := errgroup.WithContext(ctx)
			for i := range r.Clusters {
				g.Go(func() error { return do(ctx, i, s) })
			}
			err := g.Wait()
			return Rolled{Elapsed: time.Since(began), Again: int(again.Load())}, err
		}
	}
	return Serve(ctx, in, out, Address{}, Ops{
		"ours": Handle(on(func(ctx context.Context, i int, s Site) error {
			return r.ours(ctx, clusters[i], s.Namespace(i), s.Counter, &again)
		})),
		"raw": Handle(on(func(ctx context.Context, i int, s Site) error { return r.raw(ctx, raw[i], s.Namespace(i)) })),
	})
}

var errNotHealthy = errors.New("a service does not become healthy")

// ours is what the deployer's agent does for a task.
func (r Rollouts) ours(ctx context.Context, c *cluster.Cluster, namespace string, counter uint64, again *atomic.Int64) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.Slots)
	for n := range r.Services {
		g.Go(func() error {
			name := Service(n)
			req := apply.Request{
				Target:    apply.Target{Project: "bench", Service: name, Environment: "prod", Namespace: namespace},
				Manifests: Manifests(name), Stamp: apply.Stamp{Fence: apply.Fence{Epoch: 1, Counter: counter}, Release: "r1", Run: "run-1"},
			}
			result, err := canary.Finish(ctx, c, req, rolling.Check{}, rolling.Settings{}, rolling.Listener{})
			for try := 1; cluster.IsUnreachable(err) && try < tries; try++ { // as a coordinator has it done
				again.Add(1)
				result, err = canary.Finish(ctx, c, req, rolling.Check{}, rolling.Settings{}, rolling.Listener{})
			}
			if err == nil && result.Verdict != rolling.Healthy {
				err = fmt.Errorf("%w: %s: %s", errNotHealthy, result.Verdict, result.Explanation())
			}
			return err
		})
	}
	return g.Wait()
}

// kinds of the objects, in the order in which they are written.
func kinds() map[string]schema.GroupVersionResource {
	core := schema.GroupVersion{Version: "v1"}
	return map[string]schema.GroupVersionResource{
		"ConfigMap": core.WithResource("configmaps"), "ServiceAccount": core.WithResource("serviceaccounts"), "Service": core.WithResource("services"),
		"Deployment": appsv1.SchemeGroupVersion.WithResource("deployments"),
	}
}

// raw applies the objects and looks at them by one watch for each kind.
func (r Rollouts) raw(ctx context.Context, c dynamic.Interface, namespace string) error {
	g, ctx := errgroup.WithContext(ctx)
	for kind, resource := range kinds() {
		begin := func() (watch.Interface, error) {
			return c.Resource(resource).Namespace(namespace).Watch(ctx, metav1.ListOptions{})
		}
		w, err := begin()
		if err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		g.Go(func() error { return r.seen(ctx, w, kind, begin) })
	}
	g.Go(func() error {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(r.Slots)
		for n := range r.Services {
			g.Go(func() error { return applied(ctx, c, namespace, Manifests(Service(n))) })
		}
		return g.Wait()
	})
	return g.Wait()
}

func applied(ctx context.Context, c dynamic.Interface, namespace string, text []byte) error {
	objs, _ := manifest.Parse(text)
	for _, obj := range objs {
		data, err := json.Marshal(obj)
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		if _, err := c.Resource(kinds()[obj.GetKind()]).Namespace(namespace).Patch(ctx, obj.GetName(), types.ApplyPatchType, data, metav1.PatchOptions{FieldManager: AgentRaw}); err != nil {
			return fmt.Errorf("apply: %w", err)
		}
	}
	return nil
}

// seen waits until a watch has shown every object of its kind, working. One that the API server ends, as it does when it has much to
// do, is begun again.
func (r Rollouts) seen(ctx context.Context, w watch.Interface, kind string, begin func() (watch.Interface, error)) (err error) {
	defer func() { w.Stop() }()
	good := map[string]bool{}
	for len(good) < r.Services {
		select {
		case e, ok := <-w.ResultChan():
			if !ok {
				w.Stop()
				if w, err = begin(); err != nil {
					w = watch.NewEmptyWatch()
					return fmt.Errorf("watch %s again: %w", kind, err)
				}
				continue
			}
			obj, ok := e.Object.(*unstructured.Unstructured)
			if !ok {
				return fmt.Errorf("%w: the watch of %s shows %v", errNotHealthy, kind, e.Object)
			}
			if n := obj.GetName(); len(n) == len(Service(0)) && n[0] == Service(0)[0] && works(obj) { // not what a namespace has anyway
				good[obj.GetName()] = true
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// works says so of a Deployment whose newest pods are all available, and of everything else.
func works(obj *unstructured.Unstructured) bool {
	if obj.GetKind() != "Deployment" {
		return true
	}
	var d appsv1.Deployment
	if runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, &d) != nil {
		return false
	}
	return d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas == *d.Spec.Replicas && d.Status.AvailableReplicas == *d.Spec.Replicas
}
