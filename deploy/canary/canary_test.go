package canary_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/canary"
	"github.com/slipway-build/slipway/deploy/health"
	"github.com/slipway-build/slipway/deploy/rolling"
	"github.com/slipway-build/slipway/internal/kubetest"
)

func TestStepsToTheEnd(t *testing.T) {
	s := setUp(t)
	s.deploy("r1", app("1", ""))
	before := s.owned()
	_, stable := s.spec("api")

	first := s.good(s.shift("r2", app("2", ""), 10))
	if first.Applied.Wrote() != 2 || len(first.Health.ReadyPods) != 1 || !first.Health.Simulated || !first.Touched || first.HTTP.Status != 0 {
		t.Errorf("%d written, %d pods, touched %v, http %d", first.Applied.Wrote(), len(first.Health.ReadyPods), first.Touched, first.HTTP.Status)
	}
	if s.configured("settings") != "1" || s.configured("settings-canary") != "2" {
		t.Errorf("what serves has configuration %s, the candidate %s", s.configured("settings"), s.configured("settings-canary"))
	}
	if all, candidates := s.selected(); all != 5 || candidates != 1 {
		t.Errorf("%d pods serve, %d of them the candidate's", all, candidates)
	}
	s.good(s.analyze("r2", app("2", ""), time.Second, nil))

	again := s.good(s.shift("r2", app("2", ""), 10))
	if again.Applied.Wrote() != 0 || !again.Touched {
		t.Errorf("a repeat wrote %d objects, touched %v", again.Applied.Wrote(), again.Touched)
	}
	half := s.good(s.shift("r2", app("2", ""), 50))
	if half.Applied.Wrote() != 1 || len(half.Health.ReadyPods) != 4 {
		t.Errorf("half: %d written, %d pods", half.Applied.Wrote(), len(half.Health.ReadyPods))
	}
	analyzed := s.good(s.analyze("r2", app("2", ""), time.Second, nil))
	if analyzed.Touched || len(analyzed.Health.ReadyPods) != 4 {
		t.Errorf("the analysis touched %v, and saw %d pods", analyzed.Touched, len(analyzed.Health.ReadyPods))
	}
	after := s.owned()
	for object, version := range before {
		if after[object] != version {
			t.Errorf("%s was touched", object)
		}
	}
	if _, now := s.spec("api"); now != stable {
		t.Errorf("what serves was written: %s, then %s", stable, now)
	}

	whole := s.deploy("r2", app("2", ""))
	if len(whole.Pruned) != 2 || len(whole.Health.ReadyPods) != 4 {
		t.Errorf("pruned %v, %d pods", whole.Pruned, len(whole.Health.ReadyPods))
	}
	if s.configured("settings") != "2" {
		t.Error("the release does not have its configuration")
	}
	kubetest.Eventually(t, "the candidate's pods to go", func() bool {
		all, candidates := s.selected()
		return all == 4 && candidates == 0
	})
	if _, ok := s.owned()["Deployment/api-canary"]; ok {
		t.Error("the copy is left")
	}
}

// TestTakenBack: what serves is not written, and the candidate goes before anything is compared.
func TestTakenBack(t *testing.T) {
	s := setUp(t)
	s.deploy("r1", app("1", ""))
	before := s.owned()
	_, stable := s.spec("api")
	account := "\n---\n{apiVersion: v1, kind: ServiceAccount, metadata: {name: new}}\n---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: new}, rules: []}\n"
	text := strings.Replace(app("2", ""), "{containers:", "{serviceAccountName: new, containers:", 1) + account
	for range 2 {
		if got := s.good(s.shift("r2", text, 25)); len(got.Applied.Changes) != 4 {
			t.Errorf("the shift is of %v", got.Applied.Changes)
		}
	}
	result := s.rollback("r2", "r1", app("1", ""))
	if result.Applied.Wrote() != 4 {
		t.Errorf("written: %v", result.Applied.Changes)
	}
	if first := result.Applied.Changes[0]; first.Ref.String() != "Deployment/api-canary" || first.Action != apply.Deleted {
		t.Errorf("%s %s comes first", first.Action, first.Ref)
	}
	if diff := cmp.Diff(before, s.owned()); diff != "" {
		t.Errorf("what serves (-before +after):\n%s", diff)
	}
	if _, now := s.spec("api"); now != stable {
		t.Errorf("what serves was written: %s, then %s", stable, now)
	}
	if again := s.rollback("r2", "r1", app("1", "")); again.Applied.Wrote() != 0 {
		t.Errorf("a repeat wrote %v", again.Applied.Changes)
	}
}

