package apply

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// attribute says of fields who else than Slipway holds them, and when that was written last: by their own path, and where lists are
// told apart by other keys than the cluster's, by the path without members.
func attribute(live *unstructured.Unstructured, fields []Field) {
	for _, entry := range live.GetManagedFields() {
		if entry.Manager == FieldManager && entry.Operation == metav1.ManagedFieldsOperationApply || entry.Subresource == "status" {
			continue
		}
		var exact, loose []string
		fieldsOf(entry).Leaves().Iterate(func(p fieldpath.Path) {
			text := shown(p)
			exact, loose = append(exact, text), append(loose, memberless(text))
		})
		for i := range fields {
			f := &fields[i]
			if !slices.ContainsFunc(exact, func(at string) bool { return within(at, f.Path) }) &&
				!slices.ContainsFunc(loose, func(at string) bool { return strings.Contains(f.Path, "[") && within(at, memberless(f.Path)) }) {
				continue
			}
			switch who := holder(entry); {
			case f.By == "":
				f.By = who
			case !strings.Contains(f.By, who):
				f.By += ", " + who
			}
			if entry.Time != nil && entry.Time.After(f.At) {
				f.At = entry.Time.UTC()
			}
		}
	}
}

// within: one of two paths is the other, or is in it.
func within(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	return a == b || strings.HasPrefix(b, a) && (b[len(a)] == '.' || b[len(a)] == '[')
}

var members = regexp.MustCompile(`\[[^"\]]*("[^"]*")?[^\]]*\]`)

// memberless is a path without the members of lists; names of fields that need quotes stay.
func memberless(path string) string {
	return members.ReplaceAllStringFunc(path, func(m string) string {
		if strings.HasPrefix(m, `["`) {
			return m
		}
		return ""
	})
}

// shown is a path of managed fields as a Field has it.
func shown(p fieldpath.Path) string {
	out := ""
	for _, step := range p {
		switch {
		case step.FieldName != nil:
			out = below(out, *step.FieldName)
		case step.Index != nil:
			out = fmt.Sprintf("%s[%d]", out, *step.Index)
		case step.Key != nil:
			if k := keyField(*step.Key); k != nil {
				out = fmt.Sprintf("%s[%s=%s]", out, k.Name, told(k.Value.Unstructured()))
			}
		case step.Value != nil:
			return out // a set: compared by place
		}
	}
	return out
}

// keyField is the field of a member's key by which it is shown.
func keyField(key value.FieldList) *value.Field {
	for _, name := range memberKeys() {
		for i := range key {
			if key[i].Name == name {
				return &key[i]
			}
		}
	}
	if len(key) > 0 {
		return &key[0]
	}
	return nil
}

// spare leaves fields that the cluster itself sets, as an autoscaler does, to it. False: the release does not have them.
func (it *item) spare(fields []heldField) bool {
	desired, did := it.desired.DeepCopy(), false
	for _, f := range fields {
		fieldsOf(f.entry).Iterate(func(p fieldpath.Path) {
			if _, ok := find(desired.Object, p); ok && p.String() == f.path {
				without(desired.Object, p.Copy())
				did = true
			}
		})
	}
	it.desired = desired
	return did
}
