package e2e_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

func TestKwokCluster(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	stale := filepath.Join(dir, "ready.json")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stale, []byte(`{"name":"stale"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c := up(t, dir, "--name", "one", "--kind", "kwok", "--nodes", "2")
	if c.ready.Name != "one" || !c.ready.Simulated {
		t.Fatalf("ready.json: %+v", c.ready)
	}
	info, err := os.Stat(c.ready.Kubeconfig)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("kubeconfig: %v %v, want mode 0600", info, err)
	}
	ns := namespace(t, c.client, "demo")
	t.Run("available", func(t *testing.T) { available(t, c.client, ns) })
	t.Run("failures", func(t *testing.T) { failures(t, c.client, ns) })
	t.Run("job", func(t *testing.T) { jobs(t, c.client, ns) })
	t.Run("logs", func(t *testing.T) { logs(t, c.client, ns) })
	t.Run("proxy", func(t *testing.T) { proxyIsRefused(t, c.client, ns) })
	t.Run("busy", func(t *testing.T) {
		out := run(t, 1, "up", "--dir", dir)
		if !strings.Contains(out, "devcluster down") {
			t.Errorf("second up said: %s", out)
		}
	})
	t.Run("audit", func(t *testing.T) {
		b, err := os.ReadFile(c.ready.AuditLog)
		if err != nil || !strings.Contains(string(b), `"verb":"create"`) || strings.Contains(string(b), `"verb":"list"`) {
			t.Errorf("audit log: %v, %d bytes; want writes and no reads", err, len(b))
		}
	})
	t.Run("namespace", func(t *testing.T) { deleteNamespace(t, c.client, ns) })

	c.stop(t, syscall.SIGTERM)
	if _, err := os.Stat(stale); !os.IsNotExist(err) {
		t.Errorf("ready.json after the end: %v", err)
	}
	again := up(t, dir, "--name", "one", "--kind", "kwok", "--nodes", "2")
	if _, err := again.client.CoreV1().Namespaces().Get(t.Context(), "kube-system", metav1.GetOptions{}); err != nil {
		t.Errorf("after a restart on the same folder: %v", err)
	}
	run(t, 0, "down", "--dir", dir)
	run(t, 0, "down", "--dir", dir)
	again.wait(t)
	if _, err := os.Stat(filepath.Join(dir, "etcd")); !os.IsNotExist(err) {
		t.Errorf("etcd's folder after down: %v", err)
	}
}

func available(t *testing.T, c kubernetes.Interface, ns string) {
	t.Helper()
	d := deployment("web", nil)
	create(t, c, ns, d)
	waitFor(t, "deployment web to be available", func(ctx context.Context) (bool, string) {
		got, err := c.AppsV1().Deployments(ns).Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return got.Status.AvailableReplicas == 2 && got.Status.ObservedGeneration == got.Generation, got.Status.String()
	})
}

func failures(t *testing.T, c kubernetes.Interface, ns string) {
	t.Helper()
	for _, want := range []struct {
		behavior, reason, last, event string
		phase                         corev1.PodPhase
	}{
		{behavior: "never-ready", event: "Unhealthy", phase: corev1.PodRunning},
		{behavior: "crash-loop", reason: "CrashLoopBackOff", last: "Error", event: "BackOff", phase: corev1.PodRunning},
		{behavior: "oom-killed", reason: "CrashLoopBackOff", last: "OOMKilled", event: "BackOff", phase: corev1.PodRunning},
		{behavior: "image-pull-backoff", reason: "ImagePullBackOff", event: "Failed", phase: corev1.PodPending},
		{behavior: "config-error", reason: "CreateContainerConfigError", event: "Failed", phase: corev1.PodPending},
		{behavior: "crash-after-ready", reason: "CrashLoopBackOff", last: "Error", event: "BackOff", phase: corev1.PodRunning},
		{behavior: "unready-after-ready", event: "Unhealthy", phase: corev1.PodRunning},
	} {
		t.Run(want.behavior, func(t *testing.T) {
			d := deployment(want.behavior, map[string]string{"slipway.dev/simulate": want.behavior, "slipway.dev/simulate-delay": "1s"})
			seconds := int32(2)
			d.Spec.ProgressDeadlineSeconds = &seconds
			create(t, c, ns, d)
			waitFor(t, want.behavior+" to show", func(ctx context.Context) (bool, string) {
				pod, why := firstPod(ctx, c, ns, want.behavior)
				if pod == nil || len(pod.Status.ContainerStatuses) == 0 {
					return false, why
				}
				s := pod.Status.ContainerStatuses[0]
				reason, last := "", ""
				if s.State.Waiting != nil {
					reason = s.State.Waiting.Reason
				}
				if s.LastTerminationState.Terminated != nil {
					last = s.LastTerminationState.Terminated.Reason
				}
				return !s.Ready && reason == want.reason && last == want.last && pod.Status.Phase == want.phase, pod.Status.String()
			})
			waitFor(t, "an event "+want.event, func(ctx context.Context) (bool, string) {
				pod, why := firstPod(ctx, c, ns, want.behavior)
				if pod == nil {
					return false, why
				}
				events, err := c.CoreV1().Events(ns).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod.Name})
				if err != nil {
					return false, err.Error()
				}
				var seen []string
				for _, e := range events.Items {
					seen = append(seen, e.Reason)
					if e.Reason == want.event && e.Type == corev1.EventTypeWarning {
						return true, ""
					}
				}
				return false, strings.Join(seen, " ")
			})
		})
	}
	waitFor(t, "the rollout of never-ready to miss its deadline", func(ctx context.Context) (bool, string) {
		d, err := c.AppsV1().Deployments(ns).Get(ctx, "never-ready", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, cond := range d.Status.Conditions {
			if cond.Type == appsv1.DeploymentProgressing && cond.Reason == "ProgressDeadlineExceeded" {
				return true, ""
			}
		}
		return false, d.Status.String()
	})
}

func jobs(t *testing.T, c kubernetes.Interface, ns string) {
	t.Helper()
	zero := int32(0)
	for name, annotations := range map[string]map[string]string{"good": nil, "bad": {"slipway.dev/simulate": "job-failed"}} {
		d := deployment(name, annotations)
		d.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
		job := &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: batchv1.JobSpec{Template: d.Spec.Template, BackoffLimit: &zero},
		}
		if _, err := c.BatchV1().Jobs(ns).Create(t.Context(), job, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "job "+name+" to end", func(ctx context.Context) (bool, string) {
			got, err := c.BatchV1().Jobs(ns).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return false, err.Error()
			}
			if name == "good" {
				return got.Status.Succeeded == 1, got.Status.String()
			}
			return got.Status.Failed == 1, got.Status.String()
		})
	}
}

func logs(t *testing.T, c kubernetes.Interface, ns string) {
	t.Helper()
	pod, why := firstPod(t.Context(), c, ns, "crash-loop")
	if pod == nil {
		t.Fatal(why)
	}
	lines := int64(1)
	s, err := c.CoreV1().Pods(ns).GetLogs(pod.Name, &corev1.PodLogOptions{TailLines: &lines}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() // only read
	b, err := io.ReadAll(s)
	if err != nil || strings.Count(string(b), "\n") != 1 || !strings.Contains(string(b), "fatal") {
		t.Errorf("last line of crash-loop: %q %v", b, err)
	}
}

func proxyIsRefused(t *testing.T, c kubernetes.Interface, ns string) {
	t.Helper()
	pod, why := firstPod(t.Context(), c, ns, "web")
	if pod == nil {
		t.Fatal(why)
	}
	b, err := c.CoreV1().Pods(ns).ProxyGet("http", pod.Name, "8080", "/", nil).DoRaw(t.Context())
	if err == nil || !strings.Contains(string(b), "simulated") {
		t.Errorf("proxy to a simulated pod: %v %s; want a refusal that says so", err, b)
	}
}

func deleteNamespace(t *testing.T, c kubernetes.Interface, ns string) {
	t.Helper()
	if err := c.CoreV1().Namespaces().Delete(t.Context(), ns, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "namespace "+ns+" to be gone", func(ctx context.Context) (bool, string) {
		_, err := c.CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{})
		return apierrors.IsNotFound(err), "it still exists"
	})
}

func TestSecondClusterRunsBesideTheFirst(t *testing.T) {
	a := up(t, filepath.Join(t.TempDir(), "a"), "--name", "a")
	b := up(t, filepath.Join(t.TempDir(), "b"), "--name", "b", "--nodes", "1")
	if a.ready.Server == b.ready.Server {
		t.Errorf("both listen on %s", a.ready.Server)
	}
	for _, c := range []*running{a, b} {
		if _, err := c.client.Discovery().ServerVersion(); err != nil {
			t.Error(err)
		}
	}
	// A killed cluster is cleaned up as well.
	a.stop(t, syscall.SIGKILL)
	run(t, 0, "down", "--dir", a.dir)
	b.stop(t, syscall.SIGINT)
}

func deployment(name string, annotations map[string]string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	replicas := int32(2)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: annotations},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "registry.example.com/" + name + ":1"}}},
			},
		},
	}
}

func create(t *testing.T, c kubernetes.Interface, ns string, d *appsv1.Deployment) {
	t.Helper()
	if _, err := c.AppsV1().Deployments(ns).Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func namespace(t *testing.T, c kubernetes.Interface, name string) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := c.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return name
}

func firstPod(ctx context.Context, c kubernetes.Interface, ns, app string) (*corev1.Pod, string) {
	pods, err := c.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: "app=" + app})
	if err != nil {
		return nil, err.Error()
	}
	if len(pods.Items) == 0 {
		return nil, "no pod of " + app
	}
	return &pods.Items[0], ""
}

// waitFor polls until ok, and fails with what was seen last.
func waitFor(t *testing.T, what string, ok func(context.Context) (bool, string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		done, seen := ok(ctx)
		if done {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("wait for %s: %s", what, seen)
		case <-tick.C:
		}
	}
}
