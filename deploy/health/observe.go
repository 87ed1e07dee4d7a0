package health

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/manifest"
	"github.com/slipway-build/slipway/internal/failpoint"
)

// Observe watches objects that work for the Timeout of the request. It returns early, with reasons, when a container of theirs
// ended or began anew, or when something else is wrong for longer than its grace; of what is not ready that is Grace.Unready. What
// is wrong as the time ends gets its grace all the same.
//
// Restarts from before do not count. Pods that the cluster takes away to make room for others, or with their node, may be replaced.
// The error is Wait's.
func Observe(ctx context.Context, c *cluster.Cluster, req Request) (Report, error) {
	return look(ctx, c, req, (*watch).observe)
}

func (w *watch) observe(ctx context.Context) (Report, error) {
	deadline := time.NewTimer(w.req.Timeout)
	defer deadline.Stop()
	memory := memory{since: map[string]time.Time{}}
	grace := w.req.Grace.withDefaults()
	before := restartsOf(w.view().pods)
	said := map[string]Progress{}
	for over := false; ; {
		now := w.view()
		v := judge(w.req.Objects, &memory, time.Now(), func(ref manifest.Ref) *state { return now.oversee(ref, grace, before) })
		w.tell(v.progress, said)
		if len(v.fatal) > 0 || over && v.healthy() {
			return w.report(ctx, v, v.conclusive(), false)
		}
		failpoint.Hit(failpoint.AnalyzeWatching)
		ended, err := w.next(ctx, v.recheck, deadline.C)
		if err != nil {
			return Report{}, err
		}
		over = over || ended
	}
}

// run is a container of a pod; without a name, the pod itself.
type run struct {
	pod       types.UID
	container string
}

func restartsOf(pods []*corev1.Pod) map[run]int32 {
	out := map[run]int32{}
	for _, pod := range pods {
		for _, status := range containersOf(pod) {
			out[run{pod.UID, status.Name}] = status.RestartCount
		}
		if pod.Status.Phase == corev1.PodFailed {
			out[run{pod: pod.UID}] = 1
		}
	}
	return out
}

func containersOf(pod *corev1.Pod) []corev1.ContainerStatus {
	return append(append([]corev1.ContainerStatus{}, pod.Status.InitContainerStatuses...), pod.Status.ContainerStatuses...)
}

// oversee is examine for an object that worked before: a crash counts at once, and nothing has all the time of a rollout.
func (now view) oversee(ref manifest.Ref, grace Grace, before map[run]int32) *state {
	s := now.examine(ref, grace)
	if s == nil {
		return nil
	}
	for i := range s.findings {
		switch f := &s.findings[i]; {
		case f.pod != nil && yields(f.pod), f.class == "crash" && f.reason.State == "running": // it had crashed some time
			f.class, f.patience = "waiting", grace.Unready
		case f.class == "crash":
			f.patience = 0
		case f.patience == never:
			f.patience = grace.Unready
		}
	}
	for _, pod := range s.pods {
		if !yields(pod) {
			s.ended(ref, pod, before)
		}
	}
	return s
}

// ended adds what of a pod ended since before, unless it is among the findings.
func (s *state) ended(ref manifest.Ref, pod *corev1.Pod, before map[run]int32) {
	if pod.Status.Phase == corev1.PodFailed && before[run{pod: pod.UID}] == 0 {
		f := finding{class: "failed", pod: pod, about: []string{string(pod.UID)}}
		f.reason = Reason{Object: ref, Pod: pod.Name, State: "failed", Reason: orElse(pod.Status.Reason, "Failed"), Message: pod.Status.Message}
		s.findings, s.done = append(s.findings, f), false
	}
	for _, status := range containersOf(pod) {
		if status.RestartCount <= before[run{pod.UID, status.Name}] {
			continue
		}
		s.done = false
		known := slices.ContainsFunc(s.findings, func(f finding) bool {
			return f.class == "crash" && f.pod == pod && f.reason.Container == status.Name
		})
		if !known {
			s.findings = append(s.findings, restarted(ref, pod, status))
		}
	}
}

// yields reports a pod that goes because the cluster wants its place, and not for what it did.
func yields(pod *corev1.Pod) bool {
	c := condition(pod, corev1.DisruptionTarget)
	return pod.DeletionTimestamp != nil || c != nil && c.Status == corev1.ConditionTrue && c.Reason != corev1.PodReasonTerminationByKubelet
}

func restarted(ref manifest.Ref, pod *corev1.Pod, status corev1.ContainerStatus) finding {
	f := finding{class: "restart", pod: pod, about: []string{string(pod.UID)}}
	// Waiting makes the log that of the run that ended.
	f.reason = Reason{Object: ref, Pod: pod.Name, Container: status.Name, State: "waiting", Reason: "Restarted", Restarts: status.RestartCount}
	if last := status.LastTerminationState.Terminated; last != nil {
		f.reason.Reason, f.reason.Message, f.reason.ExitCode = orElse(last.Reason, f.reason.Reason), last.Message, &last.ExitCode
	}
	if f.reason.Message == "" {
		f.reason.Message = "it ended and was started again while it was watched"
	}
	return f
}
