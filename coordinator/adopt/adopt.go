// Package adopt writes what is live in a cluster into the manifests that it came from, where that can be done without guessing: where
// one file of the repository has the object, and at the field the value that was released. What else sets a value, such as a chart,
// a generator or a transformer of a kustomization, is left to people, with the reason.
package adopt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/slipway-build/slipway/coordinator/plan"
)

// Object is one that is not as it was released.
type Object struct {
	Service, Cluster string
	Change           plan.ObjectChange // From is live, To was released
	Render           plan.Render       // where its manifests are
}

// Left is what is not written. An empty Field: all of the object.
type Left struct {
	Service, Cluster, Object, Field string
	Why                             string
}

func (l Left) String() string {
	at := l.Object
	if l.Field != "" {
		at += " " + l.Field
	}
	return fmt.Sprintf("%s: %s of %s in %s", at, l.Why, l.Service, l.Cluster)
}

// Result is what became of objects.
type Result struct {
	Files map[string][]byte // that changed, whole
	Done  []string          // "cart in prod-eu: ConfigMap/cart data.greeting: "hello" → "by hand""
	Left  []Left
}

// Into writes objects into files, by their path in the repository. A field that differs between clusters is written once, as it is
// in the first of them; the others are left.
func Into(files map[string][]byte, objects []Object) Result {
	w := &writer{files: maps.Clone(files), changed: map[string]bool{}, written: map[string]string{}}
	for _, o := range objects {
		if o.Change.Drifted() {
			w.object(o)
		}
	}
	out := Result{Files: map[string][]byte{}, Done: w.done, Left: w.left}
	for name := range w.changed {
		out.Files[name] = w.files[name]
	}
	return out
}

type writer struct {
	files   map[string][]byte
	changed map[string]bool
	written map[string]string // service, object and field → live value
	done    []string
	left    []Left
}

func (w *writer) leave(o Object, field, why string) {
	w.left = append(w.left, Left{o.Service, o.Cluster, o.Change.Object, field, why})
}

func (w *writer) object(o Object) {
	switch {
	case o.Change.Action == "created":
		w.leave(o, "", "it is gone in the cluster: delete it from the manifests if that is meant;")
		return
	case o.Change.Action == "deleted":
		w.leave(o, "", "the release does not have it: add it to the manifests if it is meant to stay;")
		return
	case o.Render.Using == "helm":
		w.leave(o, "", "a chart makes it, which may compute any value: change the chart's values or templates;")
		return
	case len(o.Change.Fields) == 0:
		w.leave(o, "", "no field of it differs, only who holds them;")
		return
	}
	for _, f := range o.Change.Fields {
		w.field(o, f)
	}
	if o.Change.More > 0 {
		w.leave(o, "", fmt.Sprintf("%d more fields differ than are kept of a comparison;", o.Change.More))
	}
}

func (w *writer) field(o Object, f plan.FieldChange) {
	key := o.Service + "\n" + o.Change.Object + "\n" + f.Path
	if live, ok := w.written[key]; ok {
		if live != f.From {
			w.leave(o, f.Path, "it is "+shown(f.From)+" here, and "+shown(live)+" in a cluster before;")
		}
		return
	}
	live, errLive := parsed(f.From)
	released, errReleased := parsed(f.To)
	if errLive != nil || errReleased != nil {
		w.leave(o, f.Path, "its values are too long to be kept, or not shown;")
		return
	}
	steps, err := parsePath(f.Path)
	if err != nil {
		w.leave(o, f.Path, err.Error()+";")
		return
	}
	kind, name, _ := strings.Cut(o.Change.Object, "/")
	why := "no file below " + strings.Join(o.Render.Paths, ", ") + " has the object: something generates it;"
	for _, file := range w.candidates(o.Render) {
		data, reason := edit(w.files[file], target{kind: kind, name: name, path: steps}, released, live)
		switch {
		case reason == notHere:
			continue
		case reason != "":
			why = "in " + file + " " + reason + ";"
			continue
		}
		w.files[file], w.changed[file], w.written[key] = data, true, f.From
		w.done = append(w.done, fmt.Sprintf("%s in %s: %s %s: %s → %s (%s)", o.Service, o.Cluster, o.Change.Object, f.Path, shown(f.To), shown(f.From), file))
		return
	}
	w.leave(o, f.Path, why)
}

// candidates are the files that may have objects of a service: its overlay first, since that has the last word.
func (w *writer) candidates(r plan.Render) []string {
	var first, then []string
	for _, name := range slices.Sorted(maps.Keys(w.files)) {
		switch {
		case IsManifest(name) && below(name, r.Path):
			first = append(first, name)
		case IsManifest(name) && slices.ContainsFunc(r.Paths, func(dir string) bool { return below(name, dir) }):
			then = append(then, name)
		}
	}
	return append(first, then...)
}

func below(name, dir string) bool {
	return dir == "." || name == dir || strings.HasPrefix(name, dir+"/")
}

// IsManifest reports that a file may have objects in it.
func IsManifest(name string) bool {
	base := path.Base(name)
	return (path.Ext(base) == ".yaml" || path.Ext(base) == ".yml") && !strings.HasPrefix(base, "kustomization.")
}

// absent is a field that is not there.
type absent struct{}

// parsed is a value of a comparison.
func parsed(text string) (any, error) {
	if text == "" {
		return absent{}, nil
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	if err == nil && strings.Contains(text, `"(not shown)"`) || err == nil && d.More() {
		err = errHidden
	}
	return v, err
}

func shown(text string) string {
	if text == "" {
		return "nothing"
	}
	return text
}

// same compares a value of a file with one of a comparison, by what it is in JSON.
func same(n *yaml.Node, v any) bool {
	if n == nil {
		_, gone := v.(absent)
		return gone
	}
	if _, gone := v.(absent); gone {
		return false
	}
	var have any
	if n.Decode(&have) != nil {
		return false
	}
	a, errA := json.Marshal(have)
	b, errB := json.Marshal(v)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}
