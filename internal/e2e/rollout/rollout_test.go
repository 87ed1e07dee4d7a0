//go:build e2e

package rollout_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// serves says which image of the service serves in a namespace of each cluster, and that nothing of a candidate is left.
func (w *world) serves(t *testing.T, namespace string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, c := range w.clusters {
		client := w.client(t, c.Name)
		d, err := client.AppsV1().Deployments(namespace).Get(t.Context(), "api", metav1.GetOptions{})
		must(t, err)
		out[c.Name] = d.Spec.Template.Spec.Containers[0].Image
		if _, err := client.AppsV1().Deployments(namespace).Get(t.Context(), "api-canary", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("the candidate is still in %s of %s: %v", namespace, c.Name, err)
		}
		if _, err := client.CoreV1().ConfigMaps(namespace).Get(t.Context(), "api-canary", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("the candidate's configuration is still in %s of %s: %v", namespace, c.Name, err)
		}
	}
	return out
}

func image(t *testing.T, r *pb.Run) string {
	t.Helper()
	return find(t, r, "build/api").GetResult().GetImage()
}

func all(m map[string]string, want string) bool {
	for _, got := range m {
		if got != want {
			return false
		}
	}
	return true
}

// TestCanaries follows a service through its versions: a first one, a good one, a bad one that is taken back, three pushes
// that a hold keeps out, and the newest of them once it is resumed.
func TestCanaries(t *testing.T) {
	w := start(t)
	r := w.repository(t)

	first := w.ended(t, r.submit())
	if first.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		show(t, first)
		t.Fatal("the first release did not get there")
	}
	h, stop := w.traffic(t, "both", "waves", "green", "flags")
	defer stop()

	r.version("v2", 0)
	began := time.Now()
	good := w.ended(t, r.submit())
	if good.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		show(t, good)
		t.Fatal("a good canary was not promoted")
	}
	t.Logf("a good canary took %s", time.Since(began).Round(time.Second))
	for _, namespace := range []string{"both", "waves", "green"} {
		if got := w.serves(t, namespace); !all(got, image(t, good)) {
			t.Errorf("in %s serves %v, want %s", namespace, got, image(t, good))
		}
	}
	for _, c := range []string{"eu", "us"} {
		shift, analysis := find(t, good, "shift/api@both/"+c+":50"), find(t, good, "analyze/api@both/"+c+":50")
		if shift.GetResult().GetDeploy().GetReplicas() < 1 || !strings.Contains(analysis.GetMessage(), "errors") {
			t.Errorf("in %s the shift says %q with %d pods, and the analysis %q", c, shift.GetMessage(), shift.GetResult().GetDeploy().GetReplicas(), analysis.GetMessage())
		}
	}

	w.switched(t, h, "v1", "v2")

	r.version("v3", 20) // five in a hundred
	began = time.Now()
	bad := w.ended(t, r.submit())
	t.Logf("a bad canary was aborted and taken back everywhere after %s", time.Since(began).Round(time.Second))
	if bad.GetState() != pb.RunState_RUN_STATE_FAILED || !strings.Contains(bad.GetMessage(), "errors") {
		show(t, bad)
		t.Fatal("a bad canary was not aborted by its analysis")
	}
	show(t, bad)
	for _, namespace := range []string{"both", "waves", "green"} {
		if got := w.serves(t, namespace); !all(got, image(t, good)) {
			t.Errorf("in %s serves %v after the rollback, want %s", namespace, got, image(t, good))
		}
	}
	for _, c := range []string{"eu", "us"} {
		if back := find(t, bad, "rollback/api@both/"+c); back.GetState() != pb.TaskState_TASK_STATE_SUCCEEDED {
			t.Errorf("%s is %s: %s", back.GetId(), back.GetState(), back.GetMessage())
		}
	}
	w.switched(t, h, "v1", "v2", "v3", "v2")
	for _, c := range []string{"eu", "us"} {
		if apply := find(t, bad, "apply/api@green/"+c); apply.GetState() != pb.TaskState_TASK_STATE_SKIPPED {
			t.Errorf("%s is %s: what served before the switch was written", apply.GetId(), apply.GetState())
		}
		if back := find(t, bad, "rollback/api@green/"+c); back.GetState() != pb.TaskState_TASK_STATE_SUCCEEDED {
			t.Errorf("%s is %s: %s", back.GetId(), back.GetState(), back.GetMessage())
		}
	}
	if list := w.written(t, "us", "waves", began); len(list) > 0 {
		t.Errorf("the first wave failed, and the second one was touched: %v", list)
	}
	if list := w.written(t, "eu", "waves", began); len(list) == 0 {
		t.Error("control: the audit log has nothing of the first wave")
	}

	var pushes []string
	for _, v := range []string{"v4", "v5", "v6"} {
		r.version(v, 0)
		pushes = append(pushes, r.submit())
	}
	w.until(t, "the pushes are at the hold", func() bool {
		return !slices.ContainsFunc(pushes, func(id string) bool { // the environment that is not held goes on, or is superseded
			run := w.get(t, id)
			return find(t, run, "rollout/waves").GetState() != pb.TaskState_TASK_STATE_READY || !over(find(t, run, "verified/both"))
		})
	})
	if got := w.serves(t, "waves"); !all(got, image(t, good)) {
		t.Errorf("in waves serves %v while it is held, want %s", got, image(t, good))
	}
	list, err := w.rollout.ListEnvironments(t.Context(), &pb.ListEnvironmentsRequest{Project: "canary"})
	must(t, err)
	i := slices.IndexFunc(list.GetEnvironments(), func(e *pb.Environment) bool { return e.GetName() == "waves" })
	if h := list.GetEnvironments()[i].GetHold(); h.GetRun() != bad.GetId() || !strings.Contains(h.GetReason(), "analyze/api@waves/eu:34 failed") {
		t.Errorf("the hold says %v", h)
	}
	_, err = w.rollout.Resume(t.Context(), &pb.ResumeRequest{Project: "canary", Environment: "waves"})
	must(t, err)
	last := w.ended(t, pushes[2])
	if last.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		show(t, last)
		t.Fatal("the newest push did not get there")
	}
	if got := w.serves(t, "waves"); !all(got, image(t, last)) {
		t.Errorf("in waves serves %v, want %s", got, image(t, last))
	}
	for _, id := range pushes[:2] {
		if run := w.ended(t, id); run.GetState() != pb.RunState_RUN_STATE_CANCELED || !strings.Contains(run.GetMessage(), "superseded") {
			t.Errorf("an older push is %s: %s", run.GetState(), run.GetMessage())
		}
	}

	w.drift(t)
	w.cutOff(t, r)
	// The second wave of waves was in us: whether its rollout failed, which holds it, is a matter of when us came back.
	if _, err := w.rollout.Resume(t.Context(), &pb.ResumeRequest{Project: "canary", Environment: "waves"}); err != nil && status.Code(err) != codes.FailedPrecondition {
		t.Fatal(err)
	}

	r.flag("on")
	moved := w.ended(t, r.submit())
	show(t, moved)
	for _, c := range []string{"eu", "us"} {
		if a := find(t, moved, "analyze/api@flags/"+c+":50"); a.GetState() == pb.TaskState_TASK_STATE_SUCCEEDED {
			t.Errorf("%s: %s", a.GetId(), a.GetMessage())
		}
		if back := find(t, moved, "rollback/api@flags/"+c); back.GetState() != pb.TaskState_TASK_STATE_SUCCEEDED {
			t.Errorf("%s is %s: %s", back.GetId(), back.GetState(), back.GetMessage())
		}
		flags, err := w.client(t, c).CoreV1().ConfigMaps("flags").Get(t.Context(), "flags", metav1.GetOptions{})
		must(t, err)
		if text := flags.Data["flags.json"]; strings.Contains(text, "fractional") || !strings.Contains(text, `"defaultVariant": "off"`) {
			t.Errorf("the flag in %s is not what it was:\n%s", c, text)
		}
	}
	if !slices.ContainsFunc([]string{"eu", "us"}, func(c string) bool {
		a := find(t, moved, "analyze/api@flags/"+c+":50")
		return a.GetState() == pb.TaskState_TASK_STATE_FAILED && strings.Contains(a.GetMessage(), "errors")
	}) {
		t.Error("no analysis of the flag says no")
	}
}

