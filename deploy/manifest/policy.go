package manifest

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Policy is what the owner of a cluster lets releases contain beyond ordinary objects of the target's namespace. The zero
// value allows nothing more.
type Policy struct {
	ClusterKinds []schema.GroupKind // cluster-scoped kinds a release may bring
	HostAccess   bool               // hostPath, host namespaces, host ports, privileged containers
}

// Check refuses obj when it reaches outside its target. namespaced is what the cluster says of the kind.
func (p Policy) Check(obj *unstructured.Unstructured, namespace string, namespaced bool) []Refusal {
	ref := RefOf(obj)
	if !namespaced {
		return p.checkClusterKind(ref)
	}
	var refused []Refusal
	if ref.Namespace != "" && ref.Namespace != namespace {
		refused = append(refused, Refusal{
			Object: ref.String(), Field: "metadata.namespace",
			Reason: fmt.Sprintf("is %q, but this release may only write to namespace %q; remove the field or correct it",
				ref.Namespace, namespace),
		})
	}
	if !p.HostAccess {
		refused = append(refused, hostAccess(ref, obj)...)
	}
	return refused
}

func (p Policy) checkClusterKind(ref Ref) []Refusal {
	if slices.Contains(p.ClusterKinds, ref.GroupKind()) {
		return nil
	}
	reason := "belongs to the whole cluster, and this release may only write to its namespace; " +
		"leave it to the platform team, or let them allow the kind for this cluster"
	if ref.Kind == "Namespace" {
		reason = "Slipway creates the environment's namespace itself; remove this object"
	}
	return []Refusal{{Object: ref.String(), Reason: reason}}
}

// PodSpec returns the pod specification inside obj and its path, or nil for kinds that start no pods.
func PodSpec(obj *unstructured.Unstructured) (map[string]any, string) {
	paths := map[schema.GroupKind][]string{
		{Kind: "Pod"}:                        {"spec"},
		{Kind: "ReplicationController"}:      {"spec", "template", "spec"},
		{Group: "apps", Kind: "Deployment"}:  {"spec", "template", "spec"},
		{Group: "apps", Kind: "ReplicaSet"}:  {"spec", "template", "spec"},
		{Group: "apps", Kind: "StatefulSet"}: {"spec", "template", "spec"},
		{Group: "apps", Kind: "DaemonSet"}:   {"spec", "template", "spec"},
		{Group: "batch", Kind: "Job"}:        {"spec", "template", "spec"},
		{Group: "batch", Kind: "CronJob"}:    {"spec", "jobTemplate", "spec", "template", "spec"},
	}
	path, ok := paths[obj.GroupVersionKind().GroupKind()]
	if !ok {
		return nil, ""
	}
	spec, _, err := unstructured.NestedFieldNoCopy(obj.Object, path...)
	if err != nil {
		return nil, ""
	}
	fields, _ := spec.(map[string]any)
	name := path[0]
	for _, part := range path[1:] {
		name += "." + part
	}
	return fields, name
}

func hostAccess(ref Ref, obj *unstructured.Unstructured) []Refusal {
	spec, path := PodSpec(obj)
	var refused []Refusal
	refuse := func(field, what string) {
		refused = append(refused, Refusal{
			Object: ref.String(), Field: path + "." + field,
			Reason: what + " is not allowed for releases on this cluster; remove it, or let the platform team allow host access",
		})
	}
	for _, field := range []string{"hostNetwork", "hostPID", "hostIPC"} {
		if spec[field] == true {
			refuse(field, "sharing the node's namespaces")
		}
	}
	for i, volume := range maps(spec["volumes"]) {
		if _, found := volume["hostPath"]; found {
			refuse(fmt.Sprintf("volumes[%d].hostPath", i), "mounting the node's files")
		}
	}
	for _, list := range []string{"initContainers", "containers", "ephemeralContainers"} {
		for i, container := range maps(spec[list]) {
			at := fmt.Sprintf("%s[%d]", list, i)
			security, _ := container["securityContext"].(map[string]any)
			if security["privileged"] == true {
				refuse(at+".securityContext.privileged", "a privileged container")
			}
			for j, port := range maps(container["ports"]) {
				if _, found := port["hostPort"]; found {
					refuse(fmt.Sprintf("%s.ports[%d].hostPort", at, j), "taking a port of the node")
				}
			}
		}
	}
	return refused
}

// maps keeps the index of what is no map, so that the paths in refusals stay right.
func maps(value any) []map[string]any {
	list, _ := value.([]any)
	out := make([]map[string]any, len(list))
	for i, item := range list {
		out[i], _ = item.(map[string]any)
	}
	return out
}