// TestTakenBackFromTheLastStep: a candidate that replaces what served serves until that is back.
func TestTakenBackFromTheLastStep(t *testing.T) {
	s := setUp(t)
	s.deploy("r1", app("1", ""))
	s.good(s.shift("r2", app("2", ""), 50))
	bad := app("2", "crash-loop") // as it turns out
	if result, err := rolling.Deploy(t.Context(), s.c, s.request("r2", bad), check(), hasty(), rolling.Listener{}); err != nil || result.Verdict != rolling.Unhealthy {
		t.Fatal(err, result.Verdict)
	}
	if _, candidates := s.selected(); candidates != 4 {
		t.Errorf("%d of the candidate's pods are left beside a release that does not work", candidates)
	}
	result := s.rollback("r2", "r1", app("1", ""))
	if last := result.Applied.Changes[len(result.Applied.Changes)-2]; last.Ref.String() != "Deployment/api-canary" || last.Action != apply.Deleted {
		t.Errorf("%v", result.Applied.Changes)
	}
	if s.configured("settings") != "1" {
		t.Error("the configuration is not back")
	}
}

func TestNothingServesYet(t *testing.T) {
	s := setUp(t)
	judged := judge(func(context.Context) (canary.Judgment, error) {
		return canary.Judgment{}, errors.New("nothing to measure")
	})
	nothing := func(text, note string) {
		t.Helper()
		shifted := s.good(s.shift("r1", text, 10))
		analyzed := s.good(s.analyze("r1", text, time.Hour, judged))
		for _, result := range []rolling.Result{shifted, analyzed} {
			if result.Touched || result.Applied.Wrote() != 0 || !strings.Contains(result.Note, note) {
				t.Errorf("touched %v, wrote %d, %q", result.Touched, result.Applied.Wrote(), result.Note)
			}
		}
	}
	const yet = "no Deployment of the service serves here yet"
	nothing(app("1", ""), yet)
	if len(s.owned()) > 0 {
		t.Errorf("made %v", s.owned())
	}
	none := s.request("r0", strings.Replace(app("0", ""), "replicas: 4", "replicas: 0", 1))
	s.good(rolling.Deploy(t.Context(), s.c, none, rolling.Check{}, hasty(), rolling.Listener{}))
	nothing(app("1", ""), yet) // one that is scaled to nothing gets no requests
	nothing("{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}}", "the release has no Deployment")
}

// TestScaledByAnother: the part is of the pods that serve, whoever decides how many these are.
func TestScaledByAnother(t *testing.T) {
	s := setUp(t)
	without := func(version string) string { return strings.Replace(app(version, ""), "  replicas: 4\n", "", 1) }
	s.deploy("r1", without("1"))
	scale := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "api", Namespace: s.ns}, Spec: autoscalingv1.ScaleSpec{Replicas: 9}}
	if _, err := kubetest.Client(t).AppsV1().Deployments(s.ns).UpdateScale(t.Context(), "api", scale, metav1.UpdateOptions{FieldManager: "kube-controller-manager"}); err != nil {
		t.Fatal(err)
	}
	s.good(s.shift("r2", without("2"), 25))
	if copied, _ := s.spec("api-canary"); copied != 3 {
		t.Errorf("25 %% beside 9 are %d", copied)
	}
	if serving, _ := s.spec("api"); serving != 9 {
		t.Errorf("%d serve", serving)
	}
}

