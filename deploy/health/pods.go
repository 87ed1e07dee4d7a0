package health

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-build/slipway/deploy/manifest"
)

func condition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

func podReady(pod *corev1.Pod) bool {
	c := condition(pod, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

func (now view) plainPod(ref manifest.Ref, grace Grace) *state {
	for _, pod := range now.pods {
		if pod.Name != ref.Name || ref.UID != "" && pod.UID != ref.UID {
			continue
		}
		s := &state{desired: 1, pods: []*corev1.Pod{pod}}
		s.done = podReady(pod) || pod.Status.Phase == corev1.PodSucceeded
		if s.done {
			s.ready = 1
			return s
		}
		s.findings = podFindings(ref, pod, now.events, grace)
		if pod.Status.Phase == corev1.PodFailed {
			for i := range s.findings {
				s.findings[i].patience = 0
			}
		}
		return s
	}
	return missing(ref)
}

// podFindings are the signs of a pod that is not ready: at least one, so that a deadline can always name what was missing.
func podFindings(ref manifest.Ref, pod *corev1.Pod, events []*corev1.Event, grace Grace) []finding {
	base := finding{pod: pod, about: []string{string(pod.UID)}, patience: never, class: "waiting"}
	base.reason = Reason{Object: ref, Pod: pod.Name, State: strings.ToLower(string(pod.Status.Phase))}
	if pod.Status.Phase == corev1.PodFailed && len(pod.Status.ContainerStatuses) == 0 {
		base.reason.Reason, base.reason.Message = orElse(pod.Status.Reason, "Failed"), pod.Status.Message
		return []finding{base}
	}
	if c := condition(pod, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionFalse {
		base.reason.Reason, base.reason.Message = orElse(c.Reason, "Unschedulable"), c.Message
		if c.Reason == corev1.PodReasonUnschedulable {
			base.class, base.patience = "unschedulable", grace.Unschedulable
		}
		return []finding{base}
	}
	var found []finding
	for i := range pod.Status.InitContainerStatuses {
		found = append(found, containerFinding(base, &pod.Status.InitContainerStatuses[i], true, grace)...)
	}
	for i := range pod.Status.ContainerStatuses {
		found = append(found, containerFinding(base, &pod.Status.ContainerStatuses[i], false, grace)...)
	}
	if event := latest(events, string(pod.UID)); event != nil && event.Reason == "FailedMount" &&
		strings.Contains(event.Message, "not found") && !started(pod) {
		base.class, base.patience = "mount", grace.Config
		base.reason.Reason, base.reason.Message = event.Reason, event.Message
		return []finding{base}
	}
	if ref.Kind == "Job" { // a Job counts its own failures
		for i := range found {
			if found[i].class == "crash" {
				found[i].patience = never
			}
		}
	}
	if len(found) == 0 {
		base.reason.Reason, base.reason.Message = notReady(pod)
		found = append(found, base)
	}
	return found
}

func notReady(pod *corev1.Pod) (reason, message string) {
	if c := condition(pod, corev1.PodReady); c != nil && c.Status == corev1.ConditionFalse {
		return orElse(c.Reason, "NotReady"), c.Message
	}
	return "NotReady", "phase " + string(pod.Status.Phase)
}

func containerFinding(base finding, status *corev1.ContainerStatus, initial bool, grace Grace) []finding {
	f := base
	f.reason.Container, f.reason.Restarts = status.Name, status.RestartCount
	if last := status.LastTerminationState.Terminated; last != nil {
		f.reason.ExitCode = &last.ExitCode
	}
	switch {
	case status.State.Waiting != nil:
		return waiting(f, status, grace)
	case status.State.Terminated != nil:
		t := status.State.Terminated
		if initial && t.ExitCode == 0 {
			return nil
		}
		f.class, f.patience, f.reason.State = "crash", grace.CrashLoop, "terminated"
		f.reason.Reason, f.reason.Message, f.reason.ExitCode = orElse(t.Reason, "Terminated"), t.Message, &t.ExitCode
	case status.State.Running != nil && !status.Ready:
		if initial && status.Started != nil && *status.Started {
			return nil // a sidecar that runs
		}
		f.reason.State, f.reason.Reason = "running", "NotReady"
		f.reason.Message = "the container runs but is not ready; its readiness probe does not pass"
		if initial {
			f.reason.Reason, f.reason.Message = "Initializing", "the init container has not ended"
		}
		if status.RestartCount > 0 {
			f.class = "crash" // remembered, but a container that runs may still become ready
		}
	default:
		return nil
	}
	return []finding{f}
}

func waiting(f finding, status *corev1.ContainerStatus, grace Grace) []finding {
	w := status.State.Waiting
	f.reason.State, f.reason.Reason, f.reason.Message = "waiting", w.Reason, w.Message
	switch w.Reason {
	case "InvalidImageName", "ErrImageNeverPull":
		f.class, f.patience = "image", 0
	case "ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed":
		f.class, f.patience = "image", grace.ImagePull
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PostStartHookError":
		f.class, f.patience = "config", grace.Config
	case "CrashLoopBackOff":
		f.class, f.patience = "crash", grace.CrashLoop
		if status.RestartCount >= grace.Restarts {
			f.patience = 0
		}
	case "PodInitializing":
		return nil // the init containers tell
	default:
		f.reason.Reason = orElse(w.Reason, "Waiting")
	}
	return []finding{f}
}

func started(pod *corev1.Pod) bool {
	for i := range pod.Status.ContainerStatuses {
		if pod.Status.ContainerStatuses[i].State.Waiting == nil {
			return true
		}
	}
	return false
}

// latest is the newest warning about an object.
func latest(events []*corev1.Event, uid string) *corev1.Event {
	var newest *corev1.Event
	for _, event := range events {
		if string(event.InvolvedObject.UID) == uid && (newest == nil || when(event).After(when(newest))) {
			newest = event
		}
	}
	return newest
}

func when(event *corev1.Event) time.Time {
	for _, at := range []metav1.Time{event.LastTimestamp, {Time: event.EventTime.Time}, event.FirstTimestamp} {
		if !at.IsZero() {
			return at.Time
		}
	}
	return event.CreationTimestamp.Time
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
