package apply

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// maxValue bounds a value in a sentence.
const maxValue = 80

// heldField is a field that the release wants otherwise than its holder.
type heldField struct {
	path         string
	entry        metav1.ManagedFieldsEntry
	live, wanted string
}

// held completes the server's list of conflicts: operation and subresource from the object's own record, values from the live
// object and from what a forced write would make of it. Slipway's own labels are no news.
func held(live, predicted *unstructured.Unstructured, found []conflict) []heldField {
	if live == nil {
		return nil
	}
	out := make([]heldField, 0, len(found))
	for _, c := range found {
		if c.path == ".metadata.labels."+LabelManagedBy || c.path == ".metadata.labels" || c.path == ".metadata.annotations" {
			continue
		}
		f := heldField{path: c.path, entry: metav1.ManagedFieldsEntry{Manager: c.manager}}
		for _, entry := range live.GetManagedFields() {
			if entry.Manager != c.manager {
				continue
			}
			fieldsOf(entry).Iterate(func(p fieldpath.Path) {
				if p.String() == c.path {
					f.entry, f.live, f.wanted = entry, show(live.Object, p), show(predicted.Object, p)
				}
			})
		}
		out = append(out, f)
	}
	return out
}

// name is the path as people write it.
func (f heldField) name() string { return strings.TrimPrefix(f.path, ".") }

func (f heldField) holder() string { return holder(f.entry) }

// holder names a manager with how it writes: "helm (Apply)".
func holder(entry metav1.ManagedFieldsEntry) string {
	how := string(entry.Operation)
	if entry.Subresource != "" {
		how += ", subresource " + entry.Subresource
	}
	if how == "" {
		return entry.Manager
	}
	return entry.Manager + " (" + how + ")"
}

// automatic reports a field that Kubernetes itself sets, and would set again.
func (f heldField) automatic() bool {
	return f.entry.Subresource == scaleSubresource && strings.HasPrefix(f.entry.Manager, controllers)
}

// difference is what is live and what is wanted. Values of secrets, and of environment variables, which often are some, are not
// told: sentences end in logs.
func (f heldField) difference(kind string) string {
	switch {
	case kind == "Secret":
		return "is not what the release wants (values of secrets are not shown); held by " + f.holder()
	case strings.Contains(f.path, ".env["):
		return "is not what the release wants (values of variables are not shown); held by " + f.holder()
	case f.live == "" && f.wanted == "":
		return "is not what the release wants; held by " + f.holder()
	}
	return fmt.Sprintf("is %s, the release wants %s; held by %s", f.live, f.wanted, f.holder())
}

func show(obj any, path fieldpath.Path) string {
	at, ok := find(obj, path)
	if !ok {
		return "nothing"
	}
	return cut(told(at), maxValue)
}

// find walks an object along a path of managed fields.
func find(obj any, path fieldpath.Path) (any, bool) {
	for _, step := range path {
		var ok bool
		switch {
		case step.FieldName != nil:
			fields, _ := obj.(map[string]any)
			obj, ok = fields[*step.FieldName]
		case step.Index != nil:
			list, _ := obj.([]any)
			if ok = *step.Index >= 0 && *step.Index < len(list); ok {
				obj = list[*step.Index]
			}
		default:
			list, _ := obj.([]any)
			i := slices.IndexFunc(list, func(item any) bool { return is(item, step) })
			if ok = i >= 0; ok {
				obj = list[i]
			}
		}
		if !ok {
			return nil, false
		}
	}
	return obj, true
}
