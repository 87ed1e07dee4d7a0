// Package notice watches what Slipway applied to clusters, and says in which environments somebody else changed it.
//
// It watches metadata alone. Whose fields are whose is kept by the cluster (managedFields): who sets a field to another value takes it
// from Slipway's set, and does not touch the time of that set, which Slipway's own writes do. So a field that others add, a status
// and an autoscaler that goes on scaling are no change. What exactly is different now a comparison says, which the coordinator asks for.
package notice

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/cluster"
)

const (
	rediscover = 5 * time.Minute  // how often it is asked which kinds there are
	retry      = 30 * time.Second // after that could not be told
	gather     = 500 * time.Millisecond
	patience   = 10 * time.Second // for the coordinator to hear of one environment
	maxBackoff = 30 * time.Second
)

// Change is an environment in which somebody changed something, in one cluster.
type Change struct{ Project, Environment, Cluster string }

// ErrNobody is what Tell answers of a change that nobody wants to hear of, now or later.
var ErrNobody = errors.New("nobody wants to know")

// Config of a Watcher.
type Config struct {
	Clusters []*cluster.Cluster
	// Tell says that something changed. What it does not take is told again; a change may be told more than once.
	Tell func(ctx context.Context, c Change) error
	Log  *slog.Logger
}

// Watcher watches clusters.
type Watcher struct {
	cfg   Config
	stale chan struct{} // has room for one: something is to be told

	mu      sync.Mutex
	changes map[Change]bool
}

// New makes a Watcher.
func New(cfg Config) *Watcher {
	return &Watcher{cfg: cfg, stale: make(chan struct{}, 1), changes: map[Change]bool{}}
}

// Run watches until the context ends. At first, and whenever a watch could not go on, it says of everything that is there that it may
// have changed. A cluster that does not answer is tried again.
func (w *Watcher) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { w.tell(ctx); return nil })
	for _, c := range w.cfg.Clusters {
		g.Go(func() error { w.follow(ctx, c); return nil })
	}
	return g.Wait()
}

// follow watches all kinds of one cluster, those too that are added to it.
func (w *Watcher) follow(ctx context.Context, c *cluster.Cluster) {
	var watches sync.WaitGroup
	defer watches.Wait()
	var mu sync.Mutex
	watched := map[schema.GroupVersionResource]bool{}
	for ctx.Err() == nil {
		kinds, err := watchable(c)
		if err != nil {
			w.cfg.Log.DebugContext(ctx, "kinds of a cluster are not known", "cluster", c.Name(), "err", err)
		}
		for _, kind := range kinds {
			mu.Lock()
			known := watched[kind]
			watched[kind] = true
			mu.Unlock()
			if known {
				continue
			}
			watches.Go(func() {
				w.watch(ctx, c, kind)
				mu.Lock()
				defer mu.Unlock()
				delete(watched, kind) // it is tried again with the next discovery
			})
		}
		pause := rediscover
		if err != nil {
			pause = retry
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// watchable are the kinds that may be a release's: namespaced ones that can be watched and deleted.
func watchable(c *cluster.Cluster) ([]schema.GroupVersionResource, error) {
	lists, err := c.Typed.Discovery().ServerPreferredNamespacedResources()
	var partial *discovery.ErrGroupDiscoveryFailed
	if err != nil && !errors.As(err, &partial) {
		return nil, c.Explain("list the kinds of the cluster", err)
	}
	var out []schema.GroupVersionResource
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue
		}
		for _, r := range list.APIResources {
			if slices.Contains(r.Verbs, "list") && slices.Contains(r.Verbs, "watch") && slices.Contains(r.Verbs, "delete") && r.Kind != "Event" {
				out = append(out, version.WithResource(r.Name))
			}
		}
	}
	return out, nil
}

// watch follows one kind until the context ends, or it may not.
func (w *Watcher) watch(ctx context.Context, c *cluster.Cluster, kind schema.GroupVersionResource) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	informer := metadatainformer.NewFilteredMetadataInformer(c.WatchingMetadata, kind, metav1.NamespaceAll, 0, cache.Indexers{}, func(o *metav1.ListOptions) {
		o.LabelSelector = apply.Everything()
	}).Informer()
	err := informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
			cancel() // what the deployer may not even list, it never applied
			return
		}
		w.cfg.Log.DebugContext(ctx, "watch goes on later", "cluster", c.Name(), "kind", kind.Resource, "err", err)
	})
	if err == nil {
		_, err = informer.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
			AddFunc: func(obj any, first bool) {
				if first { // nobody knows how it was before
					w.note(c, obj)
				}
			},
			UpdateFunc: func(before, after any) {
				if taken(before, after) {
					w.note(c, after)
				}
			},
			DeleteFunc: func(obj any) {
				if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
					obj = last.Obj
				}
				w.note(c, obj)
			},
		})
	}
	if err != nil {
		w.cfg.Log.WarnContext(ctx, "kind is not watched", "cluster", c.Name(), "kind", kind.Resource, "err", err)
		return
	}
	informer.RunWithContext(ctx)
}

