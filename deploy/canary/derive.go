package canary

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/manifest"
)

const (
	// Annotation is on each copy and names the release that it is of. So a copy of another release is never taken for one of this.
	Annotation = "slipway.dev/canary"
	// LabelTrack tells the candidate's pods from those that serve; those that serve do not have it.
	LabelTrack = "slipway.dev/track"
	// Track is the value of LabelTrack.
	Track = "canary"

	suffix = "-canary"
	// MaxWeight is the largest part in percent: the candidate's pods are at most as many as those that serve.
	MaxWeight = 50
)

// Router is what gives a candidate its part of the requests.
type Router int

// Routers. By replicas the candidate's pods are in the same Services as those that serve, and their number is their part. By
// service they are all there, in no Service, and then the Services select them alone. By flag there is one release, and a feature
// flag of it gives what it brings to a part of the evaluations.
const (
	Replicas Router = iota
	Service
	Flag
)

// Part of the requests that a candidate has: by replicas 1 to MaxWeight percent, by service 0 or 100, by flag 1 to 99.
type Part struct {
	Router Router
	Weight int
	Flag   string // by flag: which
}

func (p Part) valid() bool {
	switch p.Router {
	case Service:
		return p.Weight == 0 || p.Weight == 100
	case Flag:
		return p.Weight > 0 && p.Weight < 100 && p.Flag != ""
	case Replicas:
		return p.Weight >= 1 && p.Weight <= MaxWeight
	}
	return false
}

// Request is what Derive makes copies of.
type Request struct {
	Objects []*unstructured.Unstructured // of the candidate, as manifest.Parse gives them; they are not changed
	Release string
	Part
	Serving  map[string]int64  // replicas of the live Deployments, by name; of those alone copies are made
	Absent   map[string]bool   // keys of Objects that are not on the cluster
	Services []*corev1.Service // by service: who must not send the copies requests
}

// Derived is what a shift applies.
type Derived struct {
	Objects     []*unstructured.Unstructured
	Deployments map[string]string // name of the copy by name of the original
}

// Derive makes the objects that stand beside what serves: of each Deployment that serves a copy with its part of the pods; of each
// ConfigMap and Secret of the release that its pods refer to a copy too, so that what serves keeps what it was configured with; and
// what else its pods need to start (accounts and their rights, volumes) where the cluster has none by that name.
func Derive(req Request) (Derived, []manifest.Refusal) {
	d := &deriving{req: req, out: Derived{Deployments: map[string]string{}}, objects: map[string]*unstructured.Unstructured{}, copied: map[string]bool{}}
	for _, obj := range req.Objects {
		d.objects[key(obj, obj.GetName())] = obj
	}
	var served []*unstructured.Unstructured
	for _, obj := range req.Objects {
		if isService(obj) {
			d.reserved(obj, "spec", "selector")
		}
		if IsDeployment(obj) && req.Serving[obj.GetName()] > 0 {
			served = append(served, obj)
		}
	}
	if req.Router == Service {
		d.apart = apart(served, req.Services)
	}
	for _, obj := range served {
		d.deployment(obj, req.Serving[obj.GetName()])
	}
	if len(d.out.Deployments) == 0 {
		return Derived{}, d.refused
	}
	for _, obj := range req.Objects {
		ref := manifest.RefOf(obj)
		if manifest.StartsPods(ref) && !copies(obj) && !manifest.IsHook(obj) && req.Absent[ref.Key()] {
			d.out.Objects = append(d.out.Objects, obj.DeepCopy())
		}
	}
	return d.out, d.refused
}

// IsDeployment reports a Deployment that is no hook.
func IsDeployment(obj *unstructured.Unstructured) bool {
	gvk := obj.GroupVersionKind()
	return gvk.Group == "apps" && gvk.Kind == "Deployment" && !manifest.IsHook(obj)
}

// Pods is how many pods of a candidate beside serving ones come nearest to weight percent of all: at least one, at most as many
// as serve.
func Pods(serving int64, weight int) int64 {
	w := int64(weight)
	c := serving * w / (100 - w)
	off := func(c int64) int64 { return max(100*c-w*(c+serving), w*(c+serving)-100*c) } // from weight, times 100 pods
	if off(c+1)*(c+serving) < off(c)*(c+1+serving) {
		c++
	}
	return max(1, c)
}

type deriving struct {
	req     Request
	out     Derived
	refused []manifest.Refusal
	objects map[string]*unstructured.Unstructured // by group, kind and name: a release writes to one namespace
	copied  map[string]bool
	apart   map[string]bool // labels whose values differ from the originals'
}

