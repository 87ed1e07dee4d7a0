package apply

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/slipway-build/slipway/deploy/manifest"
)

// rehearse asks the cluster for what a takeover leads to in the end. The dry run of the apply cannot tell: what goes, goes only
// once its holders' fields are Slipway's, and what goes may be what cannot be changed, as a part of a selector.
func (w *writer) rehearse(ctx context.Context, it *item, predicted *unstructured.Unstructured) ([]manifest.Refusal, error) {
	end := predicted.DeepCopy()
	for _, path := range gone(it.live, predicted, it.takes.entries) {
		without(end.Object, path)
	}
	end.SetManagedFields(nil)
	end.SetUID(it.live.GetUID())
	end.SetResourceVersion(it.live.GetResourceVersion())
	it.predicted = end
	_, err := it.client.Update(ctx, end, metav1.UpdateOptions{FieldManager: FieldManager, DryRun: []string{metav1.DryRunAll}})
	if err == nil || preconditionFailed(err) { // it moved: the write will see it
		return nil, nil
	}
	return w.refusal(it, "validate", err)
}

// gone are the fields that nobody holds any more once Slipway has the given entries and applied the release.
func gone(live, predicted *unstructured.Unstructured, taken []int) []fieldpath.Path {
	stays, theirs := appliedBy(predicted), &fieldpath.Set{}
	for i, entry := range live.GetManagedFields() {
		switch {
		case slices.Contains(taken, i):
			theirs = theirs.Union(fieldsOf(entry))
		case entry.Manager != FieldManager || entry.Operation != metav1.ManagedFieldsOperationApply:
			stays = stays.Union(fieldsOf(entry))
		}
	}
	held := map[string]bool{} // fields and everything that they are in
	stays.Iterate(func(p fieldpath.Path) {
		for i := range p {
			held[p[:i+1].String()] = true
		}
	})
	var out []fieldpath.Path
	theirs.Iterate(func(p fieldpath.Path) {
		if !held[p.String()] {
			out = append(out, p.Copy())
		}
	})
	return out
}

// without takes what is at path out of obj and returns obj, which is another one only for lists.
func without(obj any, path fieldpath.Path) any {
	switch in := obj.(type) {
	case map[string]any:
		name := path[0].FieldName
		if name == nil {
			return obj
		}
		if len(path) == 1 {
			delete(in, *name)
		} else if inner, ok := in[*name]; ok {
			in[*name] = without(inner, path[1:])
		}
	case []any:
		i := slices.IndexFunc(in, func(item any) bool { return is(item, path[0]) })
		switch {
		case i < 0:
		case len(path) == 1:
			return slices.Delete(in, i, i+1)
		default:
			in[i] = without(in[i], path[1:])
		}
	}
	return obj
}

// is reports whether item is the member of a list that step names: by its key, or by itself.
func is(item any, step fieldpath.PathElement) bool {
	if step.Value != nil {
		return value.Equals(value.NewValueInterface(item), *step.Value)
	}
	fields, ok := item.(map[string]any)
	if !ok || step.Key == nil {
		return false
	}
	for _, k := range *step.Key {
		if fields[k.Name] == nil || !value.Equals(value.NewValueInterface(fields[k.Name]), k.Value) {
			return false
		}
	}
	return true
}
