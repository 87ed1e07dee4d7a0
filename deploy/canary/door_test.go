package canary

import (
	"context"
	"errors"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/manifest"
	"github.com/slipway-build/slipway/deploy/rolling"
	"github.com/slipway-build/slipway/internal/kubetest"
)

func copyOf(name string, ports ...corev1.ContainerPort) *appsv1.Deployment {
	pods := map[string]string{"app": name, LabelTrack: Track}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name + suffix},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: pods}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Ports: ports}}},
			},
		},
	}
}

// original is what a copy is of.
func original(name string) string {
	return "---\n{apiVersion: apps/v1, kind: Deployment, metadata: {name: " + name + "}, spec: {template: {metadata: {labels: {app: " + name + "}}}}}\n"
}

// TestTheDoorIsWhereTheServiceLeads: people give the port of the Service or of the container, and one who only works beside is not asked.
func TestTheDoorIsWhereTheServiceLeads(t *testing.T) {
	service := func(name, selector, target string) string {
		return "---\n{apiVersion: v1, kind: Service, metadata: {name: " + name + "}, spec: {selector: {app: " + selector + "}, ports: [{port: 80, targetPort: " + target + "}]}}\n"
	}
	web := corev1.ContainerPort{Name: "web", ContainerPort: 8080}
	for name, c := range map[string]struct {
		services string
		want     int32
		door     door
	}{
		"its port":                  {service("api", "api", "8080"), 80, door{"app=api", 8080}},
		"the container's port":      {service("api", "api", "8080"), 8080, door{"app=api", 8080}},
		"the first port":            {service("api", "api", "8080"), 0, door{"app=api", 8080}},
		"by name":                   {service("api", "api", "web"), 80, door{"app=api", 8080}},
		"no targetPort":             {service("api", "api", "null"), 80, door{"app=api", 80}},
		"of its name before others": {service("a", "a", "1") + service("api", "api", "2") + service("z", "a", "3"), 80, door{"app=api", 2}},
		"of another name":           {service("other", "api", "8080"), 80, door{"app=api", 8080}},
		"of pods without a copy":    {service("api", "db", "5432"), 0, door{"app=api", 8080}},
		"no Service":                {"", 8080, door{"app=api", 8080}},
		"no Service, and no port":   {"", 0, door{"app=api", 8080}},
		"a port nobody declares":    {"", 9, door{"app=a", 9}},
	} {
		t.Run(name, func(t *testing.T) {
			objs, refused := manifest.Parse([]byte(original("a") + original("api") + c.services))
			if len(refused) > 0 {
				t.Fatal(refused)
			}
			got := doorOf(objs, map[string]*appsv1.Deployment{"a": copyOf("a"), "api": copyOf("api", web)}, "api", c.want)
			if got != c.door {
				t.Errorf("got %v, want %v", got, c.door)
			}
		})
	}
	if got := doorOf(nil, map[string]*appsv1.Deployment{"a": copyOf("a")}, "api", 0); got.port != 0 {
		t.Errorf("a door where nobody listens: %v", got)
	}
}

// TestABadAnswerEndsTheAnalysis: of a pod on a node that is not simulated, behind which the API server finds nobody.
func TestABadAnswerEndsTheAnalysis(t *testing.T) {
	c, err := cluster.Open(cluster.Spec{Name: "test", Kubeconfig: kubetest.Kubeconfig(t), QPS: 500, Burst: 500})
	if err != nil {
		t.Fatal(err)
	}
	ns, client := kubetest.NewNamespace(t), kubetest.Client(t)
	if _, err := client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.CoreV1().Nodes().Delete(context.Background(), ns, metav1.DeleteOptions{}) })
	a := &analysis{target: target{Target: apply.Target{Service: "api", Namespace: ns}, cluster: c, check: rolling.Check{Path: "/healthz"}}}
	at := door{"app=api", 8080}
	over := make(chan struct{})
	close(over)
	if err := a.keepAsking(t.Context(), at, over); err != nil || a.result.Verdict != "" {
		t.Errorf("without pods: %v, %q", err, a.result.Verdict)
	}
	pod, err := client.CoreV1().Pods(ns).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "candidate", Labels: map[string]string{"app": "api"}},
		Spec:       corev1.PodSpec{NodeName: ns, Containers: []corev1.Container{{Name: "c", Image: "example.com/api:1"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod.Status.Phase, pod.Status.PodIP, pod.Status.PodIPs = corev1.PodRunning, "10.0.0.1", []corev1.PodIP{{IP: "10.0.0.1"}}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	if _, err := client.CoreV1().Pods(ns).UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := a.keepAsking(t.Context(), at, make(chan struct{})); !errors.Is(err, errNo) || a.result.Verdict != rolling.Unanswered {
		t.Fatalf("%v: %q", err, a.result.Verdict)
	}
	if a.result.HTTP.Via != "pods/candidate:8080" || a.result.HTTP.Status < 400 {
		t.Errorf("%+v", a.result.HTTP)
	}
}

// TestOnlyTheCandidatesPodsAreAsked: nothing listens behind simulated pods, and the API server says so of the pod that it was asked for.
func TestOnlyTheCandidatesPodsAreAsked(t *testing.T) {
	c, err := cluster.Open(cluster.Spec{Name: "test", Kubeconfig: kubetest.Kubeconfig(t), QPS: 500, Burst: 500})
	if err != nil {
		t.Fatal(err)
	}
	ns, client := kubetest.NewNamespace(t), kubetest.Client(t)
	for _, name := range []string{"serves", "candidate"} {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "api"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/api:1"}}},
		}
		if name == "candidate" {
			pod.Labels[LabelTrack] = Track
		}
		if _, err := client.CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	target := &target{Target: apply.Target{Service: "api", Namespace: ns}, cluster: c, check: rolling.Check{Path: "/healthz"}}
	at := door{LabelTrack + "=" + Track, 8080}
	kubetest.Eventually(t, "the candidate's pod", func() bool {
		pods, err := target.pods(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		return len(pods) == 1 && pods[0].Name == "candidate"
	})
	report, err := target.ask(t.Context(), at, time.Second)
	if err != nil || report.OK || report.Via != "pods/candidate:8080" {
		t.Errorf("%v: %+v", err, report)
	}
	for _, nobody := range []door{{}, {"app=nobody", 8080}} {
		if report, err = target.ask(t.Context(), nobody, time.Second); err != nil || report.OK {
			t.Errorf("%v: %v: %+v", nobody, err, report)
		}
	}
}
