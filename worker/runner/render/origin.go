package render

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
)

// origins are the repository paths of the files that each object comes from; "" where kustomize does not say it. The annotations
// in which kustomize says it stay where wanted, a buildMetadata of the kustomization in from, asks for them, and lead from there.
func origins(built resmap.ResMap, from string, wanted []any) ([]string, error) {
	var files []string
	has := func(option string) bool { return slices.Contains(wanted, any(option)) }
	for _, r := range built.Resources() {
		o, err := r.GetOrigin()
		if err != nil {
			return nil, fmt.Errorf("%s: origin of %s %s: %w", from, r.GetKind(), r.GetName(), err)
		}
		files = append(files, fileOf(o))
		if err := relative(r, o, from, has(types.OriginAnnotations), has(types.TransformerAnnotations)); err != nil {
			return nil, fmt.Errorf("%s: origin of %s %s: %w", from, r.GetKind(), r.GetName(), err)
		}
	}
	if has(types.OriginAnnotations) {
		return files, nil
	}
	return files, built.RemoveOriginAnnotations()
}

func fileOf(o *resource.Origin) string {
	if o == nil {
		return ""
	}
	file := o.Path
	if file == "" {
		file = o.ConfiguredIn
	}
	if file == "" {
		return ""
	}
	return strings.TrimPrefix(filepath.ToSlash(filepath.Join("/"+wrapper, file)), "/"+repo+"/")
}

// relative has the annotations lead from the user's kustomization instead of ours.
func relative(r *resource.Resource, o *resource.Origin, from string, origin, transformers bool) error {
	if o != nil && origin {
		if err := r.SetOrigin(lead(o, from)); err != nil {
			return err
		}
	}
	if !transformers {
		return nil
	}
	all, err := r.GetTransformations()
	if err != nil || len(all) == 0 {
		return err
	}
	if err := r.ClearTransformations(); err != nil {
		return err
	}
	for _, t := range all {
		if err := r.AddTransformation(lead(t, from)); err != nil {
			return err
		}
	}
	return nil
}

func lead(o *resource.Origin, from string) *resource.Origin {
	c := o.Copy()
	for _, p := range []*string{&c.Path, &c.ConfiguredIn} {
		if *p == "" {
			continue
		}
		if rel, err := filepath.Rel("/"+repo+"/"+from, filepath.Join("/"+wrapper, *p)); err == nil {
			*p = filepath.ToSlash(rel)
		}
	}
	return &c
}
