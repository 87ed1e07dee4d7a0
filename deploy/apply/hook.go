package apply

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/manifest"
)

// ClearHook takes away an earlier execution of a hook, so that Apply starts it: one of
// another digest, or one that failed. One of the same digest that is done, or at work,
// stays: what was carried out for this very content is not carried out again.
//
// It waits until the object is gone. Errors are those of Apply.
func ClearHook(ctx context.Context, c *cluster.Cluster, req Request, hook manifest.Hook) error {
	if hook.Ref.Kind != "Job" && hook.Ref.Kind != "Pod" {
		return nil
	}
	mapping, err := c.MappingFor(ctx, hook.Ref.GroupVersionKind)
	if err != nil {
		return err
	}
	h := clearing{cluster: c, req: req, hook: hook, client: c.Dynamic.Resource(mapping.Resource).Namespace(req.Target.Namespace)}
	for range maxReads {
		done, err := h.once(ctx)
		if done || err != nil {
			return err
		}
	}
	return fmt.Errorf("cluster %q: delete %s: %w (%d tries)", c.Name(), hook.Ref, errBusyObject, maxReads)
}

type clearing struct {
	cluster *cluster.Cluster
	req     Request
	hook    manifest.Hook
	client  dynamic.ResourceInterface
}

// once deletes what it reads; done is false when that changed in between.
func (h clearing) once(ctx context.Context) (done bool, err error) {
	live, err := h.client.Get(ctx, h.hook.Ref.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return true, nil
	case err != nil:
		return false, h.cluster.Explain("read "+h.hook.Ref.String(), err)
	case !h.req.Target.Owns(live): // Apply says so
		return true, nil
	case live.GetDeletionTimestamp() != nil:
		return true, h.gone(ctx, live)
	case live.GetAnnotations()[manifest.AnnotationHookDigest] == h.hook.Digest && !unsuccessful(live):
		return true, nil
	}
	if err := CheckFence(live, h.hook.Ref, h.req.Stamp.Fence); err != nil {
		return false, err
	}
	h.cluster.Memory.Forget(live.GetUID())
	uid, version, background := live.GetUID(), live.GetResourceVersion(), metav1.DeletePropagationBackground
	err = h.client.Delete(ctx, h.hook.Ref.Name, metav1.DeleteOptions{
		PropagationPolicy: &background, Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version},
	})
	switch {
	case apierrors.IsConflict(err):
		return false, nil
	case err != nil && !apierrors.IsNotFound(err):
		return false, h.cluster.Explain("delete "+h.hook.Ref.String(), err)
	}
	return true, h.gone(ctx, live)
}

// gone waits until the object that was deleted is.
func (h clearing) gone(ctx context.Context, old *unstructured.Unstructured) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		live, err := h.client.Get(ctx, h.hook.Ref.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return h.cluster.Explain("read "+h.hook.Ref.String(), err)
		case live.GetUID() != old.GetUID():
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait until the earlier %s is gone (finalizers %v): %w", h.hook.Ref, live.GetFinalizers(), context.Cause(ctx))
		}
	}
}

// unsuccessful reports a Job or Pod that ended and said no.
func unsuccessful(live *unstructured.Unstructured) bool {
	if phase, _, _ := unstructured.NestedString(live.Object, "status", "phase"); phase == "Failed" {
		return true
	}
	conditions, _, _ := unstructured.NestedSlice(live.Object, "status", "conditions")
	for _, c := range conditions {
		fields, _ := c.(map[string]any)
		if fields["status"] == "True" && (fields["type"] == "Failed" || fields["type"] == "FailureTarget") {
			return true
		}
	}
	return false
}
