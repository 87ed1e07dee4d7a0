package rolling_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/revision"
	"github.com/slipway-build/slipway/deploy/rolling"
	"github.com/slipway-build/slipway/internal/kubetest"
)

// hook is a Job of a phase whose pod behaves as simulate says; empty: well.
func hook(name, phase, weight, version, simulate string) string {
	annotations := "{}"
	if simulate != "" {
		annotations = "{slipway.dev/simulate: " + simulate + "}"
	}
	return fmt.Sprintf(`
---
apiVersion: batch/v1
kind: Job
metadata: {name: %s, annotations: {slipway.dev/hook: %s, slipway.dev/hook-weight: "%s"}}
spec:
  backoffLimit: 0
  template:
    metadata: {annotations: %s}
    spec: {restartPolicy: Never, containers: [{name: j, image: "example.com/api:%s"}]}
`, name, phase, weight, annotations, version)
}

func TestHooksComeBeforeAndAfter(t *testing.T) {
	c, ns := open(t, kubetest.Kubeconfig(t)), kubetest.Namespace(t)
	jobs := kubetest.Client(t).BatchV1().Jobs(ns)
	uid := func(name string) string {
		job, err := jobs.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return string(job.UID)
	}
	text := func(version string) string {
		return app("1", "") + hook("smoke", "after", "0", "1", "") + hook("second", "before", "5", "1", "") + hook("first", "before", "-5", version, "")
	}
	var steps []string
	listener := rolling.Listener{Step: func(s rolling.Step) { steps = append(steps, s.Name) }}
	result, err := rolling.Deploy(t.Context(), c, request(ns, "r1", text("1"), 1), rolling.Check{}, hasty(), listener)
	if err != nil || result.Verdict != rolling.Healthy {
		t.Fatalf("%v: %s %s", err, result.Verdict, result.Explanation())
	}
	want := []string{"connect", "check", "prepare", "hook Job/first", "hook Job/second", "apply", "healthy", "hook Job/smoke", "prune"}
	if !slices.Equal(steps, want) {
		t.Errorf("steps %q, want %q", steps, want)
	}
	first, second := uid("first"), uid("second")
	if deploy(t, c, request(ns, "r2", text("1"), 2)); uid("first") != first {
		t.Error("a hook of the same content was carried out again")
	}
	if deploy(t, c, request(ns, "r3", text("2"), 3)); uid("first") == first || uid("second") != second {
		t.Error("the changed hook was not carried out, or the other one was")
	}
	// Without them in the release, nothing of them stays.
	deploy(t, c, request(ns, "r4", app("1", ""), 4))
	list, err := jobs.List(t.Context(), metav1.ListOptions{LabelSelector: apply.LabelManagedBy})
	if err != nil || len(list.Items) != 0 {
		t.Errorf("%d hooks are left: %v", len(list.Items), err)
	}
}

func TestAFailedHookChangesNothingElse(t *testing.T) {
	c, ns := open(t, kubetest.Kubeconfig(t)), kubetest.Namespace(t)
	client := kubetest.Client(t)
	deploy(t, c, request(ns, "good", app("1", ""), 1))
	bad := app("2", "") + hook("migrate", "before", "0", "2", "crash-loop")
	settings := hasty()
	settings.Timeout = 4 * time.Second
	result, err := rolling.Deploy(t.Context(), c, request(ns, "bad", bad, 2), rolling.Check{}, settings, rolling.Listener{})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(result.Explanation())
	if result.Verdict != rolling.Unhealthy || !strings.Contains(result.Explanation(), "Job/migrate, which comes before the rest, did not succeed, and nothing that runs was changed") {
		t.Fatalf("%s: %s", result.Verdict, result.Explanation())
	}
	live, err := client.AppsV1().Deployments(ns).Get(t.Context(), "api", metav1.GetOptions{})
	if err != nil || live.Spec.Template.Spec.Containers[0].Image != "example.com/api:1" {
		t.Errorf("the Deployment was changed: %v", err)
	}
	undone, err := rolling.Rollback(t.Context(), c, revision.Request{
		Target: target(ns), Candidate: "bad", Stable: &revision.Release{ID: "good", Manifests: []byte(app("1", ""))}, Fence: apply.Fence{Epoch: 1, Counter: 3},
	}, rolling.Check{}, hasty(), rolling.Listener{})
	if err != nil || undone.Verdict != rolling.Healthy {
		t.Fatalf("%v: %s", err, undone.Verdict)
	}
	if _, err := client.BatchV1().Jobs(ns).Get(t.Context(), "migrate", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the failed hook is left: %v", err)
	}
	// Mended, it is carried out, and nobody has to delete anything.
	if mended := deploy(t, c, request(ns, "mended", app("2", "")+hook("migrate", "before", "0", "2", ""), 4)); mended.Verdict != rolling.Healthy {
		t.Errorf("%s: %s", mended.Verdict, mended.Explanation())
	}
}

