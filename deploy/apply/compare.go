package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/manifest"
)

// maxShown bounds a value of a Field: an image with its digest fits.
const maxShown = 160

// Field is what would become of one field: JSON, cut to 160 characters. Empty: the field is not there.
type Field struct {
	Path, From, To string
	By             string    // who else than Slipway holds it, and how they write; empty: nobody does
	At             time.Time // when they wrote last; zero: it is not known
}

// ownPrefix begins the names of everything that Slipway notes on an object.
const ownPrefix = "slipway.dev/"

// hidden stands for values that are not told.
const hidden = "(not shown)"

// Compare answers what Apply and a Prune after it would do, with the fields that would change, and writes nothing. What would be
// refused is in Outcome.Refused as Apply would say it. Of a namespace that is not there yet everything would be created; what is
// in it was then not shown to the cluster. NamespaceCreated: it would be.
func Compare(ctx context.Context, c *cluster.Cluster, req Request) (Outcome, error) {
	req.Stamp.Fence = Unfenced()
	_, err := c.Typed.CoreV1().Namespaces().Get(ctx, req.Target.Namespace, metav1.GetOptions{})
	fresh := apierrors.IsNotFound(err)
	if err != nil && !fresh {
		return Outcome{}, c.Explain("read namespace "+req.Target.Namespace, err)
	}
	w := &writer{cluster: c, req: req, fresh: fresh, thorough: true}
	out, err := w.run(ctx, compare)
	out.NamespaceCreated = fresh
	if err != nil || len(out.Refused) > 0 || fresh {
		return out, err
	}
	live, err := Owned(ctx, c, req.Target)
	if err != nil {
		return out, err
	}
	for _, object := range absent(live, out.Refs()) {
		change := Change{Ref: object.Ref, Action: Deleted}
		if object.Keep() {
			change.Action, change.Reason = Kept, spared
		}
		out.Changes = append(out.Changes, change)
		if req.Changed != nil {
			req.Changed(change)
		}
	}
	return out, nil
}

// Unfenced is newer than every lease: of who writes nothing, and so does not mind who wrote last.
func Unfenced() Fence { return Fence{Epoch: math.MaxUint64, Counter: math.MaxUint64} }

// foresee is plan for a comparison.
func (w *writer) foresee(ctx context.Context, it *item) ([]manifest.Refusal, error) {
	switch {
	case manifest.IsHook(it.desired):
		it.action = CarriedOut
		if w.fresh {
			return nil, nil
		}
		return w.whose(ctx, it)
	case w.fresh && it.ref.Namespace != "":
		it.action = Created
		return nil, nil
	}
	for range maxReads {
		refused, err := w.plan(ctx, it)
		if err != nil || len(refused) > 0 || it.live == nil || it.live.GetResourceVersion() == it.predicted.GetResourceVersion() {
			return refused, err
		}
		// Somebody wrote between the reading and the prediction, which has their change in it.
	}
	return nil, fmt.Errorf("cluster %q: compare %s: %w (%d tries)", w.cluster.Name(), it.ref, errBusyObject, maxReads)
}

// reason of a change, for people.
func (it *item) reason() string {
	switch {
	case it.takes != nil:
		return it.takes.String()
	case it.action == CarriedOut:
		return it.desired.GetAnnotations()[manifest.AnnotationHook] + " the rest"
	}
	return ""
}

// differences are the fields that differ between what is live and what a write would make of it, sorted by path. What Slipway
// notes about itself is none.
func differences(live, predicted *unstructured.Unstructured) []Field {
	if live == nil || predicted == nil {
		return nil
	}
	before, after := stripped(live), stripped(predicted)
	for _, obj := range []map[string]any{before, after} {
		for _, notes := range []string{"labels", "annotations"} {
			held, _, _ := unstructured.NestedMap(obj, "metadata", notes)
			maps.DeleteFunc(held, func(key string, _ any) bool { return strings.HasPrefix(key, ownPrefix) || key == LabelManagedBy })
			unstructured.RemoveNestedField(obj, "metadata", notes)
			if len(held) > 0 {
				_ = unstructured.SetNestedMap(obj, held, "metadata", notes)
			}
		}
	}
	veil(before, live.GetKind())
	veil(after, live.GetKind())
	var out []Field
	compareValues("", before, after, &out)
	attribute(live, out)
	return out
}

// veiled is a value that is compared and not told: those of secrets, and of variables, which often are some.
type veiled struct{ value any }

