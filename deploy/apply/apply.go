package apply

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/manifest"
	"github.com/slipway-build/slipway/internal/failpoint"
)

// Request asks for one release on one target.
type Request struct {
	Target    Target
	Stamp     Stamp
	Manifests []byte // rendered, digests injected
	// Objects are those of Manifests, where they were parsed without a mistake before; nil: they were not. They are left as they are.
	Objects []*unstructured.Unstructured
	Policy  manifest.Policy
	// Hook is the key of the hook that is applied, alone; empty: everything that is no hook.
	Hook string
	// Missing applies only what pods refer to as they start (configuration, secrets,
	// accounts, volumes) and what is not there yet: hooks need it, and nothing that runs
	// is changed by it.
	Missing bool
	// Adopt takes over what others made or hold; without it such objects are refused.
	Adopt bool
	// Since is a moment from which on answers of the cluster are new enough to go by, where a write sees what is older: that at
	// which the work on the target began. Zero: as Apply is called.
	Since time.Time
	// Changed hears of each write as it happens; it may be nil.
	Changed func(Change)
}

// Action is what happened to an object.
type Action string

// Actions.
const (
	Created   Action = "created"
	Updated   Action = "changed"
	Unchanged Action = "unchanged"
	Deleted   Action = "deleted"
	Adopted   Action = "taken over"
	Kept      Action = "kept" // no longer in the release, and spared all the same
	// CarriedOut is a hook, in a comparison.
	CarriedOut Action = "carried out"
)

// Change is one object and what happened to it. Ref carries the live uid and generation.
type Change struct {
	Ref    manifest.Ref
	Action Action
	Reason string  // of a kept object; of one that was taken over, from whom; of a hook, when
	Fields []Field // of an object that is there, in a comparison: what would change
}

// Outcome is the answer of the work. Refused means "no": unless Changes shows writes, nothing was written.
type Outcome struct {
	NamespaceCreated bool
	// First: nothing of the target stood, as far as the release's kinds go.
	First   bool
	Changes []Change
	Refused []manifest.Refusal
}

// Refs are the objects that are live after the outcome.
func (o Outcome) Refs() []manifest.Ref {
	var refs []manifest.Ref
	for _, change := range o.Changes {
		if change.Action != Deleted && change.Action != Kept {
			refs = append(refs, change.Ref)
		}
	}
	return refs
}

// Wrote counts the objects that were created, changed or deleted.
func (o Outcome) Wrote() int {
	n := 0
	for _, change := range o.Changes {
		if change.Action != Unchanged && change.Action != Kept && change.Action != CarriedOut {
			n++
		}
	}
	return n
}

// Then is both as one: an object that later left unchanged was changed as o says.
func (o Outcome) Then(later Outcome) Outcome {
	first := make(map[string]Change, len(o.Changes))
	for _, change := range o.Changes {
		first[change.Ref.Key()] = change
	}
	for i, change := range later.Changes {
		if before, ok := first[change.Ref.Key()]; ok && change.Action == Unchanged {
			later.Changes[i].Action = before.Action
		}
	}
	later.NamespaceCreated = later.NamespaceCreated || o.NamespaceCreated
	later.First = later.First && len(o.Changes) == 0 || o.First
	return later
}

// Apply validates and then writes the release. A refusal by the cluster or by the policy is in Outcome.Refused. An error means
// that the farm could not tell (*cluster.Error) or that the lease is lost (ErrSuperseded); Changes then holds what had been
// written. Repeating Apply finishes what an earlier one began and writes nothing twice.
func Apply(ctx context.Context, c *cluster.Cluster, req Request) (Outcome, error) {
	return (&writer{cluster: c, req: req}).run(ctx, carryOut)
}

// Check asks everything that Apply asks before it writes, of all objects at once, and writes nothing but the namespace. Of hooks
// it only asks whose they are: what they hold is compared when their turn comes.
func Check(ctx context.Context, c *cluster.Cluster, req Request) (Outcome, error) {
	return (&writer{cluster: c, req: req}).run(ctx, check)
}

// DryRun answers what Apply would do, without writing. The target's namespace must exist for it to be complete.
func DryRun(ctx context.Context, c *cluster.Cluster, req Request) (Outcome, error) {
	return (&writer{cluster: c, req: req}).run(ctx, predict)
}

// extent is how far a request is carried.
type extent int

const (
	predict  extent = iota // nothing is written
	compare                // nothing is written, and hooks are part of the answer
	check                  // the namespace is, without which the cluster validates nothing
	carryOut               // everything is
)

