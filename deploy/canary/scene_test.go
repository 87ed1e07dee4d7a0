package canary_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/canary"
	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/health"
	"github.com/slipway-build/slipway/deploy/revision"
	"github.com/slipway-build/slipway/deploy/rolling"
	"github.com/slipway-build/slipway/internal/kubetest"
)

func TestMain(m *testing.M) {
	if code, ok := deployer(); ok {
		os.Exit(code)
	}
	os.Exit(kubetest.Main(m))
}

// app is a release with configuration, whose pods behave as simulate says; empty: well.
func app(version, simulate string) string {
	annotations := "{}"
	if simulate != "" {
		annotations = "{slipway.dev/simulate: " + simulate + "}"
	}
	return fmt.Sprintf(`
{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {version: "%[2]s"}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  replicas: 4
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}, annotations: %[1]s}
    spec: {containers: [{name: server, image: "example.com/api:%[2]s", envFrom: [{configMapRef: {name: settings}}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: api}
spec: {selector: {app: api}, ports: [{port: 80, targetPort: 8080}]}
`, annotations, version)
}

type scene struct {
	t       *testing.T
	c       *cluster.Cluster
	ns      string
	counter uint64 // of the last fence
}

func setUp(t *testing.T) *scene {
	t.Helper()
	c, err := cluster.Open(cluster.Spec{Name: "test", Kubeconfig: kubetest.Kubeconfig(t), QPS: 500, Burst: 500, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return &scene{t: t, c: c, ns: kubetest.Namespace(t)}
}

func (s *scene) target() apply.Target {
	return apply.Target{Project: "shop", Service: "api", Environment: "dev", Namespace: s.ns}
}

func (s *scene) fence() apply.Fence {
	s.counter++
	return apply.Fence{Epoch: 1, Counter: s.counter}
}

func (s *scene) request(release, text string) apply.Request {
	return apply.Request{Target: s.target(), Manifests: []byte(text), Stamp: apply.Stamp{Fence: s.fence(), Release: release}}
}

func check() rolling.Check { return rolling.Check{Path: "/healthz", Port: 8080} }

// hasty settings keep the tests short: the rules are the same.
func hasty() rolling.Settings {
	return rolling.Settings{Timeout: 20 * time.Second, Patience: time.Second, Grace: health.Grace{
		ImagePull: time.Second, CrashLoop: time.Second, Config: time.Second,
		Unschedulable: time.Second, Create: time.Second, Stalled: time.Second, Unready: time.Second,
	}}
}

// good fails the test unless the work succeeded.
func (s *scene) good(result rolling.Result, err error) rolling.Result {
	s.t.Helper()
	if err != nil || result.Verdict != rolling.Healthy {
		s.t.Fatalf("%v: %s %s", err, result.Verdict, result.Explanation())
	}
	return result
}

func (s *scene) deploy(release, text string) rolling.Result {
	s.t.Helper()
	return s.good(canary.Finish(s.t.Context(), s.c, s.request(release, text), check(), hasty(), rolling.Listener{}))
}

func (s *scene) shift(release, text string, weight int) (rolling.Result, error) {
	s.t.Helper()
	return canary.Shift(s.t.Context(), s.c, s.request(release, text), canary.Part{Weight: weight}, check(), hasty(), rolling.Listener{})
}

func (s *scene) analyze(release, text string, pause time.Duration, judge canary.Judge) (rolling.Result, error) {
	s.t.Helper()
	return canary.Analyze(s.t.Context(), s.c, canary.Analysis{
		Target: s.target(), Manifests: []byte(text), Release: release, Fence: s.fence(), Pause: pause, Judge: judge,
	}, check(), hasty(), rolling.Listener{})
}

func (s *scene) rollback(candidate, stable, text string) rolling.Result {
	s.t.Helper()
	return s.good(rolling.Rollback(s.t.Context(), s.c, revision.Request{
		Target: s.target(), Candidate: candidate, Stable: &revision.Release{ID: stable, Manifests: []byte(text)}, Fence: s.fence(),
	}, check(), hasty(), rolling.Listener{}))
}

// owned are Slipway's objects, by kind and name, and the version of each.
func (s *scene) owned() map[string]string {
	s.t.Helper()
	live, err := apply.Owned(s.t.Context(), s.c, s.target())
	if err != nil {
		s.t.Fatal(err)
	}
	out := map[string]string{}
	for _, object := range live {
		out[object.Ref.String()] = object.Ref.Name + " " + string(object.Ref.UID)
		if object.Ref.Kind != "Deployment" { // whose version its status moves
			out[object.Ref.String()] += " " + object.ResourceVersion
		}
	}
	return out
}

// spec is what a Deployment was written to be: nothing but a write moves its generation and its managed fields.
func (s *scene) spec(name string) (replicas int32, written string) {
	s.t.Helper()
	d, err := kubetest.Client(s.t).AppsV1().Deployments(s.ns).Get(s.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, entry := range d.ManagedFields {
		if entry.Manager == apply.FieldManager {
			written += entry.Time.String()
		}
	}
	return *d.Spec.Replicas, fmt.Sprint(d.Generation, d.UID, d.Annotations[apply.AnnotationFence], d.Annotations[apply.AnnotationRelease], written)
}

// selected counts the pods behind the Service.
func (s *scene) selected() (all, candidates int) {
	s.t.Helper()
	pods, err := kubetest.Client(s.t).CoreV1().Pods(s.ns).List(s.t.Context(), metav1.ListOptions{LabelSelector: "app=api"})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, pod := range pods.Items {
		if pod.Labels[canary.LabelTrack] == canary.Track {
			candidates++
		}
	}
	return len(pods.Items), candidates
}

func (s *scene) configured(name string) string {
	s.t.Helper()
	c, err := kubetest.Client(s.t).CoreV1().ConfigMaps(s.ns).Get(s.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return c.Data["version"]
}