// MarshalJSON tells that there is one.
func (veiled) MarshalJSON() ([]byte, error) { return json.Marshal(hidden) }

// veil hides what is not to be told of an object, wherever it is in it.
func veil(obj map[string]any, kind string) {
	for name, value := range obj {
		switch inner := value.(type) {
		case map[string]any:
			if kind == "Secret" && (name == "data" || name == "stringData") {
				for key := range inner {
					inner[key] = veiled{inner[key]}
				}
			}
			veil(inner, "")
		case []any:
			for _, member := range inner {
				fields, ok := member.(map[string]any)
				if !ok {
					continue
				}
				if text, ok := fields["value"]; ok && name == "env" {
					fields["value"] = veiled{text}
				}
				veil(fields, "")
			}
		}
		if name == kubectlApplied { // all of the object is in it
			obj[name] = veiled{value}
		}
	}
}

// compareValues adds what differs below path. absentValue stands for what is not there.
func compareValues(path string, a, b any, out *[]Field) {
	if x, ok := a.(veiled); ok {
		if y, ok := b.(veiled); ok && !equality.Semantic.DeepEqual(x.value, y.value) {
			*out = append(*out, Field{Path: path, From: hidden, To: hidden})
			return
		}
	}
	left, okLeft := a.(map[string]any)
	right, okRight := b.(map[string]any)
	if okLeft && okRight {
		names := slices.Collect(maps.Keys(left))
		for name := range right {
			if _, both := left[name]; !both {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			compareValues(below(path, name), valueAt(left, name), valueAt(right, name), out)
		}
		return
	}
	before, okBefore := a.([]any)
	after, okAfter := b.([]any)
	if okBefore && okAfter {
		compareLists(path, before, after, out)
		return
	}
	if from, to := told(a), told(b); from != to {
		*out = append(*out, Field{Path: path, From: cut(from, maxShown), To: cut(to, maxShown)})
	}
}

// compareLists compares members that have a key by their key, and others by their place.
func compareLists(path string, before, after []any, out *[]Field) {
	key := keyOf(before, after)
	if key == "" {
		for i := range max(len(before), len(after)) {
			var a, b any = absentValue{}, absentValue{}
			if i < len(before) {
				a = before[i]
			}
			if i < len(after) {
				b = after[i]
			}
			compareValues(fmt.Sprintf("%s[%d]", path, i), a, b, out)
		}
		return
	}
	find := func(list []any, id string) any {
		for _, member := range list {
			if told(member.(map[string]any)[key]) == id {
				return member
			}
		}
		return absentValue{}
	}
	var ids []string
	for _, member := range slices.Concat(before, after) {
		if id := told(member.(map[string]any)[key]); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		compareValues(fmt.Sprintf("%s[%s=%s]", path, key, id), find(before, id), find(after, id), out)
	}
}

// keyOf is the field by which members of a list are told apart; empty: there is none.
func keyOf(before, after []any) string {
	all := slices.Concat(before, after)
	for _, key := range memberKeys() {
		if distinct(before, key) && distinct(after, key) && len(all) > 0 {
			return key
		}
	}
	return ""
}

func memberKeys() []string {
	return []string{"name", "containerPort", "port", "mountPath", "key", "type", "ip"}
}

func distinct(list []any, key string) bool {
	seen := map[string]bool{}
	for _, member := range list {
		fields, ok := member.(map[string]any)
		if !ok || fields[key] == nil || seen[told(fields[key])] {
			return false
		}
		seen[told(fields[key])] = true
	}
	return true
}

// absentValue is a field that is not there, which is something else than null.
type absentValue struct{}

func valueAt(fields map[string]any, name string) any {
	if v, ok := fields[name]; ok {
		return v
	}
	return absentValue{}
}

func below(path, name string) string {
	switch {
	case strings.ContainsAny(name, "./"):
		return path + "[" + fmt.Sprintf("%q", name) + "]"
	case path == "":
		return name
	}
	return path + "." + name
}

// told is a value as JSON; empty for one that is not there.
func told(v any) string {
	if _, gone := v.(absentValue); gone {
		return ""
	}
	data, err := json.Marshal(v)
	if err != nil {
		return "unknown"
	}
	return string(data)
}

func cut(text string, to int) string {
	if all := []rune(text); len(all) > to {
		return string(all[:to]) + "…"
	}
	return text
}