// taken reports that somebody else took a field from Slipway's between two versions of an object, or all of it.
func taken(before, after any) bool {
	a, okA := before.(*metav1.PartialObjectMetadata)
	b, okB := after.(*metav1.PartialObjectMetadata)
	if !okA || !okB {
		return false
	}
	was, is := own(a), own(b)
	switch {
	case was == nil:
		return false // it becomes Slipway's, or never was
	case is == nil:
		return true
	case a.UID != b.UID:
		return true
	}
	return is.Time.Equal(was.Time) && !bytes.Equal(raw(was), raw(is))
}

func own(obj *metav1.PartialObjectMetadata) *metav1.ManagedFieldsEntry {
	i := slices.IndexFunc(obj.ManagedFields, func(e metav1.ManagedFieldsEntry) bool {
		return e.Manager == apply.FieldManager && e.Operation == metav1.ManagedFieldsOperationApply
	})
	if i < 0 {
		return nil
	}
	return &obj.ManagedFields[i]
}

func raw(e *metav1.ManagedFieldsEntry) []byte {
	if e.FieldsV1 == nil {
		return nil
	}
	return e.FieldsV1.GetRawBytes()
}

// note has it told that an object changed. Copies that controllers make with the same labels are not Slipway's.
func (w *Watcher) note(c *cluster.Cluster, obj any) {
	o, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok || own(o) == nil || len(o.OwnerReferences) > 0 {
		return
	}
	change := Change{o.Labels[apply.LabelProject], o.Labels[apply.LabelEnvironment], c.Name()}
	if change.Project == "" || change.Environment == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes[change] = true
	select {
	case w.stale <- struct{}{}:
	default:
	}
}

// tell says what changed until the context ends.
func (w *Watcher) tell(ctx context.Context) {
	backoff := gather
	for {
		select {
		case <-w.stale:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(backoff): // changes come in groups
		case <-ctx.Done():
			return
		}
		if w.tellAll(ctx) {
			backoff = gather
		} else {
			backoff = min(2*backoff, maxBackoff)
		}
	}
}

// tellAll answers false when something is to be told again.
func (w *Watcher) tellAll(ctx context.Context) bool {
	w.mu.Lock()
	changes := w.changes
	w.changes = map[Change]bool{}
	w.mu.Unlock()
	all := true
	for change := range changes {
		ask, cancel := context.WithTimeout(ctx, patience)
		err := w.cfg.Tell(ask, change)
		cancel()
		if err == nil || errors.Is(err, ErrNobody) {
			continue
		}
		w.cfg.Log.DebugContext(ctx, "a change is told later", "project", change.Project, "environment", change.Environment, "cluster", change.Cluster, "err", err)
		all = false
		w.mu.Lock()
		w.changes[change] = true
		w.mu.Unlock()
	}
	if !all {
		select {
		case w.stale <- struct{}{}:
		default:
		}
	}
	return all
}