func (w *writer) run(ctx context.Context, far extent) (Outcome, error) {
	if w.req.Since.IsZero() {
		w.req.Since = time.Now()
	}
	req := w.req
	objs, refused := req.parse()
	out := Outcome{Refused: refused}
	if len(objs) == 0 && len(refused) == 0 { // a release of hooks alone has objects
		out.Refused = append(out.Refused, manifest.Refusal{Object: "release", Reason: "has no objects; check the path of deploy: in slipway.yaml"})
	}
	items, problems, err := w.resolve(ctx, objs)
	out.Refused = append(out.Refused, problems...)
	if err != nil || len(out.Refused) > 0 {
		return out, err
	}
	items = slices.DeleteFunc(items, func(it *item) bool { return far != check && far != compare && !req.wants(it) })
	if far > compare {
		if out.NamespaceCreated, err = ensureNamespace(ctx, w.cluster, req.Target); err != nil {
			return out, err
		}
	}
	if err := w.prefetch(ctx, items); err != nil {
		return out, err
	}
	out.First = w.nothingStands(items)
	for _, it := range items {
		look := w.plan
		switch {
		case far == compare:
			look = w.foresee
		case far == check && manifest.IsHook(it.desired):
			look = w.whose
		}
		problems, err := look(ctx, it)
		if err != nil {
			return out, err
		}
		out.Refused = append(out.Refused, problems...)
	}
	if len(out.Refused) > 0 || far == check {
		return out, nil
	}
	if req.Missing {
		items = slices.DeleteFunc(items, func(it *item) bool { return it.action != Created })
	}
	return w.carryOut(ctx, items, out, far)
}

// parse answers copies of the objects, and what is wrong with the manifests.
func (req Request) parse() (objs []*unstructured.Unstructured, refused []manifest.Refusal) {
	if req.Objects == nil {
		return manifest.Parse(req.Manifests)
	}
	for _, obj := range req.Objects {
		objs = append(objs, obj.DeepCopy())
	}
	return objs, nil
}

// wants says whether the object is among those that are asked for.
func (req Request) wants(it *item) bool {
	switch {
	case req.Missing && !manifest.StartsPods(it.ref):
		return false
	case req.Hook == "":
		return !manifest.IsHook(it.desired)
	}
	return it.released == req.Hook
}

func (w *writer) carryOut(ctx context.Context, items []*item, out Outcome, far extent) (Outcome, error) {
	if far == carryOut {
		failpoint.Hit(failpoint.ApplyPlanned)
	}
	for _, it := range items {
		if far == carryOut && it.action != Unchanged {
			problems, err := w.write(ctx, it)
			if err != nil {
				return out, err
			}
			if len(problems) > 0 {
				out.Refused = append(out.Refused, problems...)
				return out, nil
			}
		}
		change := Change{Ref: it.ref, Action: it.action, Reason: it.reason()}
		if far == compare {
			change.Fields = differences(it.live, it.predicted)
		}
		out.Changes = append(out.Changes, change)
		if w.req.Changed != nil {
			w.req.Changed(change)
		}
	}
	return out, nil
}

// resolve finds the kinds of the objects on the cluster and asks the policy.
func (w *writer) resolve(ctx context.Context, objs []*unstructured.Unstructured) ([]*item, []manifest.Refusal, error) {
	var items []*item
	var refused []manifest.Refusal
	for _, obj := range objs {
		ref := manifest.RefOf(obj)
		mapping, err := w.cluster.MappingFor(ctx, ref.GroupVersionKind)
		if cluster.IsNoKind(err) {
			refused = append(refused, manifest.Refusal{
				Object: ref.String(),
				Reason: fmt.Sprintf("cluster %q knows no kind %s in %s; correct apiVersion and kind, or install the definition first",
					w.cluster.Name(), ref.Kind, ref.GroupVersion()),
			})
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if problems := w.req.Policy.Check(obj, w.req.Target.Namespace, mapping.Namespaced); len(problems) > 0 {
			refused = append(refused, problems...)
			continue
		}
		it := &item{desired: obj, ref: ref, released: ref.Key()}
		it.resource, it.client = mapping.Resource, w.cluster.Dynamic.Resource(mapping.Resource)
		if mapping.Namespaced {
			obj.SetNamespace(w.req.Target.Namespace)
			it.ref.Namespace = w.req.Target.Namespace
			it.client = w.cluster.Dynamic.Resource(mapping.Resource).Namespace(w.req.Target.Namespace)
		}
		items = append(items, it)
	}
	return items, refused, nil
}

// preconditionFailed reports a 409 that is about the version read, not about a field's manager.
func preconditionFailed(err error) bool {
	return apierrors.IsConflict(err) && len(conflicts(err)) == 0
}
