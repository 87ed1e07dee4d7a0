package health

import (
	"context"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/slipway-build/slipway/deploy/cluster"
)

// probeEvery is how often the API server is asked whether it lives while watches are quiet: a watch alone cannot tell a quiet
// cluster from a dead one.
const probeEvery = 5 * time.Second

// pulledReason is how the kubelet says that an image is on the node.
const pulledReason = "Pulled"

// watch keeps the namespace's state up to date and signals every change.
type watch struct {
	cluster *cluster.Cluster
	req     Request
	changed chan struct{} // holds one signal
	times   *timeline

	objects informers.SharedInformerFactory
	events  informers.SharedInformerFactory // warnings
	pulls   informers.SharedInformerFactory // events of pulled images
	stores  map[string]cache.Store
	synced  []cache.InformerSynced
	quit    chan struct{}
	probing sync.WaitGroup
}

func newWatch(c *cluster.Cluster, req Request) *watch {
	only := informers.WithNamespace(req.Namespace)
	warnings := informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = "type=Warning" })
	pulled := informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = "involvedObject.kind=Pod,reason=" + pulledReason })
	return &watch{
		cluster: c, req: req, changed: make(chan struct{}, 1), times: newTimeline(),
		objects: informers.NewSharedInformerFactoryWithOptions(c.Watching, 0, only),
		events:  informers.NewSharedInformerFactoryWithOptions(c.Watching, 0, only, warnings),
		pulls:   informers.NewSharedInformerFactoryWithOptions(c.Watching, 0, only, pulled),
		stores:  map[string]cache.Store{}, quit: make(chan struct{}),
	}
}

// start begins the watches that the objects need and returns when they show the present. lost ends the wait when the cluster
// has not answered for the patience of the request.
func (w *watch) start(ctx context.Context, lost context.CancelCauseFunc) error {
	if _, err := w.cluster.Ping(ctx); err != nil {
		return err
	}
	factory := w.objects
	all := map[string]cache.SharedIndexInformer{
		"Pod": factory.Core().V1().Pods().Informer(), "Event": w.events.Core().V1().Events().Informer(),
		pulledReason: w.pulls.Core().V1().Events().Informer(),
	}
	for _, ref := range w.req.Objects {
		switch ref.Group + "/" + ref.Kind {
		case "apps/Deployment":
			all["Deployment"] = factory.Apps().V1().Deployments().Informer()
			all["ReplicaSet"] = factory.Apps().V1().ReplicaSets().Informer()
		case "apps/ReplicaSet":
			all["ReplicaSet"] = factory.Apps().V1().ReplicaSets().Informer()
		case "apps/StatefulSet":
			all["StatefulSet"] = factory.Apps().V1().StatefulSets().Informer()
		case "apps/DaemonSet":
			all["DaemonSet"] = factory.Apps().V1().DaemonSets().Informer()
		case "batch/Job":
			all["Job"] = factory.Batch().V1().Jobs().Informer()
		}
	}
	for kind, informer := range all {
		if err := w.attach(kind, informer, lost); err != nil {
			return err
		}
	}
	w.objects.Start(w.quit)
	w.events.Start(w.quit)
	w.pulls.Start(w.quit)
	w.probing.Go(func() { w.probe(ctx, lost) })
	if !cache.WaitForCacheSync(ctx.Done(), w.synced...) {
		return fmt.Errorf("watch %s: %w", w.req.Namespace, context.Cause(ctx))
	}
	return nil
}

func (w *watch) attach(kind string, informer cache.SharedIndexInformer, lost context.CancelCauseFunc) error {
	w.stores[kind] = informer.GetStore()
	err := informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		// Broken watches are opened again by themselves, and the probe tells a dead cluster; a missing permission stays.
		if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
			lost(w.cluster.Explain("watch "+kind, err))
		}
	})
	if err != nil {
		return fmt.Errorf("watch %s: %w", kind, err)
	}
	handler, err := informer.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc:    func(object any, initial bool) { w.note(object, initial) },
		UpdateFunc: func(_, object any) { w.note(object, false) },
		DeleteFunc: func(any) { w.signal() },
	})
	if err != nil {
		return fmt.Errorf("watch %s: %w", kind, err)
	}
	w.synced = append(w.synced, handler.HasSynced)
	return nil
}

func (w *watch) note(object any, initial bool) {
	switch o := object.(type) {
	case *corev1.Pod:
		w.times.observe(o, initial, time.Now())
	case *corev1.Event:
		if o.Reason == pulledReason {
			w.times.pull(o, initial, time.Now())
			return // of no matter for whether the pod works
		}
	}
	w.signal()
}

func (w *watch) signal() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *watch) probe(ctx context.Context, lost context.CancelCauseFunc) {
	tick := time.NewTicker(min(probeEvery, w.req.Patience/2))
	defer tick.Stop()
	answered := time.Now()
	for {
		select {
		case <-w.quit:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_, err := w.cluster.Ping(ctx)
		switch {
		case err == nil:
			answered = time.Now()
		case time.Since(answered) >= w.req.Patience:
			lost(err)
			return
		}
	}
}

func (w *watch) stop() {
	close(w.quit)
	w.objects.Shutdown()
	w.events.Shutdown()
	w.pulls.Shutdown()
	w.probing.Wait()
}

func (w *watch) view() view {
	return view{
		deployments:  byName[*appsv1.Deployment](w.stores["Deployment"]),
		statefulSets: byName[*appsv1.StatefulSet](w.stores["StatefulSet"]),
		daemonSets:   byName[*appsv1.DaemonSet](w.stores["DaemonSet"]),
		replicaSets:  byName[*appsv1.ReplicaSet](w.stores["ReplicaSet"]),
		jobs:         byName[*batchv1.Job](w.stores["Job"]),
		pods:         list[*corev1.Pod](w.stores["Pod"]),
		events:       list[*corev1.Event](w.stores["Event"]),
	}
}

func list[T any](store cache.Store) []T {
	if store == nil {
		return nil
	}
	var out []T
	for _, item := range store.List() {
		if typed, ok := item.(T); ok {
			out = append(out, typed)
		}
	}
	return out
}

func byName[T metav1.Object](store cache.Store) map[string]T {
	out := map[string]T{}
	for _, item := range list[T](store) {
		out[item.GetName()] = item
	}
	return out
}
