package render

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"
	"sigs.k8s.io/kustomize/kyaml/openapi"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"

	"github.com/slipway-build/slipway/worker/runner"
)

// object is one Kubernetes object.
type object struct {
	at     string // "deploy/api/service.yaml:7", or the kustomization
	fields map[string]any
	moved  string // the namespace that it was written for, where that is not the target's
}

func (o object) kind() string { s, _ := o.fields["kind"].(string); return s }

func (o object) meta() map[string]any { m, _ := o.fields["metadata"].(map[string]any); return m }

// file is where the object comes from, without the line: it stays the same while lines above it come and go.
func (o object) file() string {
	file := regexp.MustCompile(`(:\d+)?( items\[\d+\])*$`).ReplaceAllString(o.at, "")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, file)
}

func (o object) name() string { s, _ := o.meta()["name"].(string); return s }

// plain reads the manifests in a folder, in the order of their names.
func plain(f tree, work runner.Render) (from string, objects []object, err error) {
	// Overlays of other environments lie below the path: they are not part of it.
	overlays := path.Join(path.Clean(work.Path), "overlays")
	list := func(dir string) []string {
		skip := overlays
		if dir != path.Clean(work.Path) {
			skip = "\x00"
		}
		return slices.DeleteFunc(f.below(dir, skip), func(name string) bool {
			return !slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(name)) || isKustomization(path.Base(name))
		})
	}
	from, err = source(f, work, func(dir string) bool { return len(list(dir)) > 0 })
	if err != nil {
		return path.Clean(work.Path), nil, err
	}
	var problems []error
	for _, name := range list(from) {
		found, err := documents(name, f[name])
		if err != nil {
			problems = append(problems, err)
		}
		objects = append(objects, found...)
	}
	if len(problems) > 0 {
		return from, nil, errors.Join(problems...)
	}
	for i := range objects {
		setNamespace(&objects[i], work.Namespace)
	}
	return from, objects, unique(objects)
}

// documents reads the objects of one file. Every mistake is named with its place.
func documents(name string, data []byte) (out []object, err error) {
	d := yaml.NewDecoder(bytes.NewReader(data))
	var problems []error
	for {
		var doc yaml.Node
		if err := d.Decode(&doc); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", positionOf(name, err), err))
			break
		}
		if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
			continue
		}
		at := fmt.Sprintf("%s:%d", name, doc.Content[0].Line)
		asKubernetes(&doc)
		var fields map[string]any
		if err := doc.Decode(&fields); err != nil {
			problems = append(problems, fmt.Errorf("%s: expected a Kubernetes object: %w", at, err))
			continue
		}
		found, err := expand(object{at: at, fields: fields})
		if err != nil {
			problems = append(problems, err)
		}
		out = append(out, found...)
	}
	return out, errors.Join(problems...)
}

// positionOf finds the line in a YAML error's text.
func positionOf(name string, err error) string {
	if m := regexp.MustCompile(`line (\d+)`).FindStringSubmatch(err.Error()); m != nil {
		return name + ":" + m[1]
	}
	return name
}

// expand checks an object and takes a List apart.
func expand(o object) ([]object, error) {
	apiVersion, _ := o.fields["apiVersion"].(string)
	items, isList := o.fields["items"].([]any)
	// A list of one kind, such as ConfigMapList, has no name, which an object of such a kind has.
	if o.kind() == "List" && (isList || o.fields["items"] == nil) || isList && o.name() == "" && strings.HasSuffix(o.kind(), "List") {
		var out []object
		var problems []error
		for i, item := range items {
			fields, _ := item.(map[string]any)
			found, err := expand(object{at: fmt.Sprintf("%s items[%d]", o.at, i), fields: fields})
			out, problems = append(out, found...), append(problems, err)
		}
		return out, errors.Join(problems...)
	}
	for _, must := range []struct{ field, value string }{
		{"apiVersion", apiVersion}, {"kind", o.kind()}, {"metadata.name", o.name()},
	} {
		if must.value == "" {
			return nil, fmt.Errorf("%s: %s is missing: every Kubernetes object needs apiVersion, kind and metadata.name", o.at, must.field)
		}
	}
	if isHead(apiVersion, o.kind()) {
		return nil, fmt.Errorf("%s: objects of kind %s of %s are Slipway's own and not for manifests: remove it", o.at, headKind, headVersion)
	}
	return []object{o}, nil
}

func unique(objects []object) error {
	seen := map[string]string{}
	var problems []error
	for _, o := range objects {
		ns, _ := o.meta()["namespace"].(string)
		key := fmt.Sprint(o.fields["apiVersion"], "/", o.kind(), "/", ns, "/", o.name())
		if first, ok := seen[key]; ok {
			problems = append(problems, fmt.Errorf("%s: %s %s is already defined at %s", o.at, o.kind(), o.name(), first))
			continue
		}
		seen[key] = o.at
	}
	return errors.Join(problems...)
}

// setNamespace puts a namespaced object into the target's namespace. Kinds that
// Kubernetes does not know itself count as namespaced, as most of them are.
func setNamespace(o *object, namespace string) {
	apiVersion, _ := o.fields["apiVersion"].(string)
	namespaced, known := openapi.IsNamespaceScoped(kyaml.TypeMeta{APIVersion: apiVersion, Kind: o.kind()})
	if namespace == "" || known && !namespaced {
		return
	}
	if was, _ := o.meta()["namespace"].(string); was != "" && was != namespace {
		o.moved = was
	}
	o.meta()["namespace"] = namespace
	subjects, _ := o.fields["subjects"].([]any)
	for _, s := range subjects {
		if m, ok := s.(map[string]any); ok && m["kind"] == "ServiceAccount" && m["namespace"] == nil {
			m["namespace"] = namespace
		}
	}
}

// sourceLine begins the line of a document that says which file of the repository it comes from, as in what Helm renders. The deployer's
// refusals name it.
const sourceLine = "# Source: "

// encode writes documents with sorted keys.
func encode(objects []object) ([]byte, error) {
	var b bytes.Buffer
	for i, o := range objects {
		if i > 0 {
			b.WriteString("---\n")
		}
		b.WriteString(sourceLine + o.file() + "\n")
		e := yaml.NewEncoder(&b)
		e.SetIndent(2)
		if err := e.Encode(o.fields); err != nil {
			return nil, fmt.Errorf("%s: write %s %s: %w", o.at, o.kind(), o.name(), err)
		}
		if err := e.Close(); err != nil {
			return nil, fmt.Errorf("%s: write %s %s: %w", o.at, o.kind(), o.name(), err)
		}
	}
	return b.Bytes(), nil
}
