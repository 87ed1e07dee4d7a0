package health

import (
	"context"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/manifest"
)

// Defaults of an HTTPRequest: endpoints and rules of a Service follow its pods by a moment.
const (
	DefaultHTTPTimeout = 30 * time.Second
	httpEvery          = 500 * time.Millisecond
)

// HTTPRequest asks the rolled-out service for a path.
type HTTPRequest struct {
	Namespace string
	Service   string         // the Slipway service; a Service of that name is preferred
	Path      string         // "/healthz"
	Port      int32          // of the Service or of the container; 0: the first one
	Objects   []manifest.Ref // of the release
	Pods      []string       // ready ones, asked when the release has no Service
	Timeout   time.Duration  // DefaultHTTPTimeout
}

// HTTPReport is the last answer.
type HTTPReport struct {
	OK     bool
	Status int
	Via    string // "services/api:80"
	Body   string // beginning of the answer
}

// Explanation of an answer that is not good.
func (r HTTPReport) Explanation(path string) string {
	return fmt.Sprintf("GET %s of %s answered %d: %s", path, r.Via, r.Status, r.Body)
}

// CheckHTTP asks until the answer is below 400 or the time is over. An error means that the farm could not tell.
func CheckHTTP(ctx context.Context, c *cluster.Cluster, req HTTPRequest) (HTTPReport, error) {
	resource, name, err := endpoint(ctx, c, req)
	if err != nil {
		return HTTPReport{}, err
	}
	if name == "" {
		return HTTPReport{Status: http.StatusServiceUnavailable, Via: "release", Body: fmt.Sprintf(
			"no Service and no ready pod to ask for port %d; correct health.port in slipway.yaml", req.Port)}, nil
	}
	if req.Timeout == 0 {
		req.Timeout = DefaultHTTPTimeout
	}
	deadline := time.NewTimer(req.Timeout)
	defer deadline.Stop()
	tick := time.NewTicker(httpEvery)
	defer tick.Stop()
	for {
		answer, err := c.Proxied(ctx, req.Namespace, resource, name, req.Path)
		if err != nil {
			return HTTPReport{}, err
		}
		report := HTTPReport{Status: answer.Status, Body: answer.Body, Via: resource + "/" + name}
		if report.OK = answer.Status < http.StatusBadRequest; report.OK {
			return report, nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return report, nil
		case <-ctx.Done():
			return HTTPReport{}, fmt.Errorf("get %s of %s: %w", req.Path, report.Via, context.Cause(ctx))
		}
	}
}

// endpoint picks the Service of the release that has the port, else a ready pod.
func endpoint(ctx context.Context, c *cluster.Cluster, req HTTPRequest) (resource, name string, err error) {
	for _, ref := range req.Objects {
		if ref.Group != "" || ref.Kind != "Service" {
			continue
		}
		service, err := c.Typed.CoreV1().Services(req.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if err != nil {
			return "", "", c.Explain("read "+ref.String(), err)
		}
		port, ok := ServicePort(service, req.Port)
		if ok && (name == "" || ref.Name == req.Service) {
			resource, name = "services", fmt.Sprintf("%s:%d", ref.Name, port.Port)
		}
	}
	if name == "" && len(req.Pods) > 0 && req.Port > 0 {
		return "pods", fmt.Sprintf("%s:%d", req.Pods[0], req.Port), nil
	}
	return resource, name, nil
}

// ServicePort finds the port of a Service for a number that people give either as the Service's or as the container's; 0: the first.
func ServicePort(service *corev1.Service, want int32) (corev1.ServicePort, bool) {
	for _, port := range service.Spec.Ports {
		if want == 0 || port.Port == want {
			return port, true
		}
	}
	for _, port := range service.Spec.Ports {
		if port.TargetPort.IntVal == want {
			return port, true
		}
	}
	return corev1.ServicePort{}, false
}
