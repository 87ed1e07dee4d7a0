package rolling_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/health"
	"github.com/slipway-build/slipway/deploy/revision"
	"github.com/slipway-build/slipway/deploy/rolling"
	"github.com/slipway-build/slipway/internal/kubetest"
)

func TestMain(m *testing.M) { os.Exit(kubetest.Main(m)) }

// app is a release whose pods behave as simulate says; empty: well.
func app(version, simulate string) string {
	annotations := "{}"
	if simulate != "" {
		annotations = "{slipway.dev/simulate: " + simulate + "}"
	}
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  replicas: 2
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}, annotations: %s}
    spec: {containers: [{name: server, image: "example.com/api:%s"}]}
---
apiVersion: v1
kind: Service
metadata: {name: api}
spec: {selector: {app: api}, ports: [{port: 80, targetPort: 8080}]}
`, annotations, version)
}

func open(t *testing.T, kubeconfig string) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Open(cluster.Spec{Name: "test", Kubeconfig: kubeconfig, QPS: 500, Burst: 500, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func target(namespace string) apply.Target {
	return apply.Target{Project: "shop", Service: "api", Environment: "dev", Namespace: namespace}
}

func request(namespace, release, text string, counter uint64) apply.Request {
	return apply.Request{
		Target: target(namespace), Manifests: []byte(text),
		Stamp: apply.Stamp{Fence: apply.Fence{Epoch: 1, Counter: counter}, Release: release},
	}
}

// hasty settings keep the tests short: the rules are the same.
func hasty() rolling.Settings {
	return rolling.Settings{
		Timeout: 20 * time.Second, Patience: time.Second,
		Grace: health.Grace{
			ImagePull: time.Second, CrashLoop: time.Second, Config: time.Second,
			Unschedulable: time.Second, Create: time.Second, Stalled: time.Second,
		},
	}
}

func deploy(t *testing.T, c *cluster.Cluster, req apply.Request) rolling.Result {
	t.Helper()
	result, err := rolling.Deploy(t.Context(), c, req, rolling.Check{Path: "/healthz", Port: 8080}, hasty(), rolling.Listener{})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestHealthy(t *testing.T) {
	c, ns := open(t, kubetest.Kubeconfig(t)), kubetest.Namespace(t)
	var lines []string
	listener := rolling.Listener{
		Changed:  func(change apply.Change) { lines = append(lines, string(change.Action)+" "+change.Ref.String()) },
		Progress: func(p health.Progress) { lines = append(lines, p.String()) },
	}
	result, err := rolling.Deploy(t.Context(), c, request(ns, "r1", app("1", ""), 1),
		rolling.Check{Path: "/healthz", Port: 8080}, hasty(), listener)
	if err != nil || result.Verdict != rolling.Healthy {
		t.Fatalf("%v: %s %s", err, result.Verdict, result.Explanation())
	}
	if !result.Health.Simulated || result.HTTP.Status != 0 {
		t.Errorf("simulated %v, http %d: pods of this cluster are simulated and cannot be asked", result.Health.Simulated, result.HTTP.Status)
	}
	all := strings.Join(lines, "\n")
	for _, want := range []string{"created Service/api", "created Deployment/api", "Deployment/api 2/2 ready"} {
		if !strings.Contains(all, want) {
			t.Errorf("the listener did not hear %q:\n%s", want, all)
		}
	}
	if len(result.Health.Pods) != 2 {
		t.Fatalf("%d pods are timed, want 2", len(result.Health.Pods))
	}
	for _, pod := range result.Health.Pods {
		if pod.Created.IsZero() || pod.Scheduled.IsZero() || pod.Started.IsZero() || pod.Ready.IsZero() || pod.Node == "" {
			t.Errorf("incomplete times %+v", pod)
		}
	}

	again := deploy(t, c, request(ns, "r1", app("1", ""), 2))
	if again.Verdict != rolling.Healthy || again.Applied.Wrote() != 0 || len(again.Pruned) != 0 {
		t.Errorf("a repeat is %s and wrote %d objects", again.Verdict, again.Applied.Wrote())
	}
}

func TestUnhealthyWithReasons(t *testing.T) {
	tests := []struct {
		simulate string
		want     []string
	}{
		{"never-ready", []string{"not healthy in time", "Deployment/api: pod api-", "container server", "NotReady"}},
		{"crash-loop", []string{"pod api-", "container server", "CrashLoopBackOff", "exit code 1", "restarts"}},
		{"image-pull-backoff", []string{"pod api-", "container server", "ImagePullBackOff"}},
	}
	for _, test := range tests {
		t.Run(test.simulate, func(t *testing.T) {
			t.Parallel()
			c, ns := open(t, kubetest.Kubeconfig(t)), kubetest.Namespace(t)
			settings := hasty()
			if test.simulate == "never-ready" {
				settings.Timeout = 4 * time.Second
			}
			result, err := rolling.Deploy(t.Context(), c, request(ns, "r1", app("1", test.simulate), 1),
				rolling.Check{}, settings, rolling.Listener{})
			if err != nil || result.Verdict != rolling.Unhealthy {
				t.Fatalf("%v: %s", err, result.Verdict)
			}
			if result.Health.TimedOut != (test.simulate == "never-ready") {
				t.Errorf("timed out: %v; only what may still recover is waited for", result.Health.TimedOut)
			}
			text := result.Explanation()
			t.Log(text)
			for _, part := range test.want {
				if !strings.Contains(text, part) {
					t.Errorf("%q lacks %q", text, part)
				}
			}
		})
	}
}

func TestUnschedulableAndQuota(t *testing.T) {
	c := open(t, kubetest.Kubeconfig(t))
	t.Run("unschedulable", func(t *testing.T) {
		text := strings.ReplaceAll(app("1", ""), "spec: {containers:", "spec: {nodeSelector: {disk: none}, containers:")
		result := deploy(t, c, request(kubetest.Namespace(t), "r1", text, 1))
		t.Log(result.Explanation())
		if result.Verdict != rolling.Unhealthy || !strings.Contains(result.Explanation(), "Unschedulable") {
			t.Errorf("%s: %s", result.Verdict, result.Explanation())
		}
	})
	t.Run("quota", func(t *testing.T) {
		ns := kubetest.NewNamespace(t)
		_, err := kubetest.Client(t).CoreV1().ResourceQuotas(ns).Create(t.Context(), &corev1.ResourceQuota{
			ObjectMeta: metav1.ObjectMeta{Name: "one-pod"},
			Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"pods": resource.MustParse("1")}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		result := deploy(t, c, request(ns, "r1", app("1", ""), 1))
		t.Log(result.Explanation())
		if result.Verdict != rolling.Unhealthy || !strings.Contains(result.Explanation(), "exceeded quota") {
			t.Errorf("%s: %s", result.Verdict, result.Explanation())
		}
	})
}

func TestOtherWorkloads(t *testing.T) {
	const text = `
