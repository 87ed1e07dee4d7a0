package health

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/slipway-build/slipway/deploy/manifest"
)

// working makes a scene one whose pod is ready.
func working(now view) view {
	now.pods[0].Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	status := &now.deployments["web"].Status
	status.UpdatedReplicas, status.Replicas, status.AvailableReplicas = 1, 1, 1
	return now
}

// ended is a container that runs again after its last run ended so.
func ended(reason string, restarts int32) corev1.ContainerStatus {
	status := runs(restarts)
	status.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Reason: reason, ExitCode: 137}
	return status
}

// disrupted makes the pod of a scene one that the cluster ends.
func disrupted(now view, reason string, phase corev1.PodPhase) view {
	pod := now.pods[0]
	pod.Status.Phase, pod.Status.Reason = phase, "Evicted"
	pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reason})
	return now
}

func TestWhatIsObserved(t *testing.T) {
	type later struct {
		second int
		now    view
	}
	gone := scene(runs(0), "2")
	gone.deployments = nil
	for name, test := range map[string]struct {
		first view
		then  []later
		fatal string // reason at the last moment; empty: none
	}{
		"nothing happens":                {working(scene(runs(0), "2")), []later{{500, working(scene(runs(0), "2"))}}, ""},
		"restarts from before":           {working(scene(ended("Error", 7), "2")), []later{{500, working(scene(ended("Error", 7), "2"))}}, ""},
		"a restart that was quick":       {working(scene(runs(0), "2")), []later{{1, working(scene(ended("Error", 1), "2"))}}, "Error"},
		"out of memory":                  {working(scene(ended("Error", 7), "2")), []later{{1, scene(ended("OOMKilled", 8), "2")}}, "OOMKilled"},
		"a crash":                        {working(scene(runs(0), "2")), []later{{1, scene(exited(1), "2")}}, "Error"},
		"a crash that backs off":         {working(scene(runs(0), "2")), []later{{1, scene(waits("CrashLoopBackOff", 1), "2")}}, "CrashLoopBackOff"},
		"one crashes as it begins":       {scene(waits("CrashLoopBackOff", 1), "2"), nil, "CrashLoopBackOff"},
		"not ready for a moment":         {working(scene(runs(0), "2")), []later{{10, scene(runs(0), "2")}, {39, working(scene(runs(0), "2"))}, {60, scene(runs(0), "2")}}, ""},
		"restarted once, and not ready":  {working(scene(runs(1), "2")), []later{{10, scene(runs(1), "2")}}, ""},
		"not ready for longer":           {working(scene(runs(0), "2")), []later{{10, scene(runs(0), "2")}, {40, scene(runs(0), "2")}}, "NotReady"},
		"it is gone":                     {working(scene(runs(0), "2")), []later{{1, gone}, {6, gone}}, "Deleted"},
		"evicted for what it takes":      {working(scene(runs(0), "2")), []later{{1, disrupted(working(scene(runs(0), "2")), corev1.PodReasonTerminationByKubelet, corev1.PodFailed)}}, "Evicted"},
		"it had been evicted":            {disrupted(working(scene(runs(0), "2")), corev1.PodReasonTerminationByKubelet, corev1.PodFailed), nil, ""},
		"it gives way to another":        {working(scene(runs(0), "2")), []later{{1, disrupted(scene(exited(137), "2"), corev1.PodReasonPreemptionByScheduler, corev1.PodRunning)}}, ""},
		"it gives way, and none follows": {working(scene(runs(0), "2")), []later{{1, disrupted(scene(exited(137), "2"), "EvictionByEvictionAPI", corev1.PodRunning)}, {32, disrupted(scene(exited(137), "2"), "EvictionByEvictionAPI", corev1.PodRunning)}}, "Error"},
	} {
		t.Run(name, func(t *testing.T) {
			seen, before := memory{since: map[string]time.Time{}}, restartsOf(test.first.pods)
			var v verdict
			moments := append([]later{{0, test.first}}, test.then...)
			for i, m := range moments {
				v = judge(web(), &seen, time.Unix(int64(1000+m.second), 0), func(ref manifest.Ref) *state {
					return m.now.oversee(ref, Grace{}.withDefaults(), before)
				})
				if last := i == len(moments)-1; len(v.fatal) > 0 && !last {
					t.Fatalf("given up too early, at second %d: %s", m.second, v.fatal[0].reason)
				}
			}
			got := ""
			if len(v.fatal) > 0 {
				got = v.fatal[0].reason.Reason
			}
			if got != test.fatal || len(v.fatal) > 1 {
				t.Errorf("got %q of %d, want %q", got, len(v.fatal), test.fatal)
			}
		})
	}
}
