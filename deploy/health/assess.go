package health

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/slipway-build/slipway/deploy/manifest"
)

// never is the patience with signs that are only worth telling at the deadline.
const never = time.Duration(-1)

// view is the namespace at one moment, as the watches show it.
type view struct {
	deployments  map[string]*appsv1.Deployment
	statefulSets map[string]*appsv1.StatefulSet
	daemonSets   map[string]*appsv1.DaemonSet
	replicaSets  map[string]*appsv1.ReplicaSet
	jobs         map[string]*batchv1.Job
	claims       map[string]*corev1.PersistentVolumeClaim
	customs      map[schema.GroupKind]map[string]*unstructured.Unstructured
	pods         []*corev1.Pod
	events       []*corev1.Event // warnings
}

// finding is one bad sign, and how long it may last.
type finding struct {
	reason   Reason
	class    string
	patience time.Duration
	pod      *corev1.Pod
	about    []string // uids whose events explain it
}

func (f finding) key() string {
	return f.reason.Object.Key() + "|" + f.reason.Pod + "|" + f.reason.Container + "|" + f.class
}

// memory is when a sign was first seen. A crash is remembered while the container runs in between.
type memory struct{ since map[string]time.Time }

type verdict struct {
	progress []Progress
	fatal    []finding
	pending  []finding
	pods     []*corev1.Pod // of the release itself, not of what it replaces
	recheck  time.Duration // when a grace may end without any change
}

func (v verdict) healthy() bool {
	return len(v.fatal) == 0 && !slices.ContainsFunc(v.progress, func(p Progress) bool { return !p.Done })
}

// conclusive are the fatal findings and what else is known of the same objects: that a Deployment has timed out progressing
// says less than the pods that are the reason for it.
func (v verdict) conclusive() []finding {
	out := slices.Clone(v.fatal)
	for _, f := range v.pending {
		if slices.ContainsFunc(v.fatal, func(fatal finding) bool { return fatal.reason.Object.Key() == f.reason.Object.Key() }) {
			out = append(out, f)
		}
	}
	return out
}

const idle = time.Minute

// assess is the decision: the state of the namespace and what was seen before, in; what to do, out.
func assess(now view, objects []manifest.Ref, grace Grace, seen *memory, at time.Time) verdict {
	return judge(objects, seen, at, func(ref manifest.Ref) *state { return now.examine(ref, grace) })
}

// judge is the decision about what examine finds of each object.
func judge(objects []manifest.Ref, seen *memory, at time.Time, examine func(manifest.Ref) *state) verdict {
	v := verdict{recheck: idle}
	present := map[string]bool{}
	for _, ref := range objects {
		state := examine(ref)
		if state == nil {
			continue
		}
		v.pods = append(v.pods, state.pods...)
		v.progress = append(v.progress, Progress{Object: ref, Ready: state.ready, Desired: state.desired, Done: state.done})
		if state.done {
			continue
		}
		for _, f := range state.findings {
			present[f.key()] = true
			v.place(f, seen, at)
		}
	}
	for key := range seen.since {
		if !present[key] {
			delete(seen.since, key)
		}
	}
	return v
}

func (v *verdict) place(f finding, seen *memory, at time.Time) {
	first, known := seen.since[f.key()]
	if !known {
		first = at
		seen.since[f.key()] = at
	}
	if f.patience == never {
		v.pending = append(v.pending, f)
		return
	}
	left := f.patience - at.Sub(first)
	if left <= 0 {
		v.fatal = append(v.fatal, f)
		return
	}
	v.pending = append(v.pending, f)
	v.recheck = min(v.recheck, left)
}

// state of one object.
type state struct {
	ready, desired int
	done           bool
	findings       []finding
	pods           []*corev1.Pod
}

// examine returns nil for kinds that are healthy by existing.
func (now view) examine(ref manifest.Ref, grace Grace) *state {
	switch ref.Group + "/" + ref.Kind {
	case "apps/Deployment":
		return examine(now, ref, grace, now.deployments[ref.Name], now.deployment)
	case "apps/StatefulSet":
		return examine(now, ref, grace, now.statefulSets[ref.Name], now.statefulSet)
	case "apps/DaemonSet":
		return examine(now, ref, grace, now.daemonSets[ref.Name], now.daemonSet)
	case "apps/ReplicaSet":
		return examine(now, ref, grace, now.replicaSets[ref.Name], now.replicaSet)
	case "batch/Job":
		return examine(now, ref, grace, now.jobs[ref.Name], now.job)
	case "/" + claimKind:
		return examine(now, ref, grace, now.claims[ref.Name], now.claim)
	case "/Pod":
		return now.plainPod(ref, grace)
	}
	if custom(ref) {
		return examine(now, ref, grace, now.customs[ref.GroupKind()][ref.Name], conditioned)
	}
	return nil
}

type object[T any] interface {
	*T
	metav1.Object
}

// examine looks at one workload and at its pods, unless what was applied is no longer there.
func examine[T any, P object[T]](now view, ref manifest.Ref, grace Grace, live P, look func(P, *state)) *state {
	if live == nil || ref.UID != "" && live.GetUID() != ref.UID {
		return missing(ref)
	}
	s := &state{desired: 1}
	if live.GetGeneration() >= ref.Generation { // else the watch shows it as it was before
		look(live, s)
	}
	for i := range s.findings {
		own := &s.findings[i]
		own.reason.Object = ref
		own.about = append(own.about, string(live.GetUID()))
		own.patience = own.within(grace)
	}
	for _, pod := range s.pods {
		if !podReady(pod) && pod.DeletionTimestamp == nil {
			s.findings = append(s.findings, podFindings(ref, pod, now.events, grace)...)
		}
	}
	told := slices.ContainsFunc(s.findings, func(f finding) bool { return f.class == "create" })
	if len(s.pods) < s.desired && !told {
		if event := latest(now.events, string(live.GetUID())); event != nil && event.Reason == "FailedCreate" {
			s.findings = append(s.findings, finding{
				class: "create", patience: grace.Create, about: []string{string(live.GetUID())},
				reason: Reason{Object: ref, State: "pending", Reason: "FailedCreate", Message: event.Message},
			})
		}
	}
	if len(s.findings) == 0 && !s.done {
		s.findings = append(s.findings, finding{
			class: "progress", patience: never, about: []string{string(live.GetUID())},
			reason: Reason{Object: ref, State: "pending", Reason: Progress{Object: ref, Ready: s.ready, Desired: s.desired}.String()},
		})
	}
	return s
}

// within is the grace of a workload's own sign.
func (f finding) within(grace Grace) time.Duration {
	switch f.class {
	case "stalled":
		return grace.Stalled
	case "create":
		return grace.Create
	case "unschedulable":
		return grace.Unschedulable
	default:
		return f.patience
	}
}

const goneFor = 5 * time.Second // a watch may show a replaced object a moment late

func missing(ref manifest.Ref) *state {
	return &state{desired: 1, findings: []finding{{
		class: "missing", patience: goneFor,
		reason: Reason{
			Object: ref, State: "missing", Reason: "Deleted",
			Message: "somebody deleted or replaced it while it was being rolled out",
		},
	}}}
}
