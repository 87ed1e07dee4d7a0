package scaffold

import (
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// chartEnvironments are the files of values beside a chart's own.
func (b *builder) chartEnvironments(set map[string]bool) {
	for _, chart := range b.tree.charts {
		for _, f := range b.tree.in(path.Dir(chart)) {
			name, ok := strings.CutPrefix(strings.TrimSuffix(path.Base(f), ".yaml"), "values-")
			if ok && strings.HasSuffix(f, ".yaml") {
				set[label(name, "dev")] = true
			}
		}
	}
}

// environments are the overlays of all services, and what charts have values for.
func (b *builder) environments() {
	set := map[string]bool{}
	b.chartEnvironments(set)
	for _, k := range b.tree.custom {
		at := path.Dir(k)
		if path.Base(path.Dir(at)) == "overlays" {
			name := label(path.Base(at), "dev")
			set[name] = true
			b.namespace(name, k)
		}
	}
	// The order in which changes usually travel; others in between.
	for _, name := range []string{"dev", "development", "local", "test", "qa", "integration", "staging", "stage", "preprod"} {
		if set[name] {
			b.found.Environments = append(b.found.Environments, name)
			delete(set, name)
		}
	}
	var rest, end []string
	for name := range set {
		if strings.HasPrefix(name, "prod") {
			end = append(end, name)
		} else {
			rest = append(rest, name)
		}
	}
	slices.Sort(rest)
	slices.Sort(end)
	b.found.Environments = append(append(b.found.Environments, rest...), end...)
	if len(b.found.Environments) == 0 {
		b.found.Environments = []string{"dev"}
	}
}

// namespace takes the one that an overlay names.
func (b *builder) namespace(env, kustomization string) {
	var k struct {
		Namespace string `json:"namespace"`
	}
	if yaml.Unmarshal(b.tree.read(kustomization), &k) != nil || k.Namespace == "" || label(k.Namespace, "") != k.Namespace {
		return
	}
	if b.found.Namespaces == nil {
		b.found.Namespaces = map[string]string{}
	}
	if was, ok := b.found.Namespaces[env]; ok && was != k.Namespace {
		b.note("overlays of %s name the namespaces %s and %s: a target has one, and %s was taken", env, was, k.Namespace, was)
		return
	}
	b.found.Namespaces[env] = k.Namespace
}

// namespaces are those of the environments, in their order: those that manifests name,
// unless two would share one, which targets.yaml does not allow.
func (f *Found) namespaces() []string {
	own, proposed, seen := []string{}, []string{}, map[string]bool{}
	for _, env := range f.Environments {
		namespace := f.Project
		if len(f.Environments) > 1 {
			namespace = label(f.Project+"-"+env, env)
		}
		proposed = append(proposed, namespace)
		own = append(own, orElse(f.Namespaces[env], namespace))
		seen[own[len(own)-1]] = true
	}
	if len(seen) < len(own) {
		return proposed
	}
	return own
}
