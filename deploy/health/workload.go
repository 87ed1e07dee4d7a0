package health

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	revisionAnnotation   = "deployment.kubernetes.io/revision"
	generationAnnotation = "deprecated.daemonset.template.generation"
	generationLabel      = "pod-template-generation"
)

func replicas(n *int32) int {
	if n == nil {
		return 1
	}
	return int(*n)
}

func (now view) deployment(d *appsv1.Deployment, s *state) {
	s.desired = replicas(d.Spec.Replicas)
	if d.Status.ObservedGeneration < d.Generation {
		return
	}
	for _, set := range now.replicaSets {
		if metav1.IsControlledBy(set, d) && set.Annotations[revisionAnnotation] == d.Annotations[revisionAnnotation] {
			s.pods = append(s.pods, now.controlled(set)...)
		}
	}
	s.ready = countReady(s.pods)
	s.done = int(d.Status.UpdatedReplicas) == s.desired && int(d.Status.Replicas) == s.desired &&
		int(d.Status.AvailableReplicas) == s.desired
	if d.Spec.Paused && !s.done {
		s.add("paused", 0, "Paused", "spec.paused stops the rollout; remove it from the manifest")
	}
	for _, c := range d.Status.Conditions {
		switch {
		case c.Type == appsv1.DeploymentProgressing && c.Reason == "ProgressDeadlineExceeded":
			s.add("stalled", never, c.Reason, c.Message)
		case c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue:
			s.add("create", never, c.Reason, c.Message)
		}
	}
}

func (now view) statefulSet(set *appsv1.StatefulSet, s *state) {
	s.desired = replicas(set.Spec.Replicas)
	if set.Status.ObservedGeneration < set.Generation {
		return
	}
	byHand := set.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType
	for _, pod := range now.controlled(set) {
		if byHand || pod.Labels[appsv1.StatefulSetRevisionLabel] == set.Status.UpdateRevision {
			s.pods = append(s.pods, pod)
		}
	}
	s.ready = countReady(s.pods)
	if len(s.pods) < s.desired && !byHand {
		s.blockers(now.controlled(set))
	}
	updated := s.desired
	if rolling := set.Spec.UpdateStrategy.RollingUpdate; rolling != nil && rolling.Partition != nil {
		updated = max(0, s.desired-int(*rolling.Partition))
	}
	s.done = int(set.Status.ReadyReplicas) == s.desired && int(set.Status.Replicas) == s.desired &&
		(byHand || int(set.Status.UpdatedReplicas) >= updated)
}

func (now view) daemonSet(set *appsv1.DaemonSet, s *state) {
	s.desired = int(set.Status.DesiredNumberScheduled)
	if set.Status.ObservedGeneration < set.Generation {
		s.desired = max(s.desired, 1)
		return
	}
	byHand := set.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType
	generation := set.Annotations[generationAnnotation]
	for _, pod := range now.controlled(set) {
		if byHand || generation == "" || pod.Labels[generationLabel] == generation {
			s.pods = append(s.pods, pod)
		}
	}
	s.ready = countReady(s.pods)
	s.done = int(set.Status.NumberAvailable) == s.desired && (byHand || int(set.Status.UpdatedNumberScheduled) == s.desired)
}

func (now view) replicaSet(set *appsv1.ReplicaSet, s *state) {
	s.desired = replicas(set.Spec.Replicas)
	if set.Status.ObservedGeneration < set.Generation {
		return
	}
	s.pods = now.controlled(set)
	s.ready = countReady(s.pods)
	s.done = int(set.Status.AvailableReplicas) == s.desired && int(set.Status.Replicas) == s.desired
	for _, c := range set.Status.Conditions {
		if c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue {
			s.add("create", never, c.Reason, c.Message)
		}
	}
}

func (now view) job(job *batchv1.Job, s *state) {
	s.desired, s.ready = replicas(job.Spec.Completions), int(job.Status.Succeeded)
	s.pods = now.controlled(job)
	if job.Spec.Suspend != nil && *job.Spec.Suspend {
		s.done = true
		return
	}
	for _, c := range job.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete, batchv1.JobSuccessCriteriaMet:
			s.done = true
		case batchv1.JobFailed, batchv1.JobFailureTarget:
			s.add("failed", 0, "JobFailed", c.Reason+": "+c.Message)
		case batchv1.JobSuspended: // looked at above, by the wish and not by what has come of it
		}
	}
}

// blockers are broken pods of an earlier revision: pods are replaced in order, and never past one that is not ready.
func (s *state) blockers(pods []*corev1.Pod) {
	for _, pod := range pods {
		if podReady(pod) || pod.DeletionTimestamp != nil || slices.Contains(s.pods, pod) {
			continue
		}
		s.findings = append(s.findings, finding{
			class: "waiting", patience: never, pod: pod, about: []string{string(pod.UID)},
			reason: Reason{
				Pod: pod.Name, State: "waiting", Reason: "NotReplaced",
				Message: "a pod of an earlier revision is not ready, and Kubernetes does not replace it before it is; delete it",
			},
		})
	}
}

// add notes a sign of the workload itself; patience never is replaced by the class's grace.
func (s *state) add(class string, patience time.Duration, reason, message string) {
	s.findings = append(s.findings, finding{
		class: class, patience: patience,
		reason: Reason{State: "failed", Reason: reason, Message: message},
	})
}

// controlled lists the pods that owner made.
func (now view) controlled(owner metav1.Object) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, pod := range now.pods {
		if metav1.IsControlledBy(pod, owner) {
			pods = append(pods, pod)
		}
	}
	return pods
}

func countReady(pods []*corev1.Pod) int {
	n := 0
	for _, pod := range pods {
		if podReady(pod) && pod.DeletionTimestamp == nil {
			n++
		}
	}
	return n
}
