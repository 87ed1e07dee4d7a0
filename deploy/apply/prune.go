package apply

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/manifest"
	"github.com/slipway-build/slipway/internal/failpoint"
)

// listersAtOnce bounds the list requests side by side: one a kind, so a cluster with many definitions sees many.
const listersAtOnce = 8

// Live is an object of the target as it stands on the cluster, without its content.
type Live struct {
	Ref             manifest.Ref
	Resource        schema.GroupVersionResource
	ResourceVersion string
	Labels          map[string]string
	Annotations     map[string]string
	meta            *metav1.PartialObjectMetadata
}

// Release that wrote the object last.
func (l Live) Release() string { return l.Annotations[AnnotationRelease] }

// Keep reports whether the object's owner asked that it never be deleted.
func (l Live) Keep() bool { return l.Annotations[AnnotationKeep] == "true" }

// Adopted is whose the object was before Slipway took it over; empty: Slipway made it.
func (l Live) Adopted() string { return l.Annotations[AnnotationAdopted] }

// Superseded returns a *SupersededError when the object was written under a newer fence.
func (l Live) Superseded(mine Fence) error { return CheckFence(l.meta, l.Ref, mine) }

// Owned lists every object that Slipway applied for the target, in its namespace, whatever the kind. Copies that controllers
// make with the same labels (endpoint slices) were not applied by Slipway and are not listed; namespaces never are.
func Owned(ctx context.Context, c *cluster.Cluster, target Target) ([]Live, error) {
	return ownedIf(ctx, c, target, time.Now(), func(context.Context, resourceKind) (bool, error) { return true, nil })
}

// ownedIf is Owned of some kinds.
func ownedIf(ctx context.Context, c *cluster.Cluster, target Target, since time.Time, wanted func(context.Context, resourceKind) (bool, error)) ([]Live, error) {
	kinds, err := listable(c)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var all []Live
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(listersAtOnce)
	for _, kind := range kinds {
		group.Go(func() error {
			if yes, err := wanted(ctx, kind); err != nil || !yes {
				return err
			}
			found, err := ownedOf(ctx, c, target, kind, since)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, found...)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b Live) int { return strings.Compare(a.Ref.Key(), b.Ref.Key()) })
	return all, nil
}

func ownedOf(ctx context.Context, c *cluster.Cluster, target Target, kind resourceKind, since time.Time) ([]Live, error) {
	metas, err := Standing(ctx, c, target, kind.resource, since)
	switch {
	case apierrors.IsNotFound(err), apierrors.IsMethodNotSupported(err), apierrors.IsForbidden(err):
		return nil, nil // what the deployer may not even list, it never applied
	case err != nil:
		return nil, err
	}
	var found []Live
	for i := range metas {
		item := &metas[i]
		if !applied(item) || len(item.OwnerReferences) > 0 {
			continue
		}
		found = append(found, Live{
			Ref: manifest.Ref{
				// Items of a list do not name their own kind.
				GroupVersionKind: kind.kind, Namespace: item.Namespace, Name: item.Name,
				UID: item.UID, Generation: item.Generation,
			},
			Resource: kind.resource, ResourceVersion: item.ResourceVersion,
			Labels: item.Labels, Annotations: item.Annotations, meta: item,
		})
	}
	return found, nil
}

func applied(obj metav1.Object) bool {
	return slices.ContainsFunc(obj.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager == FieldManager && entry.Operation == metav1.ManagedFieldsOperationApply
	})
}

type resourceKind struct {
	resource schema.GroupVersionResource
	kind     schema.GroupVersionKind
}

// listable are the namespaced kinds that can be listed and deleted, each in the version the server prefers.
func listable(c *cluster.Cluster) ([]resourceKind, error) {
	lists, err := c.Discovery().ServerPreferredNamespacedResources()
	var partial *discovery.ErrGroupDiscoveryFailed
	if err != nil && !errors.As(err, &partial) {
		return nil, c.Explain("list the kinds of the cluster", err)
	}
	var kinds []resourceKind
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue
		}
		for _, resource := range list.APIResources {
			if slices.Contains(resource.Verbs, "list") && slices.Contains(resource.Verbs, "delete") && resource.Kind != "Event" {
				kinds = append(kinds, resourceKind{version.WithResource(resource.Name), version.WithKind(resource.Kind)})
			}
		}
	}
	return kinds, nil
}

