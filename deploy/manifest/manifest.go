package manifest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// Ref names one object for people and for the API server. UID and Generation are empty until the object is live.
type Ref struct {
	schema.GroupVersionKind
	Namespace  string
	Name       string
	UID        types.UID
	Generation int64
}

// String is Kind/name: the namespace is the target's, and said once.
func (r Ref) String() string { return r.Kind + "/" + r.Name }

// Key identifies the object whatever version it was read in.
func (r Ref) Key() string {
	return strings.Join([]string{r.Group, r.Kind, r.Namespace, r.Name}, "/")
}

// RefOf reads the reference of a live or desired object.
func RefOf(obj *unstructured.Unstructured) Ref {
	return Ref{
		GroupVersionKind: obj.GroupVersionKind(),
		Namespace:        obj.GetNamespace(), Name: obj.GetName(),
		UID: obj.GetUID(), Generation: obj.GetGeneration(),
	}
}

// Refusal is the work's "no": what is wrong with which object, and what to do. It is data, not an error.
type Refusal struct {
	Object string // "Deployment/api", or "document 3" when it has no name yet
	Field  string // path within the object; empty when the object as a whole is meant
	Reason string
	File   string // of the repository, that the object comes from; empty when that is not known
}

func (r Refusal) String() string {
	var parts []string
	for _, part := range []string{r.File, r.Object, r.Field, r.Reason} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

// Parse reads all documents, flattens lists and returns the objects in the order in which they are to be written. Every
// mistake is reported at once. Objects without a namespace stay without: only a cluster knows which kinds have one.
func Parse(text []byte) ([]*unstructured.Unstructured, []Refusal) {
	var objs []*unstructured.Unstructured
	var refused []Refusal
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for n := 1; ; n++ {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		at := fmt.Sprintf("document %d", n)
		if err != nil {
			return nil, append(refused, Refusal{Object: at, Reason: err.Error()})
		}
		found, problem := parseDocument(at, doc)
		if n == 1 && len(found) == 1 && isChart(found[0]) {
			continue
		}
		objs, refused = append(objs, found...), append(refused, problem...)
	}
	refused = append(refused, duplicates(objs)...)
	slices.SortStableFunc(objs, func(a, b *unstructured.Unstructured) int { return rank(a) - rank(b) })
	return objs, refused
}

func parseDocument(at string, doc []byte) ([]*unstructured.Unstructured, []Refusal) {
	var content map[string]any
	if err := yaml.UnmarshalStrict(doc, &content); err != nil {
		return nil, []Refusal{{Object: at, Reason: strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")}}
	}
	if len(content) == 0 {
		return nil, nil
	}
	obj := &unstructured.Unstructured{Object: content}
	if !obj.IsList() {
		return checked(at, obj)
	}
	var objs []*unstructured.Unstructured
	var refused []Refusal
	items, _, err := unstructured.NestedSlice(content, "items")
	if err != nil {
		return nil, []Refusal{{Object: at, Field: "items", Reason: "must be a list of objects"}}
	}
	for i, item := range items {
		inner := fmt.Sprintf("%s, item %d", at, i+1)
		fields, ok := item.(map[string]any)
		if !ok {
			refused = append(refused, Refusal{Object: inner, Reason: "is no object"})
			continue
		}
		found, problem := checked(inner, &unstructured.Unstructured{Object: fields})
		objs, refused = append(objs, found...), append(refused, problem...)
	}
	return objs, refused
}

// checked refuses what cannot be applied whatever its kind, and drops what only a server writes and generators leave behind.
func checked(at string, obj *unstructured.Unstructured) ([]*unstructured.Unstructured, []Refusal) {
	switch {
	case obj.GetAPIVersion() == "" || obj.GetKind() == "":
		return nil, []Refusal{{Object: at, Reason: "has no apiVersion or no kind"}}
	case obj.GetName() == "" && obj.GetGenerateName() != "":
		return nil, []Refusal{{
			Object: obj.GetKind() + " in " + at, Field: "metadata.generateName",
			Reason: "an object must keep its name from release to release; give it metadata.name",
		}}
	case obj.GetName() == "":
		return nil, []Refusal{{Object: obj.GetKind() + " in " + at, Field: "metadata.name", Reason: "is missing"}}
	}
	name := RefOf(obj).String()
	var refused []Refusal
	for _, field := range []string{"uid", "resourceVersion", "managedFields"} {
		if _, found, _ := unstructured.NestedFieldNoCopy(obj.Object, "metadata", field); found {
			refused = append(refused, Refusal{
				Object: name, Field: "metadata." + field,
				Reason: "belongs to a live object and cannot be released; remove it",
			})
		}
	}
	unstructured.RemoveNestedField(obj.Object, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(obj.Object, "status")
	refused = append(refused, checkHook(obj)...)
	return []*unstructured.Unstructured{obj}, refused
}

func duplicates(objs []*unstructured.Unstructured) []Refusal {
	var refused []Refusal
	seen := map[string]bool{}
	for _, obj := range objs {
		ref := RefOf(obj)
		if seen[ref.Key()] {
			refused = append(refused, Refusal{Object: ref.String(), Reason: "is in the release twice; remove one"})
		}
		seen[ref.Key()] = true
	}
	return refused
}

// rank is the order of writing: what others refer to comes first, so that no pod starts before its configuration is there.
func rank(obj *unstructured.Unstructured) int {
	order := []string{
		"Namespace", "CustomResourceDefinition", "PriorityClass", "ResourceQuota", "LimitRange", "NetworkPolicy",
		"PodDisruptionBudget", "ServiceAccount", "Secret", "ConfigMap", "StorageClass", "PersistentVolume",
		"PersistentVolumeClaim", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Service",
		"DaemonSet", "Pod", "ReplicationController", "ReplicaSet", "StatefulSet", "Deployment", "Job", "CronJob",
		"HorizontalPodAutoscaler", "IngressClass", "Ingress",
	}
	if i := slices.Index(order, obj.GetKind()); i >= 0 {
		return i
	}
	return len(order) // custom resources may refer to anything above
}