// drift is what somebody changed and deleted by hand: seen with who holds it, and restored.
func (w *world) drift(t *testing.T) {
	t.Helper()
	eu, us := w.client(t, "eu").CoreV1(), w.client(t, "us").CoreV1()
	greeting := func() string {
		t.Helper()
		c, err := eu.ConfigMaps("both").Get(t.Context(), "api", metav1.GetOptions{})
		must(t, err)
		return c.Data["greeting"]
	}
	was := greeting()
	_, err := eu.ConfigMaps("both").Patch(t.Context(), "api", types.MergePatchType, []byte(`{"data": {"greeting": "by hand"}}`), metav1.PatchOptions{FieldManager: "kubectl-edit"})
	must(t, err)
	must(t, us.Services("both").Delete(t.Context(), "api", metav1.DeleteOptions{}))
	compare := func(key string) (found []string) {
		t.Helper()
		res, err := w.rollout.Compare(t.Context(), &pb.CompareRequest{Project: "canary", Environment: "both", IdempotencyKey: key})
		must(t, err)
		for _, task := range w.ended(t, res.GetRun().GetId()).GetTasks() {
			for _, o := range task.GetResult().GetDiff().GetObjects() {
				text := fmt.Sprint(task.GetCluster(), " ", o.GetAction(), " ", o.GetObject(), " ", o.GetReason())
				for _, f := range o.GetFields() {
					text += fmt.Sprintf(" %s: %s → %s", f.GetPath(), f.GetFrom(), f.GetTo())
				}
				found = append(found, text)
			}
		}
		return found
	}
	found := strings.Join(compare("drift-1"), "\n")
	t.Logf("what drifted:\n%s", found)
	for _, want := range []string{"eu taken over ConfigMap/api", "kubectl-edit", "by hand", "us created Service/api"} {
		if !strings.Contains(found, want) {
			t.Errorf("what drifted does not say %q", want)
		}
	}
	if got := greeting(); got != "by hand" {
		t.Errorf("a comparison made %q of it", got)
	}
	res, err := w.rollout.Restore(t.Context(), &pb.RestoreRequest{Project: "canary", Environment: "both", IdempotencyKey: "drift-2"})
	must(t, err)
	if run := w.ended(t, res.GetRun().GetId()); run.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		show(t, run)
		t.Error("what drifted was not restored")
	}
	if got := greeting(); got != was {
		t.Errorf("the greeting is %q, want %q", got, was)
	}
	if again := compare("drift-3"); len(again) > 0 {
		t.Errorf("after it was restored differs %v", again)
	}
}