// The pod of a migration reads the configuration of the release that it belongs to, which
// may be the first; what runs keeps its own until the migration is done.
func TestAHookFindsItsConfiguration(t *testing.T) {
	c, ns := open(t, kubetest.Kubeconfig(t)), kubetest.Namespace(t)
	text := func(old, name string) string {
		return app("1", "") + hook("migrate", "before", "0", name, "") + fmt.Sprintf(`
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: shared}, data: {color: %s}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: %s}}
`, old, name)
	}
	var heard []string
	for i, release := range []string{"first", "second"} {
		heard = nil
		listener := rolling.Listener{Changed: func(change apply.Change) { heard = append(heard, string(change.Action)+" "+change.Ref.String()) }}
		result, err := rolling.Deploy(t.Context(), c, request(ns, release, text(release, "of-"+release), uint64(i+1)), rolling.Check{}, hasty(), listener)
		if err != nil || result.Verdict != rolling.Healthy {
			t.Fatalf("%v: %s %s", err, result.Verdict, result.Explanation())
		}
	}
	job := slices.Index(heard, "created Job/migrate")
	if own, shared := slices.Index(heard, "created ConfigMap/of-second"), slices.Index(heard, "changed ConfigMap/shared"); job < 0 || own < 0 || own > job || shared < job {
		t.Errorf("before the Job should be what is new, and after it what changes: %q", heard)
	}
}

// A Job's own deadline ends it, and not the time in which the release must be healthy.
func TestAHookHasItsOwnTime(t *testing.T) {
	c, ns := open(t, kubetest.Kubeconfig(t)), kubetest.Namespace(t)
	settings := hasty()
	settings.Timeout = time.Millisecond
	text := strings.ReplaceAll(hook("migrate", "before", "0", "1", "never-ready"), "backoffLimit: 0", "activeDeadlineSeconds: 3")
	result, err := rolling.Deploy(t.Context(), c, request(ns, "r1", text, 1), rolling.Check{}, settings, rolling.Listener{})
	if err != nil || result.Health.TimedOut || !strings.Contains(result.Explanation(), "DeadlineExceeded") {
		t.Errorf("%v: %s", err, result.Explanation())
	}
}

func TestAHookThatFailedIsCarriedOutAgain(t *testing.T) {
	c, ns := open(t, kubetest.Kubeconfig(t)), kubetest.Namespace(t)
	// The cluster itself says that this Job has failed.
	bad := app("1", "") + strings.ReplaceAll(hook("migrate", "before", "0", "1", "never-ready"), "backoffLimit: 0", "activeDeadlineSeconds: 1")
	result := deploy(t, c, request(ns, "r1", bad, 1))
	if result.Verdict != rolling.Unhealthy || result.Health.TimedOut || !strings.Contains(result.Explanation(), "DeadlineExceeded") {
		t.Fatalf("%s: %s", result.Verdict, result.Explanation())
	}
	before := jobUID(t, ns)
	if deploy(t, c, request(ns, "r1", bad, 2)); jobUID(t, ns) == before {
		t.Error("the Job that failed was taken for one that need not run again")
	}
}

func jobUID(t *testing.T, ns string) string {
	t.Helper()
	job, err := kubetest.Client(t).BatchV1().Jobs(ns).Get(t.Context(), "migrate", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return string(job.UID)
}

func TestHookMistakes(t *testing.T) {
	c, ns := open(t, kubetest.Kubeconfig(t)), kubetest.Namespace(t)
	result := deploy(t, c, request(ns, "r1", app("1", "")+hook("a", "sometimes", "0", "1", "")+hook("b", "after", "heavy", "1", ""), 1))
	text := result.Explanation()
	for _, want := range []string{`is "sometimes"; write before or after`, `is "heavy"; write a whole number`} {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
}

func TestWhatOthersMadeIsSeenBeforeTheFirstHook(t *testing.T) {
	c, ns, client := open(t, kubetest.Kubeconfig(t)), kubetest.NewNamespace(t), kubetest.Client(t)
	text := app("1", "") + hook("migrate", "before", "0", "1", "") + hook("smoke", "after", "0", "1", "")
	for _, create := range []func() error{
		func() error {
			_, err := client.CoreV1().Services(ns).Create(t.Context(), &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Name: "api"},
				Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "api"}, Ports: []corev1.ServicePort{{Port: 81}}},
			}, metav1.CreateOptions{FieldManager: "platform"})
			return err
		},
		func() error {
			_, err := client.BatchV1().Jobs(ns).Create(t.Context(), &batchv1.Job{
				ObjectMeta: metav1.ObjectMeta{Name: "smoke"},
				Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
					RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "j", Image: "example.com/x:1"}},
				}}},
			}, metav1.CreateOptions{FieldManager: "platform"})
			return err
		},
	} {
		if err := create(); err != nil {
			t.Fatal(err)
		}
	}
	result := deploy(t, c, request(ns, "r1", text, 1))
	for _, want := range []string{"Service/api: exists in namespace " + ns + " already", "Job/smoke: exists in namespace", "cannot be taken over"} {
		if !strings.Contains(result.Explanation(), want) {
			t.Errorf("the answer lacks %q:\n%s", want, result.Explanation())
		}
	}
	if _, err := client.BatchV1().Jobs(ns).Get(t.Context(), "migrate", metav1.GetOptions{}); !apierrors.IsNotFound(err) || result.Verdict != rolling.Refused {
		t.Errorf("%s; the migration began all the same: %v", result.Verdict, err)
	}
}
