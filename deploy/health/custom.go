package health

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/slipway-build/slipway/deploy/manifest"
)

const (
	claimKind  = "PersistentVolumeClaim"
	gatewayAPI = "gateway.networking.k8s.io"
)

// custom reports a kind that is not Kubernetes' own: it may say by conditions whether it works.
func custom(ref manifest.Ref) bool {
	return strings.Contains(ref.Group, ".") && (!strings.HasSuffix(ref.Group, ".k8s.io") || ref.Group == gatewayAPI)
}

// positive are the conditions that say that an object works, in the order in which they are believed. Ready is the convention of
// Kubernetes' API; Available is that of operators, Programmed and Accepted those of Gateway API.
func positive() []string { return []string{"Ready", "Available", "Programmed", "Accepted"} }

// conditioned looks at what an object says of itself in status.conditions, and a route of Gateway API for each of its parents. One that
// says nothing, or nothing yet, works.
func conditioned(obj *unstructured.Unstructured, s *state) {
	s.desired = 1
	if seen, ok, _ := unstructured.NestedInt64(obj.Object, "status", "observedGeneration"); ok && seen < obj.GetGeneration() {
		return
	}
	sets := [][]metav1.Condition{conditionsAt(obj.Object, "status")}
	parents, _, _ := unstructured.NestedSlice(obj.Object, "status", "parents")
	for _, p := range parents {
		if parent, ok := p.(map[string]any); ok {
			sets = append(sets, conditionsAt(parent))
		}
	}
	s.done = true
	for _, set := range sets {
		s.conditions(obj, set)
	}
	if s.done {
		s.ready = 1
	}
}

func conditionsAt(in map[string]any, path ...string) []metav1.Condition {
	list, _, _ := unstructured.NestedSlice(in, append(path, "conditions")...)
	var out []metav1.Condition
	for _, item := range list {
		fields, _ := item.(map[string]any)
		text := func(key string) string { v, _ := fields[key].(string); return v }
		generation, _, _ := unstructured.NestedInt64(fields, "observedGeneration")
		out = append(out, metav1.Condition{
			Type: text("type"), Status: metav1.ConditionStatus(text("status")), Reason: text("reason"), Message: text("message"), ObservedGeneration: generation,
		})
	}
	return out
}

// conditions adds what one set of them says.
func (s *state) conditions(obj *unstructured.Unstructured, set []metav1.Condition) {
	of := func(kind string) *metav1.Condition {
		for i := range set {
			if set[i].Type == kind {
				return &set[i]
			}
		}
		return nil
	}
	if c := of("Stalled"); c != nil && c.Status == metav1.ConditionTrue { // it will not go on by itself
		s.done = false
		s.add("stalled", never, orElse(c.Reason, "Stalled"), c.Message)
		return
	}
	for _, kind := range positive() {
		c := of(kind)
		if c == nil {
			continue
		}
		if c.ObservedGeneration != 0 && c.ObservedGeneration < obj.GetGeneration() || c.Status != metav1.ConditionTrue {
			s.done = false
			s.add("waiting", never, orElse(c.Reason, "Not"+kind), orElse(c.Message, kind+" is "+string(c.Status)))
		}
		return
	}
}

// claim: one that waits for its first pod is no sign of anything; the pod tells.
func (now view) claim(c *corev1.PersistentVolumeClaim, s *state) {
	s.desired, s.done = 1, true
	event := latest(now.events, string(c.UID))
	switch {
	case c.Status.Phase == corev1.ClaimBound:
		s.ready = 1
	case c.Status.Phase == corev1.ClaimLost:
		s.done = false
		s.add("failed", 0, "Lost", "the volume that it was bound to is gone")
	case event != nil && event.Reason == "ProvisioningFailed":
		s.done = false
		s.add("unschedulable", never, event.Reason, event.Message)
	}
}