// cutOff has a cluster go away in the middle of a rollout. The environment that tolerates that goes on without it, and the one that does
// not goes back; what was left out is caught up.
func (w *world) cutOff(t *testing.T, r *repo) {
	t.Helper()
	before := w.serves(t, "green")
	r.version("v7", 0)
	id := r.submit()
	w.until(t, "the candidate stands in us", func() bool {
		run := w.get(t, id)
		return over(find(t, run, "shift/api@both/us:50")) && over(find(t, run, "shift/api@green/us:0"))
	})
	w.us.open(false)
	w.until(t, "the rollouts are over", func() bool {
		run := w.get(t, id)
		return over(find(t, run, "verified/both")) && over(find(t, run, "verified/green"))
	})
	run := w.get(t, id)
	show(t, run)
	if verified := find(t, run, "verified/both"); verified.GetState() != pb.TaskState_TASK_STATE_SUCCEEDED {
		t.Errorf("without us the rollout to both is %s: %s", verified.GetState(), verified.GetMessage())
	}
	for _, task := range []string{"analyze/api@both/us:50", "apply/api@both/us"} {
		if got := find(t, run, task); got.GetState() != pb.TaskState_TASK_STATE_UNREACHABLE {
			t.Errorf("%s is %s: %s", task, got.GetState(), got.GetMessage())
		}
	}
	if verified := find(t, run, "verified/green"); verified.GetState() == pb.TaskState_TASK_STATE_SUCCEEDED {
		t.Error("green tolerates nobody who is away, and is verified")
	}
	if state := run.GetState(); state != pb.RunState_RUN_STATE_RUNNING {
		t.Errorf("the run is %s, and us is not caught up", state)
	}
	w.until(t, "us was tried in vain", func() bool {
		tries := find(t, w.get(t, id), "catchup/api@both/us").GetAttempts()
		return len(tries) > 0 && tries[0].GetOutcome() == pb.Outcome_OUTCOME_ERRORED
	})
	w.us.open(true)
	run = w.ended(t, id)
	if later := find(t, run, "catchup/api@both/us"); later.GetState() != pb.TaskState_TASK_STATE_SUCCEEDED || len(later.GetAttempts()) < 2 {
		t.Errorf("%s is %s after %d attempts: %s", later.GetId(), later.GetState(), len(later.GetAttempts()), later.GetMessage())
	}
	if got := w.serves(t, "both"); !all(got, image(t, run)) {
		t.Errorf("in both serves %v, want %s", got, image(t, run))
	}
	if got := w.serves(t, "green"); got["eu"] != before["eu"] || got["us"] != before["us"] {
		t.Errorf("in green serves %v, want %v as before", got, before)
	}
}

// switched says that every request in green was answered by these versions, one after the other: never by two at a time.
func (w *world) switched(t *testing.T, h *heard, want ...string) {
	t.Helper()
	for _, c := range w.clusters {
		w.until(t, "requests are answered as last", func() bool { list := h.versions(c.Name, "green"); return list[len(list)-1] == want[len(want)-1] })
		if got := h.versions(c.Name, "green"); !slices.Equal(got, want) {
			t.Errorf("in green of %s requests were answered by %v, want %v", c.Name, got, want)
		}
	}
}

func over(task *pb.Task) bool { return task.GetState() >= pb.TaskState_TASK_STATE_SUCCEEDED }

// until waits for what holds in a moment.
func (w *world) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(8 * time.Minute) // three builds at once take theirs on a machine that has other work
	defer deadline.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("it does not come about that %s", what)
		}
	}
}
