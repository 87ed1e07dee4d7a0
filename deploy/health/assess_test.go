package health

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/slipway-build/slipway/deploy/manifest"
)

func waits(reason string, restarts int32) corev1.ContainerStatus {
	return corev1.ContainerStatus{
		Name: "c", RestartCount: restarts,
		State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}},
	}
}

func runs(restarts int32) corev1.ContainerStatus {
	return corev1.ContainerStatus{
		Name: "c", RestartCount: restarts, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
	}
}

func exited(code int32) corev1.ContainerStatus {
	return corev1.ContainerStatus{
		Name: "c", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: "Error"}},
	}
}

func controlledBy(uid types.UID, controller *bool) []metav1.OwnerReference {
	return []metav1.OwnerReference{{UID: uid, Controller: controller}}
}

// scene is a deployment of one pod, of the revision given, that is not ready.
func scene(status corev1.ContainerStatus, podRevision string) view {
	yes, one := true, int32(1)
	revision := func(n string) map[string]string { return map[string]string{revisionAnnotation: n} }
	set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
		Name: "set", UID: "set", Annotations: revision(podRevision), OwnerReferences: controlledBy("web", &yes),
	}}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-1", UID: "pod", OwnerReferences: controlledBy("set", &yes)},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{status}},
	}
	return view{
		deployments: map[string]*appsv1.Deployment{"web": {
			ObjectMeta: metav1.ObjectMeta{Name: "web", UID: "web", Annotations: revision("2")}, Spec: appsv1.DeploymentSpec{Replicas: &one},
		}},
		replicaSets: map[string]*appsv1.ReplicaSet{"set": set},
		pods:        []*corev1.Pod{pod},
	}
}

func web() []manifest.Ref {
	return []manifest.Ref{{GroupVersionKind: schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, Name: "web", UID: "web"}}
}

// moment is the state of the container at a second of the story.
type moment struct {
	second int
	status corev1.ContainerStatus
}

func TestGrace(t *testing.T) {
	tests := []struct {
		name    string
		moments []moment
		fatal   string // reason at the last moment; empty: still waiting
	}{
		{"bad image name", []moment{{0, waits("InvalidImageName", 0)}}, "InvalidImageName"},
		{"a registry hiccup", []moment{{0, waits("ErrImagePull", 0)}, {12, waits("ImagePullBackOff", 0)}}, ""},
		{"a registry without the image", []moment{{0, waits("ErrImagePull", 0)}, {21, waits("ImagePullBackOff", 0)}}, "ImagePullBackOff"},
		{"pull, start, crash once", []moment{{0, waits("ErrImagePull", 0)}, {15, runs(0)}, {40, exited(1)}}, ""},
		{"one crash", []moment{{0, exited(1)}, {1, runs(1)}, {300, runs(1)}}, ""},
		{"the third restart", []moment{{0, exited(1)}, {1, runs(1)}, {15, waits("CrashLoopBackOff", 3)}}, "CrashLoopBackOff"},
		{"slow crashes", []moment{{0, exited(1)}, {1, runs(1)}, {31, waits("CrashLoopBackOff", 2)}}, "CrashLoopBackOff"},
		{"a secret that comes late", []moment{{0, waits("CreateContainerConfigError", 0)}, {15, runs(0)}}, ""},
		{"a secret that never comes", []moment{{0, waits("CreateContainerConfigError", 0)}, {20, waits("CreateContainerConfigError", 0)}}, "CreateContainerConfigError"},
		{"a slow start", []moment{{0, waits("ContainerCreating", 0)}, {500, runs(0)}}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			seen := memory{since: map[string]time.Time{}}
			var v verdict
			for i, m := range test.moments {
				v = assess(scene(m.status, "2"), web(), Grace{}.withDefaults(), &seen, time.Unix(int64(1000+m.second), 0))
				if last := i == len(test.moments)-1; len(v.fatal) > 0 && !last {
					t.Fatalf("given up too early, at second %d: %s", m.second, v.fatal[0].reason)
				}
			}
			got := ""
			if len(v.fatal) > 0 {
				got = v.fatal[0].reason.Reason
			}
			if got != test.fatal {
				t.Errorf("got %q, want %q", got, test.fatal)
			}
			if got == "" && len(v.pending) == 0 {
				t.Error("nothing could be told at a deadline")
			}
		})
	}
}

func TestPodsOfTheOldRevisionDoNotCount(t *testing.T) {
	seen := memory{since: map[string]time.Time{}}
	v := assess(scene(waits("CrashLoopBackOff", 9), "1"), web(), Grace{}.withDefaults(), &seen, time.Unix(1000, 0))
	if len(v.fatal) > 0 || len(v.pods) > 0 || v.healthy() {
		t.Errorf("fatal %v, %d pods, healthy %v", v.fatal, len(v.pods), v.healthy())
	}
}

// TestATimedOutDeploymentNamesItsPods: the pods are why.
func TestATimedOutDeploymentNamesItsPods(t *testing.T) {
	seen := memory{since: map[string]time.Time{}}
	other := web()[0]
	other.Name = "other"
	pod := finding{class: "waiting", patience: never, reason: Reason{Object: web()[0], Pod: "web-1", Container: "c", Reason: "NotReady"}}
	v := verdict{recheck: idle}
	v.place(finding{class: "stalled", reason: Reason{Object: web()[0], Reason: "ProgressDeadlineExceeded"}}, &seen, time.Unix(1000, 0))
	v.place(pod, &seen, time.Unix(1000, 0))
	v.place(finding{class: "waiting", patience: never, reason: Reason{Object: other, Pod: "other", Reason: "NotReady"}}, &seen, time.Unix(1000, 0))
	told := v.conclusive()
	if len(told) != 2 || told[0].reason.Reason != "ProgressDeadlineExceeded" || told[1].reason.Pod != "web-1" {
		t.Errorf("%+v", told)
	}
}

func TestReasonSaysEverything(t *testing.T) {
	code := int32(3)
	text := Reason{
		Object: web()[0], Pod: "web-1", Also: 2, Container: "c", Reason: "CrashLoopBackOff", ExitCode: &code, Restarts: 4,
		Message: "back-off 40s", Event: "BackOff: restarting failed container", Logs: []string{"no database", "bye"},
	}.String()
	for _, part := range []string{
		"Deployment/web", "pod web-1 (and 2 more)", "container c", "CrashLoopBackOff", "exit code 3", "4 restarts",
		"event BackOff: restarting", "  | no database\n  | bye",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("%q lacks %q", text, part)
		}
	}
}

func TestServicePort(t *testing.T) {
	service := &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	service.Spec.Ports[0].TargetPort.IntVal = 8080
	for want, found := range map[int32]bool{0: true, 80: true, 8080: true, 9: false} {
		if port, ok := ServicePort(service, want); ok != found || ok && port.Port != 80 {
			t.Errorf("port %d: got %d, %v", want, port.Port, ok)
		}
	}
}
