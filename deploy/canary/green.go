package canary

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/health"
	"github.com/slipway-build/slipway/deploy/manifest"
	"github.com/slipway-build/slipway/deploy/rolling"
)

// templateLabels are the labels of a Deployment's pods.
func templateLabels(deployment *unstructured.Unstructured) map[string]string {
	out, _, _ := unstructured.NestedStringMap(deployment.Object, "spec", "template", "metadata", "labels")
	return out
}

// selects reports a Service that sends requests to pods with these labels.
func selects(s *corev1.Service, pods map[string]string) bool {
	return len(s.Spec.Selector) > 0 && labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(pods))
}

// reached are the names of the Deployments that a Service of the release sends requests to. Another one takes its work
// elsewhere, and would as soon as it stood beside.
func reached(objs []*unstructured.Unstructured) map[string]bool {
	out := map[string]bool{}
	services := servicesOf(objs)
	for _, obj := range objs {
		if IsDeployment(obj) && slices.ContainsFunc(services, func(s *corev1.Service) bool { return selects(s, templateLabels(obj)) }) {
			out[obj.GetName()] = true
		}
	}
	return out
}

// apart are the labels whose values must differ so that none of the Services selects the pods of these Deployments.
func apart(deployments []*unstructured.Unstructured, services []*corev1.Service) map[string]bool {
	out := map[string]bool{}
	sorted := slices.SortedFunc(slices.Values(services), func(a, b *corev1.Service) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	for _, s := range sorted {
		keys := slices.Sorted(maps.Keys(s.Spec.Selector))
		hit := slices.ContainsFunc(deployments, func(d *unstructured.Unstructured) bool { return selects(s, templateLabels(d)) })
		if hit && !slices.ContainsFunc(keys, func(key string) bool { return out[key] }) {
			out[keys[0]] = true
		}
	}
	return out
}

// renamed gives the pods of a copy other values of some labels.
func (d *deriving) renamed(c *unstructured.Unstructured, keys map[string]bool) {
	have := templateLabels(c)
	own, _, _ := unstructured.NestedStringMap(c.Object, "spec", "selector", "matchLabels")
	expressions, _, _ := unstructured.NestedSlice(c.Object, "spec", "selector", "matchExpressions")
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		value, ok := have[key]
		if !ok {
			continue
		}
		d.set(c, Name(value, validation.LabelValueMaxLength), "spec", "template", "metadata", "labels", key)
		if _, ok := own[key]; ok {
			d.set(c, Name(value, validation.LabelValueMaxLength), "spec", "selector", "matchLabels", key)
		}
		for _, e := range fieldsOf(expressions) {
			if e["key"] == key {
				d.refuse(c, "spec.selector.matchExpressions", fmt.Sprintf("is about the label %s, which candidates have another value of with blue-green; "+
					"write it in matchLabels", key))
			}
		}
	}
}

// toward gives the selectors of the Services that select one of the originals the labels of its copy. Others are left out.
func toward(services []*unstructured.Unstructured, originals map[string]map[string]string, copies map[string]*appsv1.Deployment) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for _, obj := range services {
		typed := servicesOf([]*unstructured.Unstructured{obj})
		for _, name := range slices.Sorted(maps.Keys(copies)) {
			if len(typed) == 0 || !selects(typed[0], originals[name]) {
				continue
			}
			have := copies[name].Spec.Template.Labels
			selector := map[string]any{LabelTrack: Track}
			for key := range typed[0].Spec.Selector {
				selector[key] = have[key]
			}
			switched := marked(obj)
			if unstructured.SetNestedMap(switched.Object, selector, "spec", "selector") == nil {
				out = append(out, switched)
			}
			break
		}
	}
	return out
}

// marked is a copy of a Service with a mark that it is not as the release has it.
func marked(service *unstructured.Unstructured) *unstructured.Unstructured {
	out := service.DeepCopy()
	annotations := out.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[Annotation] = Track
	out.SetAnnotations(annotations)
	return out
}

// services are all of the namespace and of the release: whatever of them selects the candidate's pods sends them requests. Who
// may not read them goes by those of the release.
func (s *shift) services(ctx context.Context, objs []*unstructured.Unstructured) ([]*corev1.Service, error) {
	out := servicesOf(objs)
	list, err := s.cluster.Typed.CoreV1().Services(s.Namespace).List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) {
		return out, nil
	}
	if err != nil {
		return nil, s.cluster.Explain("list the Services", err)
	}
	for i := range list.Items {
		out = append(out, &list.Items[i])
	}
	return out, nil
}

// free refuses a release while Services send requests to the candidate of another one: its pods would be replaced as they serve.
func (s *shift) free(ctx context.Context, objs []*unstructured.Unstructured) error {
	var refused []manifest.Refusal
	for _, obj := range objs {
		if !isService(obj) {
			continue
		}
		live, err := s.live(ctx, obj)
		if err != nil {
			return err
		}
		if live == nil || !switched(live) || live.GetAnnotations()[apply.AnnotationRelease] == s.req.Stamp.Release {
			continue
		}
		refused = append(refused, manifest.Refusal{Object: manifest.RefOf(obj).String(), Field: "spec.selector." + LabelTrack, Reason: fmt.Sprintf(
			"sends requests to the candidate of release %s, which was neither finished nor taken back; release the service once with "+
				"strategy: rolling, which finishes it", live.GetAnnotations()[apply.AnnotationRelease])})
	}
	s.refuse(refused)
	return nil
}