func TestACandidateThatFails(t *testing.T) {
	t.Run("as it starts", func(t *testing.T) {
		t.Parallel()
		s := setUp(t)
		s.deploy("r1", app("1", ""))
		result, err := s.shift("r2", app("2", "crash-loop"), 10)
		if err != nil || result.Verdict != rolling.Unhealthy || !result.Touched {
			t.Fatalf("%v: %s", err, result.Verdict)
		}
		s.tells(result, "Deployment/api-canary: pod api-canary-", "container server", "CrashLoopBackOff", "exit code 1")
		s.rollback("r2", "r1", app("1", ""))
	})
	for simulate, want := range map[string][]string{
		"crash-after-ready":   {"Deployment/api-canary: pod api-canary-", "container server", "exit code 1", "1 restarts", "last log lines"},
		"unready-after-ready": {"Deployment/api-canary: pod api-canary-", "container server", "NotReady"},
	} {
		t.Run(simulate, func(t *testing.T) {
			t.Parallel()
			s := setUp(t)
			s.deploy("r1", app("1", ""))
			s.good(s.shift("r2", app("2", simulate), 10))
			stopped := false
			waits := judge(func(ctx context.Context) (canary.Judgment, error) {
				<-ctx.Done()
				stopped = true
				return canary.Judgment{}, context.Cause(ctx)
			})
			result, err := s.analyze("r2", app("2", simulate), time.Hour, waits)
			if err != nil || result.Verdict != rolling.Unhealthy || result.Touched || !stopped {
				t.Fatalf("%v: %s, judge stopped %v", err, result.Verdict, stopped)
			}
			s.tells(result, want...)
		})
	}
}

func (s *scene) tells(result rolling.Result, parts ...string) {
	s.t.Helper()
	text := result.Explanation()
	s.t.Log(text)
	for _, part := range parts {
		if !strings.Contains(text, part) {
			s.t.Errorf("%q lacks %q", text, part)
		}
	}
}

type judge func(context.Context) (canary.Judgment, error)

func (j judge) Judge(ctx context.Context) (canary.Judgment, error) { return j(ctx) }

func TestAJudge(t *testing.T) {
	s := setUp(t)
	s.deploy("r1", app("1", ""))
	s.good(s.shift("r2", app("2", ""), 10))
	says := func(j canary.Judgment, err error) canary.Judge {
		return judge(func(context.Context) (canary.Judgment, error) { return j, err })
	}
	result, err := s.analyze("r2", app("2", ""), time.Hour, says(canary.Judgment{Text: "errors: 7 % and not 1 %"}, nil))
	if err != nil || result.Verdict != rolling.Worse || result.Explanation() != "errors: 7 % and not 1 %" {
		t.Errorf("%v: %s %s", err, result.Verdict, result.Explanation())
	}
	if result = s.good(s.analyze("r2", app("2", ""), time.Second, says(canary.Judgment{OK: true, Text: "errors: 1 %"}, nil))); result.Note != "errors: 1 %" {
		t.Errorf("note %q", result.Note)
	}
	if _, err = s.analyze("r2", app("2", ""), time.Hour, says(canary.Judgment{}, errors.New("no answer"))); err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("a judge that cannot tell: %v", err)
	}
}

func TestOvertaken(t *testing.T) {
	s := setUp(t)
	s.deploy("r1", app("1", ""))
	late := s.request("r2", app("2", ""))
	s.good(s.shift("r3", app("3", ""), 10))
	_, err := canary.Shift(t.Context(), s.c, late, canary.Part{Weight: 10}, check(), hasty(), rolling.Listener{})
	if !errors.Is(err, apply.ErrSuperseded) {
		t.Errorf("an older lease wrote over a newer one: %v", err)
	}
	_, err = s.analyze("r2", app("2", ""), time.Hour, nil)
	if !errors.Is(err, apply.ErrSuperseded) || !strings.Contains(err.Error(), `Deployment/api-canary is of release "r3" and not of release r2`) {
		t.Errorf("an analysis of another release: %v", err)
	}
	// The same content in another release: it is that one's to take back.
	s.good(s.shift("r4", app("3", ""), 10))
	s.good(s.analyze("r4", app("3", ""), time.Second, nil))
	s.rollback("r4", "r1", app("1", ""))
	_, err = s.analyze("r4", app("3", ""), time.Hour, nil)
	if !errors.Is(err, apply.ErrSuperseded) || !strings.Contains(err.Error(), "Deployment/api-canary, the candidate beside Deployment/api, is not there") {
		t.Errorf("an analysis of nothing: %v", err)
	}
}

