package apply

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/manifest"
)

// revisionAnnotation is what the controller of Deployments counts on them.
const revisionAnnotation = "deployment.kubernetes.io/revision"

// sight is what a glance showed of an object.
type sight int

const (
	unlooked sight = iota // nothing is known
	unlisted              // no object of the target has that name; somebody else's may
	known                 // it is as the release wants it
)

// glance looks at the metadata of the target's objects, which rollouts read together, and knows an object again that was as the
// release wants it and has not changed since. Nobody is asked about it any more.
func (w *writer) glance(it *item) (sight, []manifest.Refusal, error) {
	if it.ref.Namespace == "" || w.thorough {
		return unlooked, nil, nil
	}
	metas, listed := w.standing[it.resource]
	if !listed {
		return unlooked, nil, nil
	}
	for i := range metas {
		meta := &metas[i]
		if meta.Name != it.ref.Name {
			continue
		}
		if refused, err := w.admit(it, meta); err != nil || len(refused) > 0 {
			return unlooked, refused, err
		}
		proof, ok := w.cluster.Memory.Proof(meta.UID)
		if !ok || proof.Fence != meta.Annotations[AnnotationFence] { // another deployer was here
			forgetBare(w.cluster, w.req.Target.Namespace, nil)
		}
		if ok && proof.Wanted == it.wanted(w.req) && proof.Meta == fingerprint(meta) {
			it.action = Unchanged
			it.settle(meta)
			return known, nil, nil
		}
		return unlooked, nil, nil
	}
	return unlisted, nil, nil
}

// prefetch lists the kinds of the items, side by side. What may not be listed is looked at one by one, later.
func (w *writer) prefetch(ctx context.Context, items []*item) error {
	w.standing = map[schema.GroupVersionResource][]metav1.PartialObjectMetadata{}
	if w.thorough {
		return nil
	}
	kinds := map[schema.GroupVersionResource]bool{}
	for _, it := range items {
		if it.ref.Namespace != "" {
			kinds[it.resource] = true
		}
	}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(listersAtOnce)
	for kind := range kinds {
		group.Go(func() error {
			metas, err := Standing(ctx, w.cluster, w.req.Target, kind, w.req.Since)
			if apierrors.IsForbidden(err) || apierrors.IsMethodNotSupported(err) || apierrors.IsNotFound(err) {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			w.standing[kind] = metas
			return err
		})
	}
	return group.Wait()
}

// nothingStands: there was nothing of the target among the kinds of the items, all of which could be listed.
func (w *writer) nothingStands(items []*item) bool {
	for _, it := range items {
		if metas, listed := w.standing[it.resource]; !listed || len(metas) > 0 {
			return false
		}
	}
	return true
}

// Standing are the target's objects of one kind, without their content, as they stood at the given moment or later. They belong to
// all who ask, and must not be changed.
func Standing(ctx context.Context, c *cluster.Cluster, target Target, resource schema.GroupVersionResource, since time.Time) ([]metav1.PartialObjectMetadata, error) {
	which := cluster.Labeled{Labels: target.Labels(), Each: LabelService, Value: target.Service}
	delete(which.Labels, LabelService)
	metas, err := c.Metas(ctx, resource, target.Namespace, which, since)
	if err != nil {
		return nil, c.Explain("list "+resource.Resource, err)
	}
	var out []metav1.PartialObjectMetadata
	for i := range metas {
		if target.Owns(&metas[i]) {
			out = append(out, metas[i])
		}
	}
	return out, nil
}

// recall says that the object which was read is as the release wants it, and was so before.
func (w *writer) recall(it *item) bool {
	if it.live == nil || it.foreign != nil || w.thorough {
		return false
	}
	proof, ok := w.cluster.Memory.Proof(it.live.GetUID())
	if !ok || proof.Wanted != it.wanted(w.req) || proof.Content != content(it.live) {
		return false
	}
	w.prove(it, it.live)
	return true
}

// prove remembers that live is what the release wants.
func (w *writer) prove(it *item, live *unstructured.Unstructured) {
	w.cluster.Memory.Prove(live.GetUID(), cluster.Proof{
		Wanted: it.wanted(w.req), Meta: fingerprint(live), Content: content(live), Fence: live.GetAnnotations()[AnnotationFence],
	})
}

// wanted is the digest of what the release wants of the object, whoever asks.
func (it *item) wanted(req Request) [32]byte { return digest(it.body(req, nil).Object) }

// content is the digest of everything that a release can want of an object, and of what Slipway holds of it.
func content(live *unstructured.Unstructured) [32]byte { return digest(stripped(live), owned(live)) }

// fingerprint is the digest of an object's metadata without what moves by itself. Kinds that count generations do so whenever
// anything but metadata and status changes; of the others every change counts.
func fingerprint(live metav1.Object) [32]byte {
	version := fmt.Sprint(live.GetGeneration())
	if live.GetGeneration() == 0 {
		version = live.GetResourceVersion()
	}
	annotations := map[string]string{}
	for key, value := range live.GetAnnotations() {
		if key != revisionAnnotation {
			annotations[key] = value
		}
	}
	return digest(live.GetUID(), version, live.GetLabels(), annotations, live.GetFinalizers(), live.GetOwnerReferences(), live.GetDeletionTimestamp(), owned(live))
}

func digest(parts ...any) [32]byte {
	h := sha256.New()
	encoder := json.NewEncoder(h)
	for _, part := range parts {
		// What came from a cluster or a manifest has an encoding.
		_ = encoder.Encode(part)
	}
	return [32]byte(h.Sum(nil))
}
