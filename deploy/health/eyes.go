package health

import (
	"fmt"
	"sync"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/slipway-build/slipway/deploy/cluster"
)

// pulledReason is how the kubelet says that an image is on the node.
const pulledReason = "Pulled"

// Kinds that are watched, beside those of workloads.
const (
	podKind     = "Pod"
	eventKind   = "Event" // warnings
	serviceKind = "Service"
)

// eyes are the watches of one namespace, one for each kind, that all who wait for something in it look through. They are begun when
// the first one needs them, and stay open for a while after the last.
type eyes struct {
	cluster *cluster.Cluster
	broken  atomic.Bool
	quit    chan struct{}

	objects informers.SharedInformerFactory
	events  informers.SharedInformerFactory // warnings
	pulls   informers.SharedInformerFactory // events of pulled images
	customs dynamicinformer.DynamicSharedInformerFactory

	mu      sync.Mutex
	watches map[string]cache.SharedIndexInformer // by kind, those that are not Kubernetes' own by resource
	users   map[*watch]bool
}

type eyesKey string

func borrowEyes(c *cluster.Cluster, namespace string) (*eyes, func()) {
	lent, back := c.Watches.Borrow(eyesKey(namespace), func() cluster.Lent {
		only, slim := informers.WithNamespace(namespace), informers.WithTransform(slim)
		warnings := informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = "type=Warning" })
		pulled := informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = "involvedObject.kind=Pod,reason=" + pulledReason })
		return &eyes{
			cluster: c, quit: make(chan struct{}), watches: map[string]cache.SharedIndexInformer{}, users: map[*watch]bool{},
			objects: informers.NewSharedInformerFactoryWithOptions(c.Watching, 0, only, slim),
			events:  informers.NewSharedInformerFactoryWithOptions(c.Watching, 0, only, slim, warnings),
			pulls:   informers.NewSharedInformerFactoryWithOptions(c.Watching, 0, only, slim, pulled),
			customs: dynamicinformer.NewFilteredDynamicSharedInformerFactory(c.WatchingDynamic, 0, namespace, nil),
		}
	})
	e, _ := lent.(*eyes)
	return e, back
}

// slim takes away what nobody looks at, and what is most of many objects.
func slim(object any) (any, error) {
	if o, ok := object.(metav1.Object); ok {
		o.SetManagedFields(nil)
	}
	return object, nil
}

// Broken reports a watch that failed: it is opened again, but nobody knows when.
func (e *eyes) Broken() bool { return e.broken.Load() }

// Close ends the watches.
func (e *eyes) Close() {
	close(e.quit)
	e.objects.Shutdown()
	e.events.Shutdown()
	e.pulls.Shutdown()
	e.customs.Shutdown()
}

// open answers the watch of a kind, begun when it is not there; nil for a kind that nobody has to look at.
func (e *eyes) open(kind string) (cache.SharedIndexInformer, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if have := e.watches[kind]; have != nil {
		return have, nil
	}
	informer := e.informer(kind)
	if informer == nil {
		return nil, nil //nolint:nilnil // nothing is to be watched
	}
	err := informer.SetWatchErrorHandler(func(_ *cache.Reflector, err error) { e.failed(kind, err) })
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", kind, err)
	}
	e.watches[kind] = informer
	e.objects.Start(e.quit)
	e.events.Start(e.quit)
	e.pulls.Start(e.quit)
	return informer, nil
}

// openCustom is open for a kind that is not Kubernetes' own.
func (e *eyes) openCustom(kind string, resource schema.GroupVersionResource) (cache.SharedIndexInformer, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := resource.String()
	if have := e.watches[key]; have != nil {
		return have, nil
	}
	informer := e.customs.ForResource(resource).Informer()
	err := informer.SetWatchErrorHandler(func(_ *cache.Reflector, err error) { e.failed(kind, err) })
	if err == nil {
		err = informer.SetTransform(slim)
	}
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", kind, err)
	}
	e.watches[key] = informer
	e.customs.Start(e.quit)
	return informer, nil
}

func (e *eyes) informer(kind string) cache.SharedIndexInformer {
	switch kind {
	case podKind:
		return e.objects.Core().V1().Pods().Informer()
	case eventKind:
		return e.events.Core().V1().Events().Informer()
	case pulledReason:
		return e.pulls.Core().V1().Events().Informer()
	case serviceKind:
		return e.objects.Core().V1().Services().Informer()
	case "Deployment":
		return e.objects.Apps().V1().Deployments().Informer()
	case "ReplicaSet":
		return e.objects.Apps().V1().ReplicaSets().Informer()
	case "StatefulSet":
		return e.objects.Apps().V1().StatefulSets().Informer()
	case "DaemonSet":
		return e.objects.Apps().V1().DaemonSets().Informer()
	case claimKind:
		return e.objects.Core().V1().PersistentVolumeClaims().Informer()
	case "Job":
		return e.objects.Batch().V1().Jobs().Informer()
	default:
		return nil
	}
}

// failed: broken watches are opened again by themselves, and the probe tells a dead cluster; a missing permission stays. Who comes
// later opens new ones, for those may wait long before they try again.
func (e *eyes) failed(kind string, err error) {
	e.broken.Store(true)
	if !apierrors.IsForbidden(err) && !apierrors.IsUnauthorized(err) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for w := range e.users {
		w.lost(e.cluster.Explain("watch "+kind, err))
	}
}

func (e *eyes) join(w *watch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.users[w] = true
}

func (e *eyes) leave(w *watch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.users, w)
}