// Prune deletes what Slipway once applied for the target and the release no longer has: keep lists what it has. It goes by what
// stood at the moment since, or later, and does not list kinds again and again of which Slipway has nothing in the namespace (bare).
// Zero: nothing of the target stood among the kinds of keep when the release began, and they are not listed.
func Prune(ctx context.Context, c *cluster.Cluster, target Target, mine Fence, keep []manifest.Ref, since time.Time) ([]Change, error) {
	mapped := map[schema.GroupKind]bool{}
	for _, ref := range keep {
		mapped[ref.GroupKind()] = true
	}
	first := since.IsZero()
	if first {
		since = time.Now()
	}
	live, err := ownedIf(ctx, c, target, since, func(ctx context.Context, kind resourceKind) (bool, error) {
		if mapped[kind.kind.GroupKind()] {
			return !first, nil
		}
		none, err := bare(ctx, c, target.Namespace, kind.resource)
		return !none, err
	})
	if err != nil {
		return nil, err
	}
	return Delete(ctx, c, mine, absent(live, keep))
}

// absent are the live objects that are not among those to keep.
func absent(live []Live, keep []manifest.Ref) []Live {
	wanted := map[string]bool{}
	for _, ref := range keep {
		wanted[ref.Key()] = true
	}
	var gone []Live
	for _, object := range live {
		if !wanted[object.Ref.Key()] {
			gone = append(gone, object)
		}
	}
	return gone
}

// spared is why an object that the release no longer has stays.
const spared = "annotation " + AnnotationKeep

// Delete removes the given objects, each only while it is the very object that was listed and nobody changed it since; what pods
// refer to goes after everything else, so that none starts without it. Objects with the keep annotation are spared and reported.
// What is already gone counts as deleted by somebody else and is left out.
func Delete(ctx context.Context, c *cluster.Cluster, mine Fence, objects []Live) ([]Change, error) {
	var changes []Change
	first := slices.DeleteFunc(slices.Clone(objects), func(l Live) bool { return manifest.StartsPods(l.Ref) })
	last := slices.DeleteFunc(slices.Clone(objects), func(l Live) bool { return !manifest.StartsPods(l.Ref) })
	for _, object := range slices.Concat(first, last) {
		if object.Keep() {
			changes = append(changes, Change{Ref: object.Ref, Action: Kept, Reason: spared})
			continue
		}
		deleted, err := deleteOne(ctx, c, mine, object)
		if err != nil {
			return changes, err
		}
		if deleted {
			changes = append(changes, Change{Ref: object.Ref, Action: Deleted})
		}
	}
	return changes, nil
}

func deleteOne(ctx context.Context, c *cluster.Cluster, mine Fence, object Live) (bool, error) {
	client := c.Metadata.Resource(object.Resource).Namespace(object.Ref.Namespace)
	background := metav1.DeletePropagationBackground
	for range maxReads {
		if err := object.Superseded(mine); err != nil {
			return false, err
		}
		if object.meta.DeletionTimestamp != nil {
			return false, nil
		}
		failpoint.Hit(failpoint.DeleteBefore)
		c.Memory.Forget(object.Ref.UID)
		err := client.Delete(ctx, object.Ref.Name, metav1.DeleteOptions{
			PropagationPolicy: &background,
			Preconditions:     &metav1.Preconditions{UID: &object.Ref.UID, ResourceVersion: &object.ResourceVersion},
		})
		switch {
		case err == nil:
			failpoint.Hit(failpoint.DeleteDone)
			return true, nil
		case apierrors.IsNotFound(err):
			return false, nil
		case !apierrors.IsConflict(err):
			return false, c.Explain("delete "+object.Ref.String(), err)
		}
		again, err := client.Get(ctx, object.Ref.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || (err == nil && again.UID != object.Ref.UID) {
			return false, nil
		}
		if err != nil {
			return false, c.Explain("read "+object.Ref.String(), err)
		}
		if again.Annotations[AnnotationKeep] == "true" || again.Annotations[AnnotationRelease] != object.Release() {
			return false, nil
		}
		object.meta, object.ResourceVersion, object.Annotations = again, again.ResourceVersion, again.Annotations
	}
	return false, c.Explain("delete "+object.Ref.String(), errBusyObject)
}
