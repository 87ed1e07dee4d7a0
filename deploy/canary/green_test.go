package canary_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/canary"
	"github.com/slipway-build/slipway/deploy/rolling"
	"github.com/slipway-build/slipway/internal/kubetest"
)

// queue is a Deployment of app's that no Service sends requests to.
const queue = `
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: queue}
spec:
  replicas: 1
  selector: {matchLabels: {app: queue}}
  template:
    metadata: {labels: {app: queue}}
    spec: {containers: [{name: server, image: example.com/queue}]}
`

// part is a step of blue-green.
func (s *scene) part(release, text string, weight int) (rolling.Result, error) {
	s.t.Helper()
	return canary.Shift(s.t.Context(), s.c, s.request(release, text), canary.Part{Router: canary.Service, Weight: weight}, check(), hasty(), rolling.Listener{})
}

func (s *scene) watch(release, text string) rolling.Result {
	s.t.Helper()
	return s.good(canary.Analyze(s.t.Context(), s.c, canary.Analysis{
		Target: s.target(), Manifests: []byte(text), Release: release, Fence: s.fence(), Part: canary.Part{Router: canary.Service}, Pause: time.Second,
	}, check(), hasty(), rolling.Listener{}))
}

// behind is which Deployments the ready pods are of that a Service sends requests to, as its EndpointSlices say.
func (s *scene) behind(service string) map[string]int {
	s.t.Helper()
	slices, err := kubetest.Client(s.t).DiscoveryV1().EndpointSlices(s.ns).List(s.t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + service})
	if err != nil {
		s.t.Fatal(err)
	}
	out := map[string]int{}
	for _, slice := range slices.Items {
		for _, e := range slice.Endpoints {
			if e.TargetRef != nil && e.Conditions.Ready != nil && *e.Conditions.Ready {
				name, _, _ := strings.Cut(e.TargetRef.Name, "-canary")
				if name != e.TargetRef.Name {
					name += "-canary"
				} else {
					name, _, _ = strings.Cut(name, "-")
				}
				out[name]++
			}
		}
	}
	return out
}

func (s *scene) eventually(service string, want map[string]int) {
	s.t.Helper()
	kubetest.Eventually(s.t, "the requests to go where they belong", func() bool { return maps.Equal(s.behind(service), want) })
}

// theirs is a Service of somebody else, which selects the same pods.
func (s *scene) theirs() {
	s.t.Helper()
	_, err := kubetest.Client(s.t).CoreV1().Services(s.ns).Create(s.t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "theirs"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"tier": "back"}, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
}

func tiered(text string) string {
	return strings.Replace(text, "metadata: {labels: {app: api}", "metadata: {labels: {app: api, tier: back}", 1)
}

func TestBlueGreenToTheEnd(t *testing.T) {
	s := setUp(t)
	one, two := tiered(app("1", ""))+queue, tiered(app("2", ""))+queue
	s.deploy("r1", one)
	s.theirs()
	_, stable := s.spec("api")
	s.eventually("api", map[string]int{"api": 4})

	up := s.good(s.part("r2", two, 0))
	if up.Applied.Wrote() != 2 || len(up.Health.ReadyPods) != 4 {
		t.Errorf("%d written, %d pods: %v", up.Applied.Wrote(), len(up.Health.ReadyPods), up.Applied.Changes)
	}
	s.watch("r2", two)
	s.eventually("api", map[string]int{"api": 4})
	s.eventually("theirs", map[string]int{"api": 4})

	turned := s.good(s.part("r2", two, 100))
	if turned.Applied.Wrote() != 1 || turned.Applied.Changes[0].Ref.String() != "Service/api" {
		t.Errorf("the switch is of %v", turned.Applied.Changes)
	}
	s.eventually("api", map[string]int{"api-canary": 4})
	s.eventually("theirs", map[string]int{"api": 4})
	s.watch("r2", two)
	if again := s.good(s.part("r2", two, 100)); again.Applied.Wrote() != 0 {
		t.Errorf("a repeat wrote %v", again.Applied.Changes)
	}
	if replicas, now := s.spec("api"); now != stable || replicas != 4 {
		t.Errorf("what served before is not kept as it was: %s, then %s", stable, now)
	}

	whole := s.deploy("r2", two)
	s.eventually("api", map[string]int{"api": 4})
	if len(whole.Pruned) != 2 || s.configured("settings") != "2" {
		t.Errorf("pruned %v, configured with %s", whole.Pruned, s.configured("settings"))
	}
	service, err := kubetest.Client(t).CoreV1().Services(s.ns).Get(t.Context(), "api", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"app": "api"}, service.Spec.Selector); diff != "" {
		t.Error(diff)
	}
	if again := s.deploy("r2", two); again.Applied.Wrote() != 0 {
		t.Errorf("once more wrote %v", again.Applied.Changes)
	}
}

