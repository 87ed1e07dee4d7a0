package canary

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/flag"
	"github.com/slipway-build/slipway/deploy/manifest"
	"github.com/slipway-build/slipway/deploy/rolling"
)

// AnnotationFlag is on a ConfigMap in which a flag is on its way: its name, "=", and the variant from which it comes.
const AnnotationFlag = "slipway.dev/flag"

// flagged is a flag file of the release.
type flagged struct {
	at         int    // index of the ConfigMap in the release
	key        string // of its data
	live, next flag.File
	before     string // variant for all until now
	then       string // variant for all in the end
	share      int    // percent that have then already
}

// onTheWay are the flag files of a ConfigMap of the release in which the flag has another variant than it has live. With why
// nothing is to be moved.
func (t *target) onTheWay(ctx context.Context, objs []*unstructured.Unstructured) (files []flagged, why string, err error) {
	name := t.part.Flag
	why = fmt.Sprintf("no ConfigMap of the release has a flag file with %s: it comes as a whole with the last step", name)
	var refused []manifest.Refusal
	for i, obj := range objs {
		if obj.GroupVersionKind().Group != "" || obj.GetKind() != kindConfigMap || manifest.IsHook(obj) {
			continue
		}
		data, _, _ := unstructured.NestedStringMap(obj.Object, "data")
		for _, key := range slices.Sorted(maps.Keys(data)) {
			next, err := flag.Parse([]byte(data[key]))
			if err != nil || !next.Has(name) {
				continue
			}
			f := flagged{at: i, key: key, next: next}
			live, err := t.live(ctx, obj)
			if err != nil {
				return nil, "", err
			}
			switch err := f.origin(name, live); {
			case err != nil:
				refused = append(refused, manifest.Refusal{Object: manifest.RefOf(obj).String(), Field: "data." + key, Reason: err.Error()})
			case f.before == "":
				why = fmt.Sprintf("flag %s is not live here yet, so that nobody knows from which variant it comes: the release comes as a whole with the last step", name)
			case f.before == f.then:
				why = fmt.Sprintf("flag %s gives %s to all already: the release comes as a whole with the last step", name, f.then)
			default:
				files = append(files, f)
			}
		}
	}
	t.refuse(refused)
	return files, why, nil
}

// origin finds from which variant to which one the flag is moved; before is empty where it is not live.
func (f *flagged) origin(name string, live *unstructured.Unstructured) (err error) {
	if f.then, err = f.next.Variant(name); err != nil {
		return err
	}
	if live != nil {
		data, _, _ := unstructured.NestedStringMap(live.Object, "data")
		f.live, _ = flag.Parse([]byte(data[f.key])) // what is no flag file has no flag
		if of, before, _ := strings.Cut(live.GetAnnotations()[AnnotationFlag], "="); of == name {
			f.before, f.share = before, f.live.Share(name, f.then)
			return nil
		}
	}
	if f.live.Has(name) {
		if f.before, err = f.live.Variant(name); err != nil {
			return fmt.Errorf("as it is live: %w", err)
		}
		return nil
	}
	return nil
}

// blended is the release with the flag files at a percentage.
func blended(objs []*unstructured.Unstructured, files []flagged, name string, percent func(flagged) int) ([]byte, []manifest.Refusal, error) {
	out := slices.Clone(objs)
	for _, f := range files {
		data, err := flag.Blend(f.live, f.next, name, f.before, percent(f))
		obj := out[f.at].DeepCopy()
		if err == nil {
			err = unstructured.SetNestedField(obj.Object, string(data), "data", f.key)
		}
		if err != nil {
			return nil, []manifest.Refusal{{Object: manifest.RefOf(obj).String(), Field: "data." + f.key, Reason: err.Error()}}, nil //nolint:nilerr // a refusal is data
		}
		annotations := obj.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[AnnotationFlag] = name + "=" + f.before
		obj.SetAnnotations(annotations)
		unstructured.RemoveNestedField(obj.Object, "immutable")
		out[f.at] = obj
	}
	text, err := encode(out)
	return text, nil, err
}

// move brings the release with the flag as it was, and then gives the variant that it brings its part.
func (s *shift) move(ctx context.Context, objs []*unstructured.Unstructured) error {
	files, why, err := s.onTheWay(ctx, objs)
	if err != nil || s.result.Verdict != "" {
		return err
	}
	if len(files) == 0 {
		s.result.Verdict, s.result.Note = rolling.Healthy, why
		return nil
	}
	before, refused, err := blended(objs, files, s.part.Flag, func(f flagged) int { return f.share })
	if err != nil || s.refuse(refused) {
		return err
	}
	req := s.req
	if req.Manifests, refused, err = blended(objs, files, s.part.Flag, func(flagged) int { return s.part.Weight }); err != nil || s.refuse(refused) {
		return err
	}
	s.result, err = rolling.Begin(ctx, s.cluster, before, req, s.check, s.set, s.to)
	return err
}

// moving are the Deployments of a release whose flag is on its way, by name; none, and why, when it is not.
func (a *analysis) moving(ctx context.Context, objs []*unstructured.Unstructured) (map[string]*appsv1.Deployment, string, error) {
	files, why, err := a.onTheWay(ctx, objs)
	if err != nil || len(files) == 0 {
		return nil, why, err
	}
	for _, f := range files {
		live, err := a.live(ctx, objs[f.at])
		if err != nil {
			return nil, "", err
		}
		if of := live.GetAnnotations()[apply.AnnotationRelease]; of != a.req.Release {
			return nil, "", fmt.Errorf("%s is of release %q and not of release %s: %w", manifest.RefOf(objs[f.at]), of, a.req.Release, apply.ErrSuperseded)
		}
		if err := apply.CheckFence(live, manifest.RefOf(objs[f.at]), a.req.Fence); err != nil {
			return nil, "", err
		}
	}
	out := map[string]*appsv1.Deployment{}
	for _, obj := range objs {
		if !IsDeployment(obj) {
			continue
		}
		live, err := a.deployment(ctx, obj.GetName())
		if err != nil {
			return nil, "", err
		}
		if live != nil && a.Owns(live) {
			out[live.Name] = live
		}
	}
	return out, "", nil
}
