package health

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// PodTimes is when a pod of the release reached each phase; a zero time means not yet. What was seen happening carries this
// process's clock, what lay before it the cluster's whole seconds.
type PodTimes struct {
	Name, Node                                 string
	Created, Scheduled, Pulled, Started, Ready time.Time // Pulled: nobody says it of a simulated node
}

type timeline struct {
	mu     sync.Mutex
	pods   map[types.UID]*PodTimes
	pulled map[types.UID]time.Time // apart: an event may be seen before its pod
}

func newTimeline() *timeline {
	return &timeline{pods: map[types.UID]*PodTimes{}, pulled: map[types.UID]time.Time{}}
}

func (t *timeline) observe(pod *corev1.Pod, initial bool, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	times, known := t.pods[pod.UID]
	if !known {
		times = &PodTimes{Name: pod.Name}
		t.pods[pod.UID] = times
		mark(&times.Created, pod.CreationTimestamp.Time, initial, at)
	}
	if pod.Spec.NodeName != "" {
		times.Node = pod.Spec.NodeName
		scheduled := pod.CreationTimestamp.Time
		if c := condition(pod, corev1.PodScheduled); c != nil {
			scheduled = c.LastTransitionTime.Time
		}
		mark(&times.Scheduled, scheduled, initial, at)
	}
	if began, all := containersStarted(pod); all {
		mark(&times.Started, began, initial, at)
	}
	if c := condition(pod, corev1.PodReady); podReady(pod) {
		mark(&times.Ready, c.LastTransitionTime.Time, initial, at)
	}
}

// pull notes that the kubelet has an image of a pod. The last image before the containers started counts: one that started again
// asks for its image again.
func (t *timeline) pull(event *corev1.Event, initial bool, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	pod := event.InvolvedObject.UID
	if times := t.pods[pod]; times != nil && !times.Started.IsZero() && !t.pulled[pod].IsZero() {
		return
	}
	if initial {
		at = when(event)
	}
	if at.After(t.pulled[pod]) {
		t.pulled[pod] = at
	}
}

// mark keeps the first time. Before the watch began only the cluster knows.
func mark(into *time.Time, reported time.Time, initial bool, seen time.Time) {
	if !into.IsZero() {
		return
	}
	*into = seen
	if initial && !reported.IsZero() {
		*into = reported
	}
}

// containersStarted returns when the last container started, if all have.
func containersStarted(pod *corev1.Pod) (last time.Time, all bool) {
	for i := range pod.Status.ContainerStatuses {
		running := pod.Status.ContainerStatuses[i].State.Running
		if running == nil {
			return time.Time{}, false
		}
		if running.StartedAt.After(last) {
			last = running.StartedAt.Time
		}
	}
	return last, len(pod.Status.ContainerStatuses) > 0
}

func (t *timeline) all(pods []*corev1.Pod) []PodTimes {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []PodTimes
	for _, pod := range pods {
		if times, ok := t.pods[pod.UID]; ok {
			all := *times
			all.Pulled = t.pulled[pod.UID]
			if !all.Started.IsZero() && all.Pulled.After(all.Started) { // events come after what they tell
				all.Pulled = all.Started
			}
			out = append(out, all)
		}
	}
	return out
}
