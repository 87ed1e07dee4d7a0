package shop_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// failing adds to an overlay what makes simulated pods go wrong.
func failing(service, behavior string) string {
	return `patches:
  - patch: |
      apiVersion: apps/v1
      kind: Deployment
      metadata: { name: ` + service + ` }
      spec:
        progressDeadlineSeconds: 5
        template: { metadata: { annotations: { slipway.dev/simulate: ` + behavior + ` } } }
`
}

func (r *repo) spoil(service, folder, behavior string) {
	r.t.Helper()
	name := "deploy/" + service + "/" + folder + "/kustomization.yaml"
	data, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil {
		r.t.Fatal(err)
	}
	r.write(name, string(data)+failing(service, behavior))
	r.commit("Spoil " + name)
}

func deployment(t *testing.T, cluster, name string) *appsv1.Deployment {
	t.Helper()
	d, err := kube(t, cluster).AppsV1().Deployments(places[cluster]).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// state finds a task.
func task(t *testing.T, r *pb.Run, id string) *pb.Task {
	t.Helper()
	for _, task := range r.GetTasks() {
		if task.GetId() == id {
			return task
		}
	}
	t.Errorf("run %s has no task %s", r.GetId(), id)
	return &pb.Task{}
}

func TestAServiceThatNeverBecomesReadyIsRolledBackInEveryCluster(t *testing.T) {
	r := alone(t, "reviews", node)
	stable := succeeded(t, r.run())
	others := pods(t, "reviews")
	was := map[string]*appsv1.Deployment{}
	for _, cluster := range []string{"prod-eu", "prod-us"} {
		was[cluster] = deployment(t, cluster, "reviews")
	}

	r.edit("services/reviews/src/reviews.js", "a review needs an author", "reviews need an author")
	r.spoil("reviews", "overlays/prod", "crash-loop")
	run := r.run()
	if run.GetState() != pb.RunState_RUN_STATE_FAILED {
		dump(t, run)
		t.Errorf("the run is %s", run.GetState())
	}
	says(t, "the run", run.GetMessage(), "apply/reviews@prod/prod-", "pod reviews-", "CrashLoopBackOff", "DATABASE_URL is not set", "ProgressDeadlineExceeded")
	if images(run)["reviews"] == images(stable)["reviews"] {
		t.Error("the candidate has the image of the stable release: nothing is shown")
	}
	for cluster, old := range was {
		apply, back := task(t, run, "apply/reviews@prod/"+cluster), task(t, run, "rollback/reviews@prod/"+cluster)
		if len(apply.GetAttempts()) == 0 {
			t.Errorf("%s was not tried: %s", apply.GetId(), apply.GetState())
		}
		if back.GetState() != pb.TaskState_TASK_STATE_SUCCEEDED {
			t.Errorf("%s is %s: %s", back.GetId(), back.GetState(), back.GetMessage())
		}
		is := deployment(t, cluster, "reviews")
		if got := is.Spec.Template.Spec.Containers[0].Image; got != images(stable)["reviews"] {
			t.Errorf("%s runs %s, want %s", cluster, got, images(stable)["reviews"])
		}
		if is.Generation == old.Generation {
			t.Errorf("the candidate never was in %s", cluster)
		}
		if d := cmp.Diff(old.Spec.Template, is.Spec.Template); d != "" {
			t.Errorf("pod template in %s after the rollback (-before +after):\n%s", cluster, d)
		}
		if want := stable.GetRelease(); is.Annotations["slipway.dev/release"] != want {
			t.Errorf("%s says release %s, want %s", cluster, is.Annotations["slipway.dev/release"], want)
		}
	}
	if d := cmp.Diff(others, pods(t, "reviews")); d != "" {
		t.Errorf("pods of other services changed (-before +after):\n%s", d)
	}
}

// TestAFirstReleaseThatNeverBecomesReadyIsRemoved: there is nothing to go back to.
func TestAFirstReleaseThatNeverBecomesReadyIsRemoved(t *testing.T) {
	r := alone(t, "reviews", node)
	r.git("mv", "deploy/reviews", "deploy/feedback")
	files, err := filepath.Glob(filepath.Join(r.dir, "deploy/feedback/*/*"))
	if err != nil {
		t.Fatal(err)
	}
	more, _ := filepath.Glob(filepath.Join(r.dir, "deploy/feedback/*/*/*"))
	for _, file := range append(append(files, more...), filepath.Join(r.dir, "slipway.yaml")) {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // a folder
		}
		text := strings.ReplaceAll(string(data), "reviews", "feedback")
		text = strings.ReplaceAll(text, "services/feedback", "services/reviews")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r.spoil("feedback", "base", "never-ready")
	run := r.run()
	if run.GetState() != pb.RunState_RUN_STATE_FAILED {
		dump(t, run)
		t.Errorf("the run is %s", run.GetState())
	}
	says(t, "the run", run.GetMessage(), "apply/feedback@dev/dev", "pod feedback-", "Readiness probe failed", "GET /healthz 503")
	if back := task(t, run, "rollback/feedback@dev/dev"); back.GetResult().GetDeploy().GetState() != "removed" {
		t.Errorf("%s is %s: %s", back.GetId(), back.GetState(), back.GetMessage())
	}
	if _, err := kube(t, "dev").AppsV1().Deployments("shop-dev").Get(t.Context(), "feedback", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the Deployment is still there: %v", err)
	}
	for _, cluster := range []string{"prod-eu", "prod-us"} {
		if a := task(t, run, "apply/feedback@prod/"+cluster); a.GetState() != pb.TaskState_TASK_STATE_SKIPPED {
			t.Errorf("%s is %s, want skipped", a.GetId(), a.GetState())
		}
	}
}
