package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/manifest"
	"github.com/slipway-build/slipway/internal/failpoint"
)

// maxReads bounds how often an object that somebody else keeps changing is read again before the farm gives up.
const maxReads = 10

var errBusyObject = errors.New("kept changing while it was being written")

type writer struct {
	cluster *cluster.Cluster
	req     Request
	fresh   bool // in a comparison: the namespace is not there
	// thorough asks the cluster about every object, whatever is known of it: in a comparison, which tells what differs.
	thorough bool
	standing map[schema.GroupVersionResource][]metav1.PartialObjectMetadata // the target's objects of the kinds that could be listed
}

// item is one object on its way: desired comes from the release, live is the read whose version guards the write.
type item struct {
	desired   *unstructured.Unstructured
	ref       manifest.Ref
	released  string // key of the object in the release, before it got its namespace
	resource  schema.GroupVersionResource
	client    dynamic.ResourceInterface
	live      *unstructured.Unstructured
	action    Action
	predicted *unstructured.Unstructured // what a write would make of it; nil: not asked
	foreign   *owner                     // the live object carries no label of Slipway's
	takes     *takeover                  // set: the write takes fields from others
	adopted   string                     // whose the object was before Slipway took it over; empty: nobody's
}

// plan reads the live object, checks that it may be written, and lets the API server validate and predict the result.
func (w *writer) plan(ctx context.Context, it *item) ([]manifest.Refusal, error) {
	seen, refused, err := w.glance(it)
	if err != nil || len(refused) > 0 || seen == known {
		return refused, err
	}
	if it.live, it.foreign, it.adopted = nil, nil, ""; seen != unlisted {
		if refused, err = w.read(ctx, it); err != nil || len(refused) > 0 {
			return refused, err
		}
		if w.recall(it) {
			it.action = Unchanged
			it.settle(it.live)
			return nil, nil
		}
	}
	it.takes, it.predicted = nil, nil
	predicted, err := w.send(ctx, it, it.body(w.req, stampsOf(it.live)), true)
	if seen == unlisted && (err != nil || predicted.GetResourceVersion() != "") { // somebody else's is there, or came meanwhile
		if refused, gone := w.read(ctx, it); gone != nil || len(refused) > 0 {
			return refused, gone
		}
		if it.live != nil {
			predicted, err = w.send(ctx, it, it.body(w.req, stampsOf(it.live)), true)
		}
	}
	if it.foreign != nil || len(conflicts(err)) > 0 {
		return w.occupied(ctx, it, conflicts(err))
	}
	if err != nil {
		return w.refusal(it, "validate", err)
	}
	it.predicted = predicted
	switch {
	case it.live == nil:
		it.action = Created
	case same(it.live, predicted):
		it.action = Unchanged
		it.settle(it.live)
		w.prove(it, it.live)
	default:
		it.action = Updated
	}
	return nil, nil
}

// read takes the live object and decides whether it is this release's to write.
func (w *writer) read(ctx context.Context, it *item) ([]manifest.Refusal, error) {
	live, err := it.client.Get(ctx, it.ref.Name, metav1.GetOptions{})
	it.live, it.foreign, it.adopted = nil, nil, ""
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, w.cluster.Explain("read "+it.ref.String(), err)
	}
	if refused, err := w.admit(it, live); err != nil || len(refused) > 0 {
		return refused, err
	}
	it.live = live
	if !w.req.Target.Owns(live) {
		it.foreign = ownerOf(live)
		it.adopted = it.foreign.who
	}
	return nil, nil
}

// admit says whether a live object may be this release's.
func (w *writer) admit(it *item, live metav1.Object) ([]manifest.Refusal, error) {
	if reason := unavailable(live, w.req.Target); reason != "" {
		return []manifest.Refusal{{Object: it.ref.String(), Reason: reason}}, nil
	}
	if live.GetDeletionTimestamp() != nil {
		return nil, fmt.Errorf("cluster %q: %s is still being deleted (finalizers: %s)",
			w.cluster.Name(), it.ref, strings.Join(append(live.GetFinalizers(), "none"), ", "))
	}
	it.adopted = live.GetAnnotations()[AnnotationAdopted]
	return nil, CheckFence(live, it.ref, w.req.Stamp.Fence)
}

// write sends the planned object. When the version that was read is gone, it reads again and, if more than the status moved,
// asks again whether anything is to change at all.
func (w *writer) write(ctx context.Context, it *item) ([]manifest.Refusal, error) {
	for range maxReads {
		err := w.free(ctx, it)
		body := it.body(w.req, w.req.Stamp.annotations())
		if it.live != nil {
			body.SetUID(it.live.GetUID())
			body.SetResourceVersion(it.live.GetResourceVersion())
		}
		if err == nil {
			failpoint.Hit(failpoint.ApplyWriting)
			var written *unstructured.Unstructured
			if written, err = w.send(ctx, it, body, false); err == nil {
				failpoint.Hit(failpoint.ApplyWritten)
				it.settle(written)
				w.prove(it, written)
				forgetBare(w.cluster, it.ref.Namespace, &it.resource)
				return nil, nil
			}
		}
		if !preconditionFailed(err) {
			return w.refusal(it, "apply", err)
		}
		if refused, err := w.again(ctx, it); err != nil || len(refused) > 0 || it.action == Unchanged {
			return refused, err
		}
	}
	return nil, fmt.Errorf("cluster %q: apply %s: %w (%d tries)", w.cluster.Name(), it.ref, errBusyObject, maxReads)
}

