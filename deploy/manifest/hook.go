package manifest

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Annotations of a hook: an object that is carried out before or after the others of its
// release are written, and is none of them.
const (
	AnnotationHook       = "slipway.dev/hook"
	AnnotationHookWeight = "slipway.dev/hook-weight"
	// AnnotationHookDigest is written by Slipway: of what the hook was when it was applied.
	AnnotationHookDigest = "slipway.dev/hook-digest"
)

// Phase says when a hook is carried out.
type Phase string

// Phases.
const (
	Before Phase = "before"
	After  Phase = "after"
)

// Hook is one object of a phase.
type Hook struct {
	Ref    Ref // without the target's namespace
	Phase  Phase
	Weight int
	Digest string // of the object as released
	// Deadline is how long a Job gives itself; 0: it does not say.
	Deadline time.Duration
}

// IsHook reports whether obj is one.
func IsHook(obj *unstructured.Unstructured) bool { return obj.GetAnnotations()[AnnotationHook] != "" }

// Hooks are those of a phase, in the order in which they are carried out: by weight, then
// by name. Mistakes are for Parse to report.
func Hooks(objs []*unstructured.Unstructured, phase Phase) []Hook {
	var out []Hook
	for _, obj := range objs {
		notes := obj.GetAnnotations()
		if notes[AnnotationHook] != string(phase) {
			continue
		}
		weight, _ := strconv.Atoi(notes[AnnotationHookWeight])
		deadline, _, _ := unstructured.NestedFieldNoCopy(obj.Object, "spec", "activeDeadlineSeconds")
		out = append(out, Hook{
			Ref: RefOf(obj), Phase: phase, Weight: weight, Digest: notes[AnnotationHookDigest], Deadline: seconds(deadline),
		})
	}
	slices.SortStableFunc(out, func(a, b Hook) int {
		return cmp.Or(cmp.Compare(a.Weight, b.Weight), cmp.Compare(a.Ref.Name, b.Ref.Name))
	})
	return out
}

// StartsPods reports kinds that a pod refers to as it starts.
func StartsPods(ref Ref) bool {
	switch ref.GroupKind() {
	case schema.GroupKind{Kind: "ConfigMap"}, schema.GroupKind{Kind: "Secret"}, schema.GroupKind{Kind: "ServiceAccount"},
		schema.GroupKind{Kind: "PersistentVolumeClaim"}, schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "Role"},
		schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}:
		return true
	default:
		return false
	}
}

// seconds reads a number as YAML gives it.
func seconds(v any) time.Duration {
	switch n := v.(type) {
	case int64:
		return time.Duration(n) * time.Second
	case float64:
		return time.Duration(n) * time.Second
	default:
		return 0
	}
}

// checkHook refuses what nobody could carry out, and writes the digest.
func checkHook(obj *unstructured.Unstructured) []Refusal {
	notes := obj.GetAnnotations()
	phase, marked := notes[AnnotationHook]
	if !marked {
		return nil
	}
	var refused []Refusal
	refuse := func(key, reason string) {
		refused = append(refused, Refusal{Object: RefOf(obj).String(), Field: "metadata.annotations." + key, Reason: reason})
	}
	if phase != string(Before) && phase != string(After) {
		refuse(AnnotationHook, fmt.Sprintf("is %q; write before or after", phase))
	}
	if weight, ok := notes[AnnotationHookWeight]; ok {
		if _, err := strconv.Atoi(weight); err != nil {
			refuse(AnnotationHookWeight, fmt.Sprintf("is %q; write a whole number", weight))
		}
	}
	delete(notes, AnnotationHookDigest)
	obj.SetAnnotations(notes)
	data, err := json.Marshal(obj.Object)
	if err != nil {
		refuse(AnnotationHook, err.Error())
	}
	notes[AnnotationHookDigest] = fmt.Sprintf("sha256:%x", sha256.Sum256(data))
	obj.SetAnnotations(notes)
	return refused
}