// TestSwitchedBack: the requests go back before the candidate's pods do, and what served before was never written.
func TestSwitchedBack(t *testing.T) {
	s := setUp(t)
	s.deploy("r1", app("1", ""))
	_, stable := s.spec("api")
	s.good(s.part("r2", app("2", ""), 0))
	s.good(s.part("r2", app("2", ""), 100))
	s.eventually("api", map[string]int{"api-canary": 4})
	back := s.rollback("r2", "r1", app("1", ""))
	var order []string
	for _, c := range back.Applied.Changes {
		if c.Action != apply.Unchanged {
			order = append(order, string(c.Action)+" "+c.Ref.String())
		}
	}
	if len(order) != 3 || order[0] != "changed Service/api" {
		t.Errorf("in this order: %v", order)
	}
	if _, now := s.spec("api"); now != stable {
		t.Errorf("what served before was written: %s, then %s", stable, now)
	}
	s.eventually("api", map[string]int{"api": 4})
}

// TestTheSwitchStaysUntilTheReleaseIsHealthy: the last step breaks, and the candidate goes on serving; then the service is released by
// another strategy, and what was left in the middle is finished.
func TestTheSwitchStaysUntilTheReleaseIsHealthy(t *testing.T) {
	s := setUp(t)
	s.deploy("r1", app("1", ""))
	s.good(s.part("r2", app("2", ""), 0))
	s.good(s.part("r2", app("2", ""), 100))
	bad := app("2", "crash-loop") // as it turns out
	result, err := canary.Finish(t.Context(), s.c, s.request("r2", bad), check(), hasty(), rolling.Listener{})
	if err != nil || result.Verdict != rolling.Unhealthy {
		t.Fatal(err, result.Verdict)
	}
	s.eventually("api", map[string]int{"api-canary": 4})

	refused, err := s.part("r3", app("3", ""), 0)
	if err != nil || refused.Verdict != rolling.Refused || !strings.Contains(refused.Explanation(), "candidate of release r2, which was neither finished nor taken back") {
		t.Errorf("%v: %s %s", err, refused.Verdict, refused.Explanation())
	}
	s.deploy("r3", app("3", ""))
	s.eventually("api", map[string]int{"api": 4})
	if _, ok := s.owned()["Deployment/api-canary"]; ok {
		t.Error("the copy is left")
	}
}

func TestWithoutAServiceNothingIsSwitched(t *testing.T) {
	s := setUp(t)
	alone := strings.TrimPrefix(queue, "\n---\n")
	s.deploy("r1", alone)
	for _, weight := range []int{0, 100} {
		result := s.good(s.part("r2", alone+"# again", weight))
		if result.Touched || !strings.Contains(result.Note, "no Service of the release sends requests to a Deployment") {
			t.Errorf("at %d: touched %v, %q", weight, result.Touched, result.Note)
		}
	}
}

func TestPartsThatNoRouterGives(t *testing.T) {
	s := setUp(t)
	for _, part := range []canary.Part{{Weight: 0}, {Weight: 51}, {Router: canary.Service, Weight: 50}} {
		if _, err := canary.Shift(t.Context(), s.c, s.request("r1", app("1", "")), part, check(), hasty(), rolling.Listener{}); err == nil || !strings.Contains(err.Error(), "by service") {
			t.Errorf("%+v: %v", part, err)
		}
	}
}
