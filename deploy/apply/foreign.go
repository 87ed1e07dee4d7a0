package apply

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// What other tools write on the objects that they look after.
const (
	helmRelease      = "meta.helm.sh/release-name"
	helmNamespace    = "meta.helm.sh/release-namespace"
	argoTracking     = "argocd.argoproj.io/tracking-id"
	instance         = "app.kubernetes.io/instance"
	fluxName         = "kustomize.toolkit.fluxcd.io/name"
	fluxNamespace    = "kustomize.toolkit.fluxcd.io/namespace"
	kubectlApplied   = "kubectl.kubernetes.io/last-applied-configuration"
	kubectlManager   = "kubectl-client-side-apply"
	controllers      = "kube-" // managers of Kubernetes itself begin so
	helmManagedBy    = "Helm"
	argoManager      = "argocd"
	scaleSubresource = "scale"
)

// owner is who looks after a live object that Slipway did not make.
type owner struct {
	who   string // "Helm release …"
	letGo string // how it is told to stop; empty: nothing goes on
}

// unavailable says why an object cannot be the release's, adopted or not; empty: it can.
func unavailable(live metav1.Object, target Target) string {
	if target.Owns(live) {
		return ""
	}
	labels := live.GetLabels()
	if labels[LabelManagedBy] == managedBy && labels[LabelService] != "" {
		return fmt.Sprintf("belongs to service %s of project %s in environment %s, not to %s of %s in %s; give one of them another name",
			labels[LabelService], labels[LabelProject], labels[LabelEnvironment], target.Service, target.Project, target.Environment)
	}
	if by := metav1.GetControllerOf(live); by != nil {
		return fmt.Sprintf("exists in namespace %s and is controlled by %s/%s, which undoes what others write; give the release's object another name",
			live.GetNamespace(), by.Kind, by.Name)
	}
	return ""
}

// ownerOf reads the marks that tools leave.
func ownerOf(live *unstructured.Unstructured) *owner {
	labels, annotations := live.GetLabels(), live.GetAnnotations()
	managers := live.GetManagedFields()
	managed := func(prefix string) bool {
		return slices.ContainsFunc(managers, func(e metav1.ManagedFieldsEntry) bool { return strings.HasPrefix(e.Manager, prefix) })
	}
	application, _, _ := strings.Cut(annotations[argoTracking], ":")
	if application == "" && managed(argoManager) {
		application = labels[instance]
	}
	_, applied := annotations[kubectlApplied]
	switch {
	case application != "":
		return argo(fmt.Sprintf("Argo CD application %q", application), application)
	case annotations[helmRelease] != "" || labels[LabelManagedBy] == helmManagedBy:
		return helm(annotations[helmRelease], annotations[helmNamespace])
	case labels[fluxName] != "":
		return &owner{
			who:   fmt.Sprintf("Flux Kustomization %q of namespace %q", labels[fluxName], labels[fluxNamespace]),
			letGo: "Flux goes on writing to it until its Kustomization no longer has it: set prune: false, then remove it there",
		}
	case applied || managed(kubectlManager):
		return &owner{who: "kubectl apply", letGo: "Do not apply it with kubectl any more"}
	case labels[instance] != "" && labels[LabelManagedBy] == "":
		return argo(fmt.Sprintf("%s, perhaps to Argo CD application %q (label %s)", first(managers), labels[instance], instance), labels[instance])
	default:
		return &owner{who: first(managers)}
	}
}

func argo(who, application string) *owner {
	return &owner{who: who, letGo: fmt.Sprintf("Argo CD goes on writing to it until its application lets go: remove it from the application "+
		"without pruning, or run argocd app delete %s --cascade=false", application)}
}

func helm(release, namespace string) *owner {
	who := "a Helm release"
	if release != "" {
		who = fmt.Sprintf("Helm release %q of namespace %q", release, namespace)
	}
	return &owner{who: who, letGo: "Helm goes on until its release is gone, upgrade writes to it and uninstall deletes it: " +
		"annotate it in the chart with helm.sh/resource-policy: keep, upgrade once, then uninstall"}
}

func first(managers []metav1.ManagedFieldsEntry) string {
	if len(managers) == 0 {
		return "somebody"
	}
	return fmt.Sprintf("%q", managers[0].Manager)
}
