package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/slipway-build/slipway/deploy/manifest"
)

// flagAdopt is what people are told to add.
const flagAdopt = "slipway run --adopt"

// maxFields bounds how many fields of one object are listed: who sees thirty knows that it is another object.
const maxFields = 30

// takeover is what a write takes from others.
type takeover struct {
	from    *owner // nil: the object is Slipway's, only fields are not
	holders []string
	entries []int // of the live object's managedFields that are given up
}

func (t *takeover) String() string {
	if t.from == nil {
		return "fields of " + strings.Join(t.holders, ", ")
	}
	text := "from " + t.from.who
	if len(t.holders) > 0 {
		text += ", with fields of " + strings.Join(t.holders, ", ")
	}
	if t.from.letGo != "" {
		text += ". " + t.from.letGo
	}
	return text
}

// whose asks of a hook only whether it is Slipway's to carry out: hooks are not adopted.
func (w *writer) whose(ctx context.Context, it *item) ([]manifest.Refusal, error) {
	refused, err := w.read(ctx, it)
	if err != nil || len(refused) > 0 || it.foreign == nil {
		return refused, err
	}
	return []manifest.Refusal{{Object: it.ref.String(), Reason: it.strange() + "; it is carried out anew, and so cannot be taken over: give it another name"}}, nil
}

func (it *item) strange() string {
	return fmt.Sprintf("exists in namespace %s already and belongs to %s, not to Slipway", it.ref.Namespace, it.foreign.who)
}

// occupied decides an object that somebody else made, or that has fields which somebody else holds: it is refused with all of
// them, or the write will take it over.
func (w *writer) occupied(ctx context.Context, it *item, found []conflict) ([]manifest.Refusal, error) {
	if it.foreign != nil && w.req.Hook != "" {
		return w.whose(ctx, it)
	}
	takes := &takeover{from: it.foreign}
	it.takes = takes
	predicted, err := w.send(ctx, it, it.body(w.req, w.req.Stamp.annotations()), true)
	if err != nil {
		refused, err := w.refusal(it, "validate", err)
		if it.foreign != nil && err == nil {
			refused = append([]manifest.Refusal{w.adoptable(it)}, refused...)
		}
		return refused, err
	}
	fields := held(it.live, predicted, found)
	scaled := slices.DeleteFunc(slices.Clone(fields), func(f heldField) bool { return !f.automatic() })
	switch {
	case !w.req.Adopt:
		return w.refuse(it, fields), nil
	case len(scaled) > 0 && it.foreign == nil && it.spare(scaled): // it is Slipway's, but for what the cluster sets
		return w.plan(ctx, it)
	case len(scaled) > 0:
		return refuseAutomatic(it, scaled), nil
	}
	takes.entries = shared(it.live, predicted)
	names := map[string]bool{}
	for _, f := range fields {
		names[f.holder()] = true
	}
	for _, i := range takes.entries {
		names[holder(it.live.GetManagedFields()[i])] = true
	}
	takes.holders = slices.Sorted(maps.Keys(names))
	it.action = Adopted
	return w.rehearse(ctx, it, predicted)
}

// adoptable is the refusal of an object that --adopt would take over.
func (w *writer) adoptable(it *item) manifest.Refusal {
	reason := it.strange() + "; " + flagAdopt + " takes it over, or give the release's object another name"
	if it.foreign.letGo != "" {
		reason += ". " + it.foreign.letGo
	}
	return manifest.Refusal{Object: it.ref.String(), Reason: reason}
}

func (w *writer) refuse(it *item, fields []heldField) []manifest.Refusal {
	var refused []manifest.Refusal
	advice := "; " + flagAdopt + " takes it, or remove it from the manifest"
	if it.foreign != nil {
		refused, advice = append(refused, w.adoptable(it)), ""
	}
	for i, f := range fields {
		if i == maxFields {
			refused = append(refused, manifest.Refusal{Object: it.ref.String(), Reason: fmt.Sprintf("and %d more fields", len(fields)-i)})
			break
		}
		text := advice
		if f.automatic() {
			text = automatically
		}
		refused = append(refused, manifest.Refusal{Object: it.ref.String(), Field: f.name(), Reason: f.difference(it.ref.Kind) + text})
	}
	return refused
}

