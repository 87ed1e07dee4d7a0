package render

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/slipway-build/slipway/worker/runner"
)

// wrapper is the folder of the kustomization that surrounds the user's and sets the namespace; the repository is beside it, since a
// kustomization at its root must not be around ours.
const (
	wrapper    = ".slipway-render"
	repo       = ".slipway-repository"
	schemaFile = "schema.json"
)

func isKustomization(base string) bool {
	return slices.Contains([]string{"kustomization.yaml", "kustomization.yml", "Kustomization"}, base)
}

// kustomization is the kustomization file of a folder.
func (f tree) kustomization(dir string) (string, bool) {
	for _, base := range []string{"kustomization.yaml", "kustomization.yml", "Kustomization"} {
		if name := path.Join(dir, base); f[name] != nil {
			return name, true
		}
	}
	return "", false
}

// kustomizationOf is the folder of the kustomization that is rendered.
func kustomizationOf(f tree, work runner.Render) (string, error) {
	return source(f, work, func(dir string) bool { _, ok := f.kustomization(dir); return ok })
}

// kustomized runs kustomize on files in memory.
func kustomized(f tree, work runner.Render) (from string, objects []object, err error) {
	from, err = kustomizationOf(f, work)
	if err != nil {
		return path.Clean(work.Path), nil, err
	}
	built, origins, err := build(f, from, work.Namespace)
	if err != nil {
		return from, nil, err
	}
	for i, r := range built.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			return from, nil, fmt.Errorf("%s: %s %s: %w", from, r.GetKind(), r.GetName(), err)
		}
		found, err := kustomizedObject(cmp.Or(origins[i], from), text)
		if err != nil {
			return from, nil, err
		}
		objects = append(objects, found...)
	}
	return from, objects, nil
}

func kustomizedObject(at string, text []byte) ([]object, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	asKubernetes(&doc)
	o := object{at: at}
	if err := doc.Decode(&o.fields); err != nil {
		return nil, fmt.Errorf("%s: expected a Kubernetes object: %w", at, err)
	}
	return expand(o)
}

// build is what `kustomize build` does, with the namespace set in everything, and the files that the objects come from.
func build(f tree, from, namespace string) (built resmap.ResMap, files []string, err error) {
	c := checker{files: f, seen: map[string]bool{}}
	c.folder(from)
	if len(c.problems) > 0 {
		return nil, nil, errors.Join(c.problems...)
	}
	mem := filesys.MakeFsInMemory()
	for name, data := range f {
		if err := mem.WriteFile("/"+repo+"/"+name, data); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	outer, schema, err := f.around(from)
	if err != nil {
		return nil, nil, err
	}
	if namespace != "" {
		outer["namespace"] = namespace
	}
	if schema != nil {
		if err := mem.WriteFile("/"+wrapper+"/"+schemaFile, schema); err != nil {
			return nil, nil, fmt.Errorf("write schema: %w", err)
		}
	}
	wanted, _ := outer["buildMetadata"].([]any)
	outer["buildMetadata"] = append(slices.Clone(wanted), types.OriginAnnotations)
	data, err := yaml.Marshal(outer)
	if err != nil {
		return nil, nil, fmt.Errorf("write kustomization: %w", err)
	}
	if err := mem.WriteFile("/"+wrapper+"/kustomization.yaml", data); err != nil {
		return nil, nil, fmt.Errorf("write kustomization: %w", err)
	}
	// The default options: no plugins, no functions, no Helm, no file outside a kustomization's own folder.
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionLegacy // that of the command
	if outer["sortOptions"] != nil {
		options.Reorder = krusty.ReorderOptionUnspecified
	}
	defer schemas(outer["openapi"] != nil)()
	built, err = krusty.MakeKustomizer(options).Run(mem, "/"+wrapper)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %s", from, tidy(err))
	}
	files, err = origins(built, from, wanted)
	return built, files, err
}

// schemaLock is held by a run with a schema of its own: kustomize keeps that in a variable of its own package.
var schemaLock sync.RWMutex //nolint:gochecknoglobals // it guards one of another package

func schemas(own bool) (release func()) {
	if own {
		schemaLock.Lock()
		return schemaLock.Unlock
	}
	schemaLock.RLock()
	return schemaLock.RUnlock
}

// around is a kustomization around the one in from. What kustomize reads in the outermost one alone goes into it, and the
// schema that is meant, if there is one.
func (f tree) around(from string) (outer map[string]any, schema []byte, err error) {
	name, _ := f.kustomization(from)
	var inner map[string]any
	if err := sigsyaml.Unmarshal(f[name], &inner); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", positionOf(name, err), err)
	}
	outer = map[string]any{"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": []string{path.Join("..", repo, from)}}
	for _, key := range []string{"sortOptions", "buildMetadata", "openapi"} {
		if v, ok := inner[key]; ok {
			outer[key] = v
		}
	}
	if api, ok := inner["openapi"].(map[string]any); ok {
		if at, ok := api["path"].(string); ok {
			outer["openapi"] = map[string]any{"path": schemaFile}
			return outer, f[path.Join(from, at)], nil
		}
	}
	return outer, nil, nil
}

