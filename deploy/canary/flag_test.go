package canary_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/canary"
	"github.com/slipway-build/slipway/deploy/flag"
	"github.com/slipway-build/slipway/deploy/rolling"
	"github.com/slipway-build/slipway/internal/kubetest"
)

// withFlag is app with a flag file, in which everybody gets a variant.
func withFlag(version, variant string) string {
	return app(version, "") + fmt.Sprintf(`
---
apiVersion: v1
kind: ConfigMap
metadata: {name: flags}
data:
  flags.json: '{"flags": {"new": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "%s"}}}'
  README: no flag file
`, variant)
}

func (s *scene) move(release, text string, weight int) (rolling.Result, error) {
	s.t.Helper()
	return canary.Shift(s.t.Context(), s.c, s.request(release, text), canary.Part{Router: canary.Flag, Weight: weight, Flag: "new"}, check(), hasty(), rolling.Listener{})
}

func (s *scene) observe(release, text string) (rolling.Result, error) {
	s.t.Helper()
	return canary.Analyze(s.t.Context(), s.c, canary.Analysis{
		Target: s.target(), Manifests: []byte(text), Release: release, Fence: s.fence(), Part: canary.Part{Router: canary.Flag, Flag: "new"}, Pause: time.Second,
	}, check(), hasty(), rolling.Listener{})
}

// on is how many percent have the flag; where it is not on its way, all or nobody.
func (s *scene) on() int {
	s.t.Helper()
	c, err := kubetest.Client(s.t).CoreV1().ConfigMaps(s.ns).Get(s.t.Context(), "flags", metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	f, err := flag.Parse([]byte(c.Data["flags.json"]))
	if err != nil {
		s.t.Fatal(err)
	}
	variant, err := f.Variant("new")
	switch {
	case err != nil:
		if of := c.Annotations[canary.AnnotationFlag]; of != "new=off" {
			s.t.Errorf("it comes from %q", of)
		}
		return f.Share("new", "on")
	case variant == "on":
		return 100
	}
	return 0
}

func (s *scene) want(percent int) {
	s.t.Helper()
	if got := s.on(); got != percent {
		s.t.Errorf("%d percent have the flag, want %d", got, percent)
	}
}

func TestAFlagIsMovedInSteps(t *testing.T) {
	s := setUp(t)
	s.deploy("r1", withFlag("1", "off"))
	two := withFlag("2", "on")
	first := s.good(s.move("r2", two, 10))
	s.want(10)
	if s.configured("settings") != "2" || len(first.Health.ReadyPods) != 4 || len(first.Pruned) > 0 {
		t.Errorf("the release is not there as a whole: configured with %s, %d pods, pruned %v", s.configured("settings"), len(first.Health.ReadyPods), first.Pruned)
	}
	if got := s.good(s.observe("r2", two)); len(got.Health.ReadyPods) != 4 || got.Note != "" {
		t.Errorf("%d pods were watched: %s", len(got.Health.ReadyPods), got.Note)
	}
	if again := s.good(s.move("r2", two, 10)); again.Applied.Wrote() != 0 {
		t.Errorf("a repeat wrote %v", again.Applied.Changes)
	}
	half := s.good(s.move("r2", two, 60))
	s.want(60)
	if half.Applied.Wrote() != 1 {
		t.Errorf("the second step wrote %v", half.Applied.Changes)
	}
	if whole := s.deploy("r2", two); whole.Applied.Wrote() != 1 {
		t.Errorf("the last step wrote %v", whole.Applied.Changes)
	}
	s.want(100)
	done := s.good(s.move("r3", withFlag("3", "on"), 10))
	if done.Touched || !strings.Contains(done.Note, "flag new gives on to all already") {
		t.Errorf("a flag that stands: touched %v, %q", done.Touched, done.Note)
	}
	if done = s.good(s.observe("r3", withFlag("3", "on"))); !strings.Contains(done.Note, "to all already") {
		t.Errorf("a flag that stands is watched: %q", done.Note)
	}
}

func TestAFlagGoesBackWithItsRelease(t *testing.T) {
	s := setUp(t)
	s.deploy("r1", withFlag("1", "off"))
	s.good(s.move("r2", withFlag("2", "on"), 10))
	s.rollback("r2", "r1", withFlag("1", "off"))
	s.want(0)
	if s.configured("settings") != "1" {
		t.Error("the release did not go back")
	}
	if _, err := s.observe("r2", withFlag("2", "on")); !errors.Is(err, apply.ErrSuperseded) {
		t.Errorf("what was taken back is watched: %v", err)
	}
}

// TestAFlagThatNobodyFinished: the next release goes on from where everybody was, and not from where the one before stopped.
func TestAFlagThatNobodyFinished(t *testing.T) {
	s := setUp(t)
	s.deploy("r1", withFlag("1", "off"))
	s.good(s.move("r2", withFlag("2", "on"), 60))
	s.good(s.move("r3", withFlag("3", "on"), 10))
	s.want(10)
	if _, err := s.observe("r2", withFlag("2", "on")); !errors.Is(err, apply.ErrSuperseded) {
		t.Errorf("of another release: %v", err)
	}
}

func TestFlagsThatCannotBeMoved(t *testing.T) {
	s := setUp(t)
	s.deploy("r1", app("1", ""))
	if got := s.good(s.move("r2", app("2", ""), 10)); got.Touched || !strings.Contains(got.Note, "no ConfigMap of the release has a flag file with new") {
		t.Errorf("without: touched %v, %q", got.Touched, got.Note)
	}
	if got := s.good(s.move("r3", withFlag("3", "on"), 20)); got.Touched || !strings.Contains(got.Note, "flag new is not live here yet") {
		t.Errorf("a new one: touched %v, %q", got.Touched, got.Note)
	}
	const rules = `"defaultVariant": "on", "targeting": {"if": [true, "on", "off"]}`
	ruled := strings.Replace(withFlag("4", "on"), `"defaultVariant": "on"`, rules, 1)
	refused := func(release, text, want string) {
		t.Helper()
		result, err := s.move(release, text, 10)
		if err != nil || result.Verdict != rolling.Refused || !strings.Contains(result.Explanation(), want) {
			t.Errorf("%v: %s %s, want %s", err, result.Verdict, result.Explanation(), want)
		}
	}
	refused("r4", ruled, "ConfigMap/flags: data.flags.json: flag new does not give one variant to all")
	s.deploy("r4", ruled)
	refused("r5", withFlag("5", "on"), "ConfigMap/flags: data.flags.json: as it is live: flag new does not give one variant to all")
}
