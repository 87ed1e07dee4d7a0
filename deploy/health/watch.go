package health

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/manifest"
)

// probeEvery is how often the API server is asked whether it lives while watches are quiet: a watch alone cannot tell a quiet
// cluster from a dead one.
const probeEvery = 5 * time.Second

// watch keeps a view of the namespace for one who waits, and signals every change that may concern them.
type watch struct {
	cluster *cluster.Cluster
	req     Request
	changed chan struct{} // holds one signal
	times   *timeline
	lost    context.CancelCauseFunc

	eyes    *eyes
	back    func()
	stores  map[string]cache.Store
	customs map[schema.GroupKind]cache.Store
	hears   []func() // ends of the handlers
	synced  []cache.DoneChecker
	quit    chan struct{}
	probing sync.WaitGroup
}

func newWatch(c *cluster.Cluster, req Request, lost context.CancelCauseFunc) *watch {
	w := &watch{
		cluster: c, req: req, changed: make(chan struct{}, 1), times: newTimeline(), lost: lost,
		stores: map[string]cache.Store{}, customs: map[schema.GroupKind]cache.Store{}, quit: make(chan struct{}),
	}
	w.eyes, w.back = borrowEyes(c, req.Namespace)
	w.eyes.join(w)
	return w
}

// start begins the watches that the objects need and returns when they show the present. The wait ends when the cluster has not
// answered for the patience of the request.
func (w *watch) start(ctx context.Context) error {
	if _, err := w.cluster.Answered(ctx, time.Now().Add(-time.Second)); err != nil {
		return err
	}
	kinds := map[string]bool{podKind: true, eventKind: true, pulledReason: true}
	for _, ref := range w.req.Objects {
		switch ref.Group + "/" + ref.Kind {
		case "apps/Deployment":
			kinds["Deployment"], kinds["ReplicaSet"] = true, true
		case "apps/ReplicaSet", "apps/StatefulSet", "apps/DaemonSet", "batch/Job", "/" + serviceKind, "/" + claimKind:
			kinds[ref.Kind] = true
		}
		if err := w.attachCustom(ctx, ref); err != nil {
			return err
		}
	}
	for kind := range kinds {
		if err := w.attach(kind); err != nil {
			return err
		}
	}
	w.probing.Go(func() { w.probe(ctx) })
	if !cache.WaitFor(ctx, "", w.synced...) {
		return fmt.Errorf("watch %s: %w", w.req.Namespace, context.Cause(ctx))
	}
	return nil
}

func (w *watch) attach(kind string) error {
	informer, err := w.eyes.open(kind)
	if err != nil || informer == nil {
		return err
	}
	w.stores[kind] = informer.GetStore()
	return w.hear(kind, informer)
}

// attachCustom begins the watch of a kind that is not Kubernetes' own.
func (w *watch) attachCustom(ctx context.Context, ref manifest.Ref) error {
	if !custom(ref) || ref.Namespace == "" || w.customs[ref.GroupKind()] != nil {
		return nil
	}
	mapping, err := w.cluster.MappingFor(ctx, ref.GroupVersionKind)
	if err != nil {
		return err
	}
	informer, err := w.eyes.openCustom(ref.Kind, mapping.Resource)
	if err != nil {
		return err
	}
	w.customs[ref.GroupKind()] = informer.GetStore()
	return w.hear(ref.Kind, informer)
}

func (w *watch) hear(kind string, informer cache.SharedIndexInformer) error {
	handler, err := informer.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc:    func(object any, initial bool) { w.note(object, initial) },
		UpdateFunc: func(_, object any) { w.note(object, false) },
		DeleteFunc: func(object any) { w.note(object, false) },
	})
	if err != nil {
		return fmt.Errorf("watch %s: %w", kind, err)
	}
	w.hears = append(w.hears, func() { _ = informer.RemoveEventHandler(handler) })
	w.synced = append(w.synced, handler.HasSyncedChecker())
	return nil
}

func (w *watch) note(object any, initial bool) {
	if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	if !w.concerns(object) {
		return
	}
	switch o := object.(type) {
	case *corev1.Pod:
		w.times.observe(o, initial, time.Now())
	case *corev1.Event:
		if o.Reason == pulledReason {
			w.times.pull(o, initial, time.Now())
			return // of no matter for whether the pod works
		}
	}
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// nameLength is how much of an owner's name is at least in the names of what its controllers make.
const nameLength = 40

// concerns reports an object that may be one of those waited for, or made for it, or an event about it: its name begins as theirs
// does. Others of the namespace are somebody else's.
func (w *watch) concerns(object any) bool {
	var name string
	switch o := object.(type) {
	case *corev1.Event:
		name = o.InvolvedObject.Name
	case metav1.Object:
		name = o.GetName()
	}
	for _, ref := range w.req.Objects {
		if strings.HasPrefix(name, ref.Name[:min(nameLength, len(ref.Name))]) {
			return true
		}
	}
	return false
}

func (w *watch) probe(ctx context.Context) {
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
			w.lost(err)
			return
		}
	}
}

func (w *watch) stop() {
	close(w.quit)
	for _, end := range w.hears {
		end()
	}
	w.eyes.leave(w)
	w.back()
	w.probing.Wait()
}

func (w *watch) view() view {
	return view{
		deployments:  byName[*appsv1.Deployment](w.stores["Deployment"]),
		statefulSets: byName[*appsv1.StatefulSet](w.stores["StatefulSet"]),
		daemonSets:   byName[*appsv1.DaemonSet](w.stores["DaemonSet"]),
		replicaSets:  byName[*appsv1.ReplicaSet](w.stores["ReplicaSet"]),
		jobs:         byName[*batchv1.Job](w.stores["Job"]),
		claims:       byName[*corev1.PersistentVolumeClaim](w.stores[claimKind]),
		customs:      w.customObjects(),
		pods:         list[*corev1.Pod](w.stores[podKind]),
		events:       list[*corev1.Event](w.stores[eventKind]),
	}
}

func (w *watch) customObjects() map[schema.GroupKind]map[string]*unstructured.Unstructured {
	out := map[schema.GroupKind]map[string]*unstructured.Unstructured{}
	for kind, store := range w.customs {
		out[kind] = byName[*unstructured.Unstructured](store)
	}
	return out
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