const automatically = "; it is set as the cluster runs, by an autoscaler for one: remove it from the manifest"

func refuseAutomatic(it *item, fields []heldField) []manifest.Refusal {
	refused := make([]manifest.Refusal, 0, len(fields))
	for _, f := range fields {
		refused = append(refused, manifest.Refusal{Object: it.ref.String(), Field: f.name(), Reason: f.difference(it.ref.Kind) + automatically})
	}
	return refused
}

// free gives Slipway every field that those had from whom the object is taken, in the version that was read: the apply that
// follows then takes away what the release does not have, and no release later meets them again. Repeating it changes nothing.
func (w *writer) free(ctx context.Context, it *item) error {
	if it.takes == nil || it.live == nil || len(it.takes.entries) == 0 {
		return nil
	}
	entries, err := merged(it.live.GetManagedFields(), it.takes.entries, it.desired.GetAPIVersion())
	if err != nil {
		return fmt.Errorf("fields of %s: %w", it.ref, err)
	}
	patch, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/managedFields", "value": entries},
		// Replaced with what it was: a version that is gone is then a conflict.
		{"op": "replace", "path": "/metadata/resourceVersion", "value": it.live.GetResourceVersion()},
	})
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	freed, err := it.client.Patch(ctx, it.ref.Name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
	if err != nil {
		return err
	}
	it.live, it.takes.entries = freed, nil
	return nil
}

// merged moves the fields of the given entries into Slipway's own. Those of the release's API version come first, since only
// fields of one version can be united.
func merged(entries []metav1.ManagedFieldsEntry, taken []int, version string) ([]metav1.ManagedFieldsEntry, error) {
	obj := &unstructured.Unstructured{Object: map[string]any{}}
	all := slices.Clone(entries)
	var names []string
	for _, i := range taken {
		// Each under a name of its own, and as if it were an update: whoever applied on the server's side is taken over alike.
		name := fmt.Sprintf("%s-takes-%d", FieldManager, i)
		if all[i].APIVersion == version {
			names = append([]string{name}, names...)
		} else {
			names = append(names, name)
		}
		all[i].Manager, all[i].Operation = name, metav1.ManagedFieldsOperationUpdate
	}
	obj.SetManagedFields(all)
	for _, name := range names {
		if err := csaupgrade.UpgradeManagedFields(obj, sets.New(name), FieldManager); err != nil {
			return nil, err
		}
	}
	return obj.GetManagedFields(), nil
}

// shared are the entries of those who set any field that the release sets too. Others, such as a controller that adds a
// certificate, keep what they have.
func shared(live, predicted *unstructured.Unstructured) []int {
	mine := appliedBy(predicted)
	var out []int
	for i, entry := range live.GetManagedFields() {
		own := entry.Manager == FieldManager && entry.Operation == metav1.ManagedFieldsOperationApply
		if own || entry.Subresource != "" || strings.HasPrefix(entry.Manager, controllers) {
			continue
		}
		if entry.Manager == kubectlManager || !fieldsOf(entry).Intersection(mine).Leaves().Empty() {
			out = append(out, i)
		}
	}
	return out
}

// appliedBy are the fields that Slipway's apply holds.
func appliedBy(obj *unstructured.Unstructured) *fieldpath.Set {
	for _, entry := range obj.GetManagedFields() {
		if entry.Manager == FieldManager && entry.Operation == metav1.ManagedFieldsOperationApply {
			return fieldsOf(entry)
		}
	}
	return &fieldpath.Set{}
}

func fieldsOf(entry metav1.ManagedFieldsEntry) *fieldpath.Set {
	set := &fieldpath.Set{}
	if entry.FieldsV1 == nil || set.FromJSON(entry.FieldsV1.GetRawReader()) != nil {
		return &fieldpath.Set{}
	}
	return set
}