// tidy takes our own wrapping off kustomize's message and makes paths the repository's.
func tidy(err error) string {
	text := strings.ReplaceAll(err.Error(), repo+"/", "")
	text = strings.NewReplacer("/"+repo, "/.", repo, ".").Replace(text)
	for _, p := range []string{"accumulating resources: ", "accumulation err='accumulating resources from "} {
		text = strings.TrimPrefix(text, p)
	}
	text = strings.ReplaceAll(text, "'../", "'")
	return strings.NewReplacer(" '/", " '", " \"/", " \"", " /", " ", "='/", "='").Replace(text)
}

// checker looks at everything that kustomizations refer to before kustomize does:
// what is no file here, kustomize would take for a URL and fetch.
type checker struct {
	files    tree
	seen     map[string]bool
	problems []error
}

func (c *checker) folder(dir string) {
	name, ok := c.files.kustomization(dir)
	if !ok || c.seen[dir] {
		return
	}
	c.seen[dir] = true
	var doc yaml.Node
	if err := yaml.Unmarshal(c.files[name], &doc); err != nil {
		c.problems = append(c.problems, fmt.Errorf("%s: %w", positionOf(name, err), err))
		return
	}
	if len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		c.problems = append(c.problems, fmt.Errorf("%s:1: expected a kustomization", name))
		return
	}
	top := doc.Content[0]
	for i := 0; i+1 < len(top.Content); i += 2 {
		c.field(name, dir, top.Content[i], top.Content[i+1])
	}
}

func (c *checker) field(name, dir string, key, value *yaml.Node) {
	refuse := func(n *yaml.Node, format string, a ...any) {
		c.problems = append(c.problems, fmt.Errorf("%s:%d:%d: %s", name, n.Line, n.Column, fmt.Sprintf(format, a...)))
	}
	switch key.Value {
	case "resources", "bases", "components", "crds", "configurations", "generators", "transformers", "validators", "patchesStrategicMerge":
		for _, n := range value.Content {
			if n.Kind == yaml.ScalarNode && !strings.Contains(n.Value, "\n") {
				c.reference(refuse, dir, n, n.Value)
			}
		}
	case "patches", "patchesJson6902", "replacements":
		for _, n := range value.Content {
			if p := member(n, "path"); p != nil {
				c.reference(refuse, dir, p, p.Value)
			}
		}
	case "openapi":
		if p := member(value, "path"); p != nil {
			c.reference(refuse, dir, p, p.Value)
		}
	case "configMapGenerator", "secretGenerator":
		for _, g := range value.Content {
			c.generator(refuse, dir, g)
		}
	case "helmCharts", "helmChartInflationGenerator", "helmGlobals":
		refuse(key, "%s is not supported: kustomize would run the helm program", key.Value)
	}
}

func (c *checker) generator(refuse func(*yaml.Node, string, ...any), dir string, g *yaml.Node) {
	for _, list := range []string{"files", "envs"} {
		entries := member(g, list)
		if entries == nil {
			continue
		}
		for _, n := range entries.Content {
			value := n.Value
			if _, after, ok := strings.Cut(value, "="); ok && list == "files" {
				value = after
			}
			c.reference(refuse, dir, n, value)
		}
	}
	if env := member(g, "env"); env != nil {
		c.reference(refuse, dir, env, env.Value)
	}
}

func member(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// reference checks that ref is a file or folder here, and goes into folders.
func (c *checker) reference(refuse func(*yaml.Node, string, ...any), dir string, n *yaml.Node, ref string) {
	target := path.Join(dir, ref)
	switch {
	case strings.Contains(ref, "://") || strings.HasPrefix(ref, "git@") || strings.Contains(ref, "?ref="):
		refuse(n, "%s is remote: only what is in the repository is rendered, so that a commit always means the same; copy it into the repository", ref)
	case path.IsAbs(ref) || target == ".." || strings.HasPrefix(target, "../"):
		refuse(n, "%s lies outside the repository", ref)
	case c.files[target] != nil:
	case c.files.hasDir(target):
		if _, ok := c.files.kustomization(target); !ok {
			refuse(n, "%s is a folder without a kustomization.yaml", ref)
			return
		}
		c.folder(target)
	default:
		refuse(n, "%s does not exist (%s)", ref, target)
	}
}