func key(like *unstructured.Unstructured, name string) string {
	return like.GroupVersionKind().GroupKind().String() + "/" + name
}

// copies reports objects that pods are configured with.
func copies(obj *unstructured.Unstructured) bool {
	return obj.GroupVersionKind().Group == "" && (obj.GetKind() == kindConfigMap || obj.GetKind() == kindSecret)
}

func (d *deriving) deployment(obj *unstructured.Unstructured, serving int64) {
	d.reserved(obj, "spec", "selector", "matchLabels")
	d.reserved(obj, "spec", "template", "metadata", "labels")
	c := d.copy(obj, validation.DNS1123LabelMaxLength)
	d.set(c, Track, "spec", "selector", "matchLabels", LabelTrack)
	d.set(c, Track, "spec", "template", "metadata", "labels", LabelTrack)
	if d.req.Router == Service {
		d.renamed(c, d.apart)
	} else {
		serving = Pods(serving, d.req.Weight)
	}
	d.set(c, serving, "spec", "replicas")
	if pods, _ := manifest.PodSpec(c); pods != nil {
		references(pods, d.configuration)
	}
	d.out.Objects = append(d.out.Objects, c)
	d.out.Deployments[obj.GetName()] = c.GetName()
}

// configuration is the name of the copy of what a pod refers to; name itself when the release does not have it.
func (d *deriving) configuration(kind, name string) string {
	obj := d.objects[kind+"/"+name] // of the group without a name
	if obj == nil {
		return name
	}
	if !d.copied[kind+"/"+name] {
		d.copied[kind+"/"+name] = true
		d.out.Objects = append(d.out.Objects, d.copy(obj, validation.DNS1123SubdomainMaxLength))
	}
	return Name(name, validation.DNS1123SubdomainMaxLength)
}

// copy is obj under the name of its copy, marked as one, which a later release may change. What its annotations ask of Slipway is
// about the original.
func (d *deriving) copy(obj *unstructured.Unstructured, limit int) *unstructured.Unstructured {
	c := obj.DeepCopy()
	c.SetName(Name(obj.GetName(), limit))
	if taken := d.objects[key(obj, c.GetName())]; taken != nil {
		d.refuse(taken, "metadata.name", fmt.Sprintf("is the name under which %s stands during a canary; give it another one", manifest.RefOf(obj)))
	}
	unstructured.RemoveNestedField(c.Object, "immutable")
	annotations := c.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	for _, own := range []string{apply.AnnotationKeep, manifest.AnnotationHook, manifest.AnnotationHookWeight, manifest.AnnotationHookDigest} {
		delete(annotations, own)
	}
	annotations[Annotation] = d.req.Release
	c.SetAnnotations(annotations)
	return c
}

func (d *deriving) set(obj *unstructured.Unstructured, value any, path ...string) {
	if err := unstructured.SetNestedField(obj.Object, value, path...); err != nil {
		d.refuse(obj, strings.Join(path, "."), err.Error())
	}
}

// reserved refuses a release that has the label that tells tracks apart.
func (d *deriving) reserved(obj *unstructured.Unstructured, path ...string) {
	labels, _, _ := unstructured.NestedMap(obj.Object, path...)
	if _, ok := labels[LabelTrack]; ok {
		d.refuse(obj, strings.Join(append(path, LabelTrack), "."), "is Slipway's own label; remove it")
	}
}

func (d *deriving) refuse(obj *unstructured.Unstructured, field, reason string) {
	d.refused = append(d.refused, manifest.Refusal{Object: manifest.RefOf(obj).String(), Field: field, Reason: reason})
}

// Name is the name of the copy: the original's with "-canary", and within limit. A name that is too long is cut, and then has a
// part of its hash.
func Name(name string, limit int) string {
	if len(name)+len(suffix) <= limit {
		return name + suffix
	}
	sum := sha256.Sum256([]byte(name))
	hash := hex.EncodeToString(sum[:4])
	return strings.TrimRight(name[:limit-len(suffix)-len(hash)-1], "-.") + "-" + hash + suffix
}

// Deployments are the names of those that the manifests of a release have.
func Deployments(manifests []byte) []string {
	objs, _ := manifest.Parse(manifests) // whoever applies them reports their mistakes
	var out []string
	for _, obj := range objs {
		if IsDeployment(obj) {
			out = append(out, obj.GetName())
		}
	}
	return out
}