apiVersion: batch/v1
kind: Job
metadata: {name: job}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: j, image: "example.com/j:1"}]}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: d, image: "example.com/d:1"}]}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: log}
spec:
  selector: {matchLabels: {app: log}}
  template: {metadata: {labels: {app: log}}, spec: {containers: [{name: l, image: "example.com/l:1"}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: single}
spec: {containers: [{name: p, image: "example.com/p:1"}]}
---
apiVersion: v1
kind: Service
metadata: {name: lonely}
spec: {selector: {app: nobody}, ports: [{port: 80}]}
`
	c, ns := open(t, kubetest.Kubeconfig(t)), kubetest.Namespace(t)
	result := deploy(t, c, request(ns, "r1", text, 1))
	if result.Verdict != rolling.Healthy {
		t.Fatalf("%s: %s", result.Verdict, result.Explanation())
	}
	if len(result.Health.Warnings) != 1 || !strings.Contains(result.Health.Warnings[0], "Service/lonely: no pod matches its selector app=nobody") {
		t.Errorf("warnings %q", result.Health.Warnings)
	}
	again := deploy(t, c, request(ns, "r2", text, 2))
	if again.Applied.Wrote() != 0 || again.Verdict != rolling.Healthy {
		t.Errorf("a repeat is %s and wrote %d objects: %v", again.Verdict, again.Applied.Wrote(), again.Applied.Changes)
	}
}

func TestRollbackToStable(t *testing.T) {
	c, ns := open(t, kubetest.Kubeconfig(t)), kubetest.Namespace(t)
	good, bad := app("1", ""), app("2", "crash-loop")+"\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: extra}}\n"
	deploy(t, c, request(ns, "good", good, 1))
	if result := deploy(t, c, request(ns, "bad", bad, 2)); result.Verdict != rolling.Unhealthy {
		t.Fatalf("the bad release is %s", result.Verdict)
	}
	undo := revision.Request{
		Target: target(ns), Candidate: "bad", Stable: &revision.Release{ID: "good", Manifests: []byte(good)},
		Fence: apply.Fence{Epoch: 1, Counter: 3},
	}
	for _, round := range []string{"first", "repeated"} {
		result, err := rolling.Rollback(t.Context(), c, undo, rolling.Check{}, hasty(), rolling.Listener{})
		if err != nil || result.Verdict != rolling.Healthy {
			t.Fatalf("%s: %v: %s %s", round, err, result.Verdict, result.Explanation())
		}
		if wrote := result.Applied.Wrote(); (round == "repeated") != (wrote == 0) {
			t.Errorf("%s rollback wrote %d objects", round, wrote)
		}
		undo.Fence.Counter++
	}
	client := kubetest.Client(t)
	live, err := client.AppsV1().Deployments(ns).Get(t.Context(), "api", metav1.GetOptions{})
	if err != nil || live.Spec.Template.Spec.Containers[0].Image != "example.com/api:1" || live.Annotations[apply.AnnotationRelease] != "good" {
		t.Errorf("live is %v, %v", live.Spec.Template.Spec.Containers, err)
	}
	list, err := client.CoreV1().ConfigMaps(ns).List(t.Context(), metav1.ListOptions{LabelSelector: apply.LabelManagedBy})
	if err != nil || len(list.Items) != 0 {
		t.Errorf("the candidate's own object is left: %v, %v", list.Items, err)
	}
}

func TestDeadBeforeAndInBetween(t *testing.T) {
	relay := kubetest.NewRelay(t)
	c, ns := open(t, relay.Kubeconfig), kubetest.Namespace(t)
	listener := rolling.Listener{Progress: func(p health.Progress) {
		if p.Desired == 2 {
			relay.Kill()
		}
	}}
	_, err := rolling.Deploy(t.Context(), c, request(ns, "r1", app("1", "never-ready"), 1), rolling.Check{}, hasty(), listener)
	if !cluster.IsUnreachable(err) {
		t.Fatalf("a cluster that died in the middle: got %v, want unreachable", err)
	}
	t.Log(err)
	_, err = rolling.Deploy(t.Context(), c, request(ns, "r1", app("1", ""), 1), rolling.Check{}, hasty(), rolling.Listener{})
	if !cluster.IsUnreachable(err) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("a dead cluster: got %v", err)
	}
	if errors.Is(err, apply.ErrSuperseded) {
		t.Error("a dead cluster is not superseded")
	}
}

// TestWhatWasSeenBeforeAClusterWentAwayIsNoHealth: the watches stay as they were, and show pods that work.
func TestWhatWasSeenBeforeAClusterWentAwayIsNoHealth(t *testing.T) {
	relay := kubetest.NewRelay(t)
	c, ns := open(t, relay.Kubeconfig), kubetest.Namespace(t)
	result := deploy(t, c, request(ns, "r1", app("1", ""), 1))
	if result.Verdict != rolling.Healthy {
		t.Fatalf("%s: %s", result.Verdict, result.Explanation())
	}
	observe := health.Request{
		Namespace: ns, Objects: result.Applied.Refs(), Timeout: 2 * time.Second, Patience: time.Minute,
		Progress: func(p health.Progress) {
			if p.Done {
				relay.Kill()
			}
		},
	}
	if report, err := health.Observe(t.Context(), c, observe); !cluster.IsUnreachable(err) {
		t.Errorf("healthy: %v, %v; want unreachable", report.Healthy, err)
	}
}

// Nothing stands behind the service, so the API server itself answers and nobody dials a pod.
func TestHTTPSaysNo(t *testing.T) {
	c, ns := open(t, kubetest.Kubeconfig(t)), kubetest.NewNamespace(t)
	out, err := apply.Apply(t.Context(), c, request(ns, "r1",
		"{apiVersion: v1, kind: Service, metadata: {name: api}, spec: {selector: {app: none}, ports: [{port: 80, targetPort: 8080}]}}", 1))
	if err != nil || len(out.Refused) > 0 {
		t.Fatal(err, out.Refused)
	}
	report, err := health.CheckHTTP(t.Context(), c, health.HTTPRequest{
		Namespace: ns, Service: "api", Path: "/healthz", Port: 8080, Objects: out.Refs(), Timeout: time.Second,
	})
	if err != nil || report.OK || report.Status != 503 {
		t.Fatalf("%v: %+v", err, report)
	}
	text := report.Explanation("/healthz")
	t.Log(text)
	if !strings.Contains(text, "GET /healthz of services/api:80 answered 503") || !strings.Contains(text, "no endpoints available") {
		t.Errorf("got %q", text)
	}
}

// A StatefulSet replaces its pods in order and never one that is not ready, so a broken pod of the candidate would stay.
func TestRollbackOfStatefulSet(t *testing.T) {
	set := func(version, annotations string) string {
		return fmt.Sprintf(`
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}, annotations: {%s}}
    spec: {containers: [{name: d, image: "example.com/d:%s"}]}
`, annotations, version)
	}
	c, ns := open(t, kubetest.Kubeconfig(t)), kubetest.Namespace(t)
	good := set("1", "")
	deploy(t, c, request(ns, "good", good, 1))
	if result := deploy(t, c, request(ns, "bad", set("2", "slipway.dev/simulate: crash-loop"), 2)); result.Verdict != rolling.Unhealthy {
		t.Fatalf("the bad release is %s", result.Verdict)
	}
	result, err := rolling.Rollback(t.Context(), c, revision.Request{
		Target: target(ns), Candidate: "bad", Stable: &revision.Release{ID: "good", Manifests: []byte(good)},
		Fence: apply.Fence{Epoch: 1, Counter: 3},
	}, rolling.Check{}, hasty(), rolling.Listener{})
	if err != nil || result.Verdict != rolling.Healthy {
		t.Fatalf("%v: %s %s", err, result.Verdict, result.Explanation())
	}
}