func (w *writer) again(ctx context.Context, it *item) ([]manifest.Refusal, error) {
	before := it.live
	if refused, err := w.read(ctx, it); err != nil || len(refused) > 0 {
		return refused, err
	}
	if before != nil && it.live != nil && before.GetGeneration() != 0 && before.GetGeneration() == it.live.GetGeneration() &&
		maps.Equal(before.GetAnnotations(), it.live.GetAnnotations()) && maps.Equal(before.GetLabels(), it.live.GetLabels()) {
		return nil, nil
	}
	return w.plan(ctx, it)
}

// body is what the release wants of the object, with the owner's labels and the given stamps.
func (it *item) body(req Request, stamps map[string]string) *unstructured.Unstructured {
	body := it.desired.DeepCopy()
	labels := body.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, req.Target.Labels())
	body.SetLabels(labels)
	annotations := body.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	for _, key := range stampKeys() {
		delete(annotations, key)
	}
	maps.Copy(annotations, stamps)
	delete(annotations, AnnotationAdopted)
	if it.adopted != "" {
		annotations[AnnotationAdopted] = it.adopted
	}
	body.SetAnnotations(annotations)
	return body
}

func (it *item) settle(live metav1.Object) {
	it.ref.UID, it.ref.Generation = live.GetUID(), live.GetGeneration()
}

func (w *writer) send(ctx context.Context, it *item, body *unstructured.Unstructured, dry bool) (*unstructured.Unstructured, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	opts := metav1.PatchOptions{FieldManager: FieldManager, FieldValidation: metav1.FieldValidationStrict}
	if it.takes != nil {
		force := true
		opts.Force = &force
	}
	if dry {
		opts.DryRun = []string{metav1.DryRunAll}
	}
	return it.client.Patch(ctx, it.ref.Name, types.ApplyPatchType, data, opts)
}

// refusal separates what the API server says about the object from what it says about itself.
func (w *writer) refusal(it *item, doing string, err error) ([]manifest.Refusal, error) {
	explained := w.cluster.Explain(doing+" "+it.ref.String(), err)
	var farm *cluster.Error
	if errors.As(explained, &farm) || !answered(err) {
		return nil, explained
	}
	if found := conflicts(err); len(found) > 0 { // somebody took a field since it was planned
		refused := make([]manifest.Refusal, 0, len(found))
		for _, c := range found {
			refused = append(refused, manifest.Refusal{
				Object: it.ref.String(), Field: strings.TrimPrefix(c.path, "."),
				Reason: fmt.Sprintf("was taken by %s in the meantime; run again", c.manager),
			})
		}
		return refused, nil
	}
	return []manifest.Refusal{{Object: it.ref.String(), Reason: sentence(err)}}, nil
}

// answered reports an answer about the object: client errors but those that ask for patience.
func answered(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	code := status.Status().Code
	return code >= http.StatusBadRequest && code < http.StatusInternalServerError || strings.Contains(err.Error(), "typed patch object")
}

func stampsOf(live *unstructured.Unstructured) map[string]string {
	stamps := map[string]string{}
	if live == nil {
		return stamps
	}
	annotations := live.GetAnnotations()
	for _, key := range stampKeys() {
		if value, ok := annotations[key]; ok {
			stamps[key] = value
		}
	}
	return stamps
}

// same compares what is live with what a write would make of it. Ownership counts: a field that only the manifest gives up, or
// takes, must be written, or the next release could not remove it.
func same(live, predicted *unstructured.Unstructured) bool {
	a, b := stripped(live), stripped(predicted)
	return equality.Semantic.DeepEqual(a, b) && equality.Semantic.DeepEqual(owned(live), owned(predicted))
}

func stripped(obj *unstructured.Unstructured) map[string]any {
	out := obj.DeepCopy()
	for _, field := range []string{"managedFields", "resourceVersion", "generation"} {
		unstructured.RemoveNestedField(out.Object, "metadata", field)
	}
	unstructured.RemoveNestedField(out.Object, "status")
	return out.Object
}

func owned(obj metav1.Object) map[string]any {
	for _, entry := range obj.GetManagedFields() {
		if entry.Manager == FieldManager && entry.Operation == metav1.ManagedFieldsOperationApply && entry.FieldsV1 != nil {
			var fields map[string]any
			if json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) == nil {
				return fields
			}
		}
	}
	return nil
}