func isService(obj *unstructured.Unstructured) bool {
	return obj.GroupVersionKind().Group == "" && obj.GetKind() == kindService && !manifest.IsHook(obj)
}

// switched reports a live Service that sends requests to a candidate.
func switched(service *unstructured.Unstructured) bool {
	selector, _, _ := unstructured.NestedStringMap(service.Object, "spec", "selector")
	return selector[LabelTrack] != ""
}

// turn sends the requests of the release's Services to the candidate, whose pods must be ready.
func (s *shift) turn(ctx context.Context, objs []*unstructured.Unstructured) error {
	found, err := s.candidates(ctx, objs, s.req.Stamp.Release, s.req.Stamp.Fence)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		s.nothing(objs)
		return nil
	}
	if err := s.healthy(ctx, refsOf(found)); err != nil || s.result.Verdict != "" {
		return err
	}
	originals := map[string]map[string]string{}
	var services []*unstructured.Unstructured
	for _, obj := range objs {
		switch {
		case IsDeployment(obj):
			originals[obj.GetName()] = templateLabels(obj)
		case isService(obj):
			services = append(services, obj)
		}
	}
	if err := s.write(ctx, toward(services, originals, found)); err != nil || s.result.Verdict != "" {
		return err
	}
	return s.verify(ctx, objs, found)
}

// Finish is rolling.Deploy of a release whose candidate may have been switched to: the Services go on sending requests to it until
// what they select otherwise is the release, and healthy.
func Finish(ctx context.Context, c *cluster.Cluster, req apply.Request, check rolling.Check, set rolling.Settings, to rolling.Listener) (rolling.Result, error) {
	s := &shift{target: target{cluster: c, Target: req.Target}}
	req.Since = time.Now()
	objs, mistakes := manifest.Parse(req.Manifests)
	if len(mistakes) == 0 { // else Deploy reports them
		req.Objects = objs
	}
	selectors := map[string]map[string]string{}
	if slices.ContainsFunc(objs, isService) {
		var err error
		if selectors, err = s.switchedServices(ctx, req.Since); err != nil {
			return rolling.Result{}, err
		}
	}
	before := make([]*unstructured.Unstructured, 0, len(objs))
	turned := false
	for _, obj := range objs {
		before = append(before, obj)
		selector := selectors[obj.GetName()]
		if !isService(obj) || selector == nil {
			continue
		}
		kept := marked(obj)
		if err := unstructured.SetNestedStringMap(kept.Object, selector, "spec", "selector"); err != nil {
			continue // Deploy says what is wrong with it
		}
		before[len(before)-1], turned = kept, true
	}
	if !turned {
		return rolling.Deploy(ctx, c, req, check, set, to)
	}
	text, err := encode(before)
	if err != nil {
		return rolling.Result{}, err
	}
	return rolling.DeployBehind(ctx, c, text, req, check, set, to)
}

// switchedServices are the selectors of the target's Services that send requests to a candidate, by name.
func (t *target) switchedServices(ctx context.Context, since time.Time) (map[string]map[string]string, error) {
	metas, err := apply.Standing(ctx, t.cluster, t.Target, corev1.SchemeGroupVersion.WithResource("services"), since)
	if err != nil {
		return nil, err
	}
	out := map[string]map[string]string{}
	for i := range metas {
		if metas[i].Annotations[Annotation] == "" {
			continue
		}
		live, err := t.cluster.Typed.CoreV1().Services(t.Namespace).Get(ctx, metas[i].Name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, t.cluster.Explain("read Service/"+metas[i].Name, err)
		}
		if err == nil && live.Spec.Selector[LabelTrack] != "" {
			out[live.Name] = live.Spec.Selector
		}
	}
	return out, nil
}

func refsOf(copies map[string]*appsv1.Deployment) []manifest.Ref {
	refs := make([]manifest.Ref, 0, len(copies))
	for _, name := range slices.Sorted(maps.Keys(copies)) {
		d := copies[name]
		ref := refOf(d.Name)
		ref.Namespace, ref.UID, ref.Generation = d.Namespace, d.UID, d.Generation
		refs = append(refs, ref)
	}
	return refs
}

// healthy waits for objects; Result.Verdict stays empty when they are.
func (s *shift) healthy(ctx context.Context, refs []manifest.Ref) error {
	if err := s.do("healthy", func() (err error) {
		s.result.Health, err = health.Wait(ctx, s.cluster, s.watched(refs, s.set.Timeout))
		return err
	}); err != nil {
		return err
	}
	if !s.result.Health.Healthy {
		s.result.Verdict = rolling.Unhealthy
	}
	return nil
}
