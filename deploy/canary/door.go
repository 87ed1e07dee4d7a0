package canary

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/slipway-build/slipway/deploy/health"
)

// maxAsked bounds how many pods are asked over HTTP at a time.
const maxAsked = 10

// door is which of the candidate's pods answer for the service, and on which port. Without a port nobody can be asked.
type door struct {
	pods string // label selector
	port int32
}

// doorOf finds it as people give it: by the port of the release's Service, the one of the Slipway service's name before others, or
// by the port of a container. A Service is the release's, and selects the originals.
func doorOf(objs []*unstructured.Unstructured, copies map[string]*appsv1.Deployment, service string, want int32) door {
	var found door
	pods := map[string]map[string]string{}
	for _, obj := range objs {
		if IsDeployment(obj) {
			pods[obj.GetName()] = templateLabels(obj)
		}
	}
	for _, s := range servicesOf(objs) {
		port, ok := health.ServicePort(s, want)
		if !ok || len(s.Spec.Selector) == 0 || found.port != 0 && s.Name != service {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(copies)) {
			if selects(s, pods[name]) {
				found = door{selectorOf(copies[name]), containerPort(port, copies[name].Spec.Template.Spec)}
				break
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(copies)) {
		for _, container := range copies[name].Spec.Template.Spec.Containers {
			for _, port := range container.Ports {
				if found.port == 0 && (want == 0 || want == port.ContainerPort) {
					found = door{selectorOf(copies[name]), port.ContainerPort}
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(copies)) { // a port that nobody declares may be listened on all the same
		if found.port == 0 && want != 0 {
			found = door{selectorOf(copies[name]), want}
		}
	}
	return found
}

func selectorOf(d *appsv1.Deployment) string { return metav1.FormatLabelSelector(d.Spec.Selector) }

func servicesOf(objs []*unstructured.Unstructured) []*corev1.Service {
	var out []*corev1.Service
	for _, obj := range objs {
		if !isService(obj) {
			continue
		}
		s := &corev1.Service{}
		if runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, s) == nil {
			out = append(out, s)
		}
	}
	return out
}

// containerPort is where a Service sends what comes in on a port of its own.
func containerPort(port corev1.ServicePort, pods corev1.PodSpec) int32 {
	for _, container := range pods.Containers {
		for _, p := range container.Ports {
			if port.TargetPort.StrVal != "" && p.Name == port.TargetPort.StrVal {
				return p.ContainerPort
			}
		}
	}
	if port.TargetPort.IntVal != 0 {
		return port.TargetPort.IntVal
	}
	return port.Port
}

// pods are the ready ones behind the door.
func (t *target) pods(ctx context.Context, d door) ([]*corev1.Pod, error) {
	list, err := t.cluster.Typed.CoreV1().Pods(t.Namespace).List(ctx, metav1.ListOptions{LabelSelector: d.pods})
	if err != nil {
		return nil, t.cluster.Explain("list the candidate's pods", err)
	}
	var out []*corev1.Pod
	for i := range list.Items {
		pod := &list.Items[i]
		ready := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
		if ready && pod.DeletionTimestamp == nil {
			out = append(out, pod)
		}
	}
	return out, nil
}

// ask asks the candidate's pods one after the other, each until it answers well or within is over; the first that does not is the
// answer.
func (t *target) ask(ctx context.Context, d door, within time.Duration) (health.HTTPReport, error) {
	if d.port == 0 {
		return health.HTTPReport{Status: http.StatusServiceUnavailable, Via: "the candidate's pods", Body: fmt.Sprintf(
			"no container and no Service of the release has port %d; correct health.port in slipway.yaml", t.check.Port)}, nil
	}
	pods, err := t.pods(ctx, d)
	if err != nil {
		return health.HTTPReport{}, err
	}
	report := health.HTTPReport{Status: http.StatusServiceUnavailable, Via: "the candidate's pods", Body: "none of them is ready"}
	for _, pod := range pods[:min(len(pods), maxAsked)] {
		report, err = health.CheckHTTP(ctx, t.cluster, health.HTTPRequest{
			Namespace: t.Namespace, Service: t.Service, Path: t.check.Path, Port: d.port, Pods: []string{pod.Name}, Timeout: within,
		})
		if err != nil || !report.OK {
			return report, err
		}
	}
	return report, nil
}