func TestRefused(t *testing.T) {
	s := setUp(t)
	s.deploy("r1", app("1", "")+"\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: settings-canary}}")
	for name, c := range map[string]struct{ text, want string }{
		"a name that serves":             {app("2", ""), "ConfigMap/settings-canary: belongs to release r1, which serves"},
		"what only the last step writes": {app("2", "") + "\n---\n{apiVersion: v1, kind: Service, metadata: {name: other}, spec: {port: 80}}", "Service/other"},
		"no YAML":                        {"a: b: c", "document 1"},
	} {
		result, err := s.shift("r2", c.text, 10)
		if err != nil || result.Verdict != rolling.Refused || result.Touched || !strings.HasPrefix(result.Explanation(), c.want) {
			t.Errorf("%s: %v: %s %s, touched %v", name, err, result.Verdict, result.Explanation(), result.Touched)
		}
	}
	if _, ok := s.owned()["Deployment/api-canary"]; ok {
		t.Error("something was written")
	}
	if _, err := kubetest.Client(t).CoreV1().ConfigMaps(s.ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	req := s.request("r2", strings.ReplaceAll(app("2", ""), "name: settings", "name: others")+"\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: theirs}}")
	for adopt, want := range map[bool]rolling.Verdict{false: rolling.Refused, true: rolling.Healthy} {
		req.Adopt = adopt
		result, err := canary.Shift(t.Context(), s.c, req, canary.Part{Weight: 10}, check(), hasty(), rolling.Listener{})
		if err != nil || result.Verdict != want || adopt == strings.Contains(result.Explanation(), "slipway run --adopt takes it over") {
			t.Errorf("what others made, adopt %v: %v: %s %s", adopt, err, result.Verdict, result.Explanation())
		}
	}
	if _, err := s.shift("r2", app("2", ""), 60); err == nil || !strings.Contains(err.Error(), "1 to 50 percent") {
		t.Errorf("60 %%: %v", err)
	}
	if _, ok := s.owned()["ConfigMap/theirs"]; ok {
		t.Error("a shift took something over")
	}
}

// TestAPodThatIsReplaced: who takes a pod away has nothing against the candidate; that another comes is waited for.
func TestAPodThatIsReplaced(t *testing.T) {
	s := setUp(t)
	s.deploy("r1", app("1", ""))
	shifted := s.good(s.shift("r2", app("2", ""), 50))
	set := hasty()
	set.Grace.Unready = 20 * time.Second
	ready := 0
	listener := rolling.Listener{Progress: func(p health.Progress) {
		ready = p.Ready
		if p.Ready == p.Desired && len(shifted.Health.ReadyPods) > 0 {
			gone := shifted.Health.ReadyPods[0]
			shifted.Health.ReadyPods = nil
			if err := kubetest.Client(t).CoreV1().Pods(s.ns).Delete(t.Context(), gone, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: uid(t, s.ns, gone)}}); err != nil {
				t.Error(err)
			}
		}
	}}
	result := s.good(canary.Analyze(t.Context(), s.c, canary.Analysis{
		Target: s.target(), Manifests: []byte(app("2", "")), Release: "r2", Fence: s.fence(), Pause: 3 * time.Second,
	}, check(), set, listener))
	if ready != 4 || len(result.Health.ReadyPods) != 4 {
		t.Errorf("%d ready in the end, %v", ready, result.Health.ReadyPods)
	}
}

func uid(t *testing.T, ns, pod string) *types.UID {
	t.Helper()
	p, err := kubetest.Client(t).CoreV1().Pods(ns).Get(t.Context(), pod, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return &p.UID
}

// TestAnotherDeployerFinishes: what one that stopped in the middle has written is not written again.
func TestAnotherDeployerFinishes(t *testing.T) {
	s := setUp(t)
	s.deploy("r1", app("1", ""))
	ctx, stop := context.WithCancel(t.Context())
	var written []string
	listener := rolling.Listener{Changed: func(change apply.Change) {
		written = append(written, change.Ref.String())
		stop()
	}}
	if _, err := canary.Shift(ctx, s.c, s.request("r2", app("2", "")), canary.Part{Weight: 10}, check(), hasty(), listener); !errors.Is(err, context.Canceled) {
		t.Fatalf("stopped: %v", err)
	}
	if diff := cmp.Diff([]string{"ConfigMap/settings-canary"}, written); diff != "" {
		t.Fatal(diff)
	}
	if result := s.good(s.shift("r2", app("2", ""), 10)); result.Applied.Wrote() != 1 || len(result.Applied.Changes) != 2 {
		t.Errorf("the other one wrote %v", result.Applied.Changes)
	}
}
