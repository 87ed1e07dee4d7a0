package rolling_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/release/common"
	helm "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/storage"
	"helm.sh/helm/v4/pkg/storage/driver"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/release"
	"github.com/slipway-build/slipway/deploy/revision"
	"github.com/slipway-build/slipway/deploy/rolling"
	"github.com/slipway-build/slipway/internal/kubetest"
)

// charted is a release that Helm is to know of, as rendering writes it.
func charted(version, simulate string) string {
	return fmt.Sprintf(`{"apiVersion":"slipway.dev/v1","kind":"HelmRelease","metadata":{"name":"api"},`+
		`"chart":{"name":"server","version":"0.1.%s","appVersion":"7"},"defaults":{"replicas":1},"values":{"replicas":2,"tag":"%s"}}`, version, version) +
		"\n---\n" + app(version, simulate) + hook("smoke", "after", "3", "1", "")
}

// helmScene is a namespace, and what Helm's own library says of it.
type helmScene struct {
	t     *testing.T
	c     *cluster.Cluster
	ns    string
	store *storage.Storage
}

func setUpHelm(t *testing.T) helmScene {
	t.Helper()
	return helmSceneIn(t, kubetest.NewNamespace(t))
}

func helmSceneIn(t *testing.T, ns string) helmScene {
	t.Helper()
	return helmScene{t, open(t, kubetest.Kubeconfig(t)), ns, storage.Init(driver.NewSecrets(kubetest.Client(t).CoreV1().Secrets(ns)))}
}

func (s helmScene) deploy(release, text string, counter uint64, adopt bool) rolling.Result {
	s.t.Helper()
	req := request(s.ns, release, text, counter)
	req.Adopt, req.Stamp.Run = adopt, "run-"+release
	return deploy(s.t, s.c, req)
}

func (s helmScene) good(release, text string, counter uint64) rolling.Result {
	s.t.Helper()
	result := s.deploy(release, text, counter, false)
	if result.Verdict != rolling.Healthy {
		s.t.Fatalf("%s: %s %s", release, result.Verdict, result.Explanation())
	}
	return result
}

func (s helmScene) rollback(candidate string, stable *revision.Release, counter uint64) rolling.Result {
	s.t.Helper()
	result, err := rolling.Rollback(s.t.Context(), s.c, revision.Request{
		Target: target(s.ns), Candidate: candidate, Stable: stable, Fence: apply.Fence{Epoch: 1, Counter: counter},
	}, rolling.Check{}, hasty(), rolling.Listener{})
	if err != nil || result.Verdict != rolling.Healthy {
		s.t.Fatalf("%v: %s %s", err, result.Verdict, result.Explanation())
	}
	return result
}

// history is "revision status chart description" of each revision, the oldest first.
func (s helmScene) history() []string {
	s.t.Helper()
	var out []string
	for _, r := range s.records() {
		out = append(out, fmt.Sprintf("%d %s %s %s", r.Version, r.Info.Status, r.Chart.Metadata.Version, r.Info.Description))
	}
	return out
}

func (s helmScene) records() []*helm.Release {
	s.t.Helper()
	found, err := s.store.History("api")
	if err != nil && !errors.Is(err, driver.ErrReleaseNotFound) {
		s.t.Fatal(err)
	}
	out := make([]*helm.Release, 0, len(found))
	for _, r := range found {
		out = append(out, r.(*helm.Release)) //nolint:forcetypeassert // of Helm's own
	}
	for i := range out {
		for j := range out[:i] {
			if out[i].Version < out[j].Version {
				out[i], out[j] = out[j], out[i]
			}
		}
	}
	return out
}

func (s helmScene) expect(want ...string) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.history()); diff != "" {
		s.t.Errorf("what Helm knows (-want +got):\n%s", diff)
	}
}

// foreign puts a release there as Helm itself keeps it.
func (s helmScene) foreign(version int, status common.Status, labels map[string]string) {
	s.t.Helper()
	if err := s.store.Create(&helm.Release{
		Name: "api", Namespace: s.ns, Version: version, Manifest: "---\n", Labels: labels,
		Chart: &chart.Chart{Metadata: &chart.Metadata{Name: "server", Version: "0.0.1"}},
		Info:  &helm.Info{Status: status, Description: "Install complete", FirstDeployed: time.Unix(1e9, 0), LastDeployed: time.Unix(1e9, 0)},
	}); err != nil {
		s.t.Fatal(err)
	}
}

func TestHelmKnowsTheRelease(t *testing.T) {
	s := helmSceneIn(t, kubetest.Namespace(t)) // the release makes it
	s.good("r1", charted("1", ""), 1)
	s.expect("1 deployed 0.1.1 Slipway applied release r1, run run-r1")
	r := s.records()[0]
	if diff := cmp.Diff(map[string]any{"replicas": 2.0, "tag": "1"}, r.Config); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
	if r.Chart.Metadata.AppVersion != "7" || r.Chart.Values["replicas"] != 1.0 || r.Namespace != s.ns || r.Info.FirstDeployed.IsZero() {
		t.Errorf("the chart is %+v with %v, in %s", r.Chart.Metadata, r.Chart.Values, r.Namespace)
	}
	for _, want := range []string{"kind: Deployment", "example.com/api:1", "kind: Service"} {
		if !strings.Contains(r.Manifest, want) {
			t.Errorf("the manifest lacks %s:\n%s", want, r.Manifest)
		}
	}
	if strings.Contains(r.Manifest, "HelmRelease") || strings.Contains(r.Manifest, "kind: Job") {
		t.Errorf("the manifest has what is none of its objects:\n%s", r.Manifest)
	}
	if len(r.Hooks) != 1 || r.Hooks[0].Name != "smoke" || r.Hooks[0].Weight != 3 || r.Hooks[0].Events[0] != helm.HookPostInstall {
		t.Errorf("hooks %+v", r.Hooks)
	}

	// A repeat, and another release of the same content, say nothing new.
	s.good("r1", charted("1", ""), 2)
	s.good("r2", charted("1", ""), 3)
	s.expect("1 deployed 0.1.1 Slipway applied release r1, run run-r1")
	second := s.good("r3", charted("2", ""), 4)
	if second.Helm.Revision != 2 || !second.Helm.Written {
		t.Errorf("outcome %+v", second.Helm)
	}
	s.expect("1 superseded 0.1.1 Slipway applied release r1, run run-r1", "2 deployed 0.1.2 Slipway applied release r3, run run-r3")

	// What an attempt left undone, the next one does.
	first := s.records()[0]
	first.Info.Status = common.StatusDeployed
	if err := s.store.Update(first); err != nil {
		t.Fatal(err)
	}
	s.good("r3", charted("2", ""), 5)
	s.expect("1 superseded 0.1.1 Slipway applied release r1, run run-r1", "2 deployed 0.1.2 Slipway applied release r3, run run-r3")

	// What is no Helm release any more has no record.
	if gone := s.good("r4", app("2", ""), 6); gone.Helm.Removed != 2 {
		t.Errorf("outcome %+v", gone.Helm)
	}
	s.expect()
}

func TestHelmKnowsRollbacks(t *testing.T) {
	s := setUpHelm(t)
	stable := &revision.Release{ID: "r1", Manifests: []byte(charted("1", ""))}
	s.good("r1", charted("1", ""), 1)
	// Of a release that never worked, Helm hears nothing.
	if bad := s.deploy("r2", charted("2", "crash-loop"), 2, false); bad.Verdict != rolling.Unhealthy {
		t.Fatalf("%s", bad.Verdict)
	}
	s.rollback("r2", stable, 3)
	s.expect("1 deployed 0.1.1 Slipway applied release r1, run run-r1")
	// Of one that worked here, and was taken back since it did not elsewhere, it does.
	s.good("r3", charted("3", ""), 4)
	s.rollback("r3", stable, 5)
	s.rollback("r3", stable, 6)
	s.expect("1 superseded 0.1.1 Slipway applied release r1, run run-r1", "2 superseded 0.1.3 Slipway applied release r3, run run-r3",
		"3 deployed 0.1.1 Slipway went back to release r1")
	if back := s.records()[2].Info.RollbackRevision; back != 1 {
		t.Errorf("it went back to revision %d, want 1", back)
	}
}

func TestHelmForgetsWhatIsTakenBack(t *testing.T) {
	s := setUpHelm(t)
	s.foreign(4, common.StatusDeployed, nil)
	s.deploy("r1", charted("1", ""), 1, true)
	s.expect("4 superseded 0.0.1 Install complete", "5 deployed 0.1.1 Slipway applied release r1, run run-r1")
	s.rollback("r1", nil, 2)
	s.expect("4 deployed 0.0.1 Install complete")
}

func TestHelmReleaseOfOthers(t *testing.T) {
	labels := map[string]string{
		apply.LabelProject: "shop", apply.LabelService: "api", apply.LabelEnvironment: "dev", apply.AnnotationFence: "1.0", "slipway.dev/revision": "1",
	}
	for name, test := range map[string]struct {
		status common.Status
		labels map[string]string // as Helm copies them when it goes on from a revision of Slipway's
		adopt  bool
		want   string // in the refusal; empty: it is taken over
	}{
		"refused":            {common.StatusDeployed, nil, false, "revision 2 (deployed), which Slipway did not write; slipway run --adopt takes it over"},
		"gone on with":       {common.StatusDeployed, labels, false, "which Slipway did not write"},
		"taken over":         {common.StatusDeployed, nil, true, ""},
		"uninstalled":        {common.StatusUninstalled, nil, false, ""},
		"in the middle of":   {common.StatusPendingUpgrade, nil, true, "Helm is in the middle of it"},
		"failed, taken over": {common.StatusFailed, labels, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := setUpHelm(t)
			s.foreign(2, test.status, test.labels)
			before := s.history()
			foreseen, err := rolling.Compare(t.Context(), s.c, apply.Request{
				Target: target(s.ns), Manifests: []byte(charted("1", "")), Adopt: test.adopt, Stamp: apply.Stamp{Run: "r1"},
			}, hasty(), rolling.Listener{})
			if err != nil || strings.Contains(foreseen.Explanation(), test.want) != (foreseen.Verdict == rolling.Refused || test.want == "") ||
				(foreseen.Verdict == rolling.Refused) != (test.want != "") {
				t.Errorf("foreseen: %v %s %s", err, foreseen.Verdict, foreseen.Explanation())
			}
			s.expect(before...)
			result := s.deploy("r1", charted("1", ""), 1, test.adopt)
			if test.want == "" {
				if got := s.history(); result.Verdict != rolling.Healthy || len(got) != 2 || !strings.HasPrefix(got[1], "3 deployed 0.1.1 ") {
					t.Errorf("%s %s: %q", result.Verdict, result.Explanation(), got)
				}
				if first := s.records()[1].Info.FirstDeployed; !first.Equal(time.Unix(1e9, 0)) {
					t.Errorf("first deployed %s, want when Helm did", first)
				}
				return
			}
			if result.Verdict != rolling.Refused || result.Touched || !strings.Contains(result.Explanation(), test.want) {
				t.Errorf("%s, touched %v: %s", result.Verdict, result.Touched, result.Explanation())
			}
			services, err := kubetest.Client(t).CoreV1().Services(s.ns).List(t.Context(), metav1.ListOptions{})
			if err != nil || len(services.Items) > 0 {
				t.Errorf("%d services were written, %v", len(services.Items), err)
			}
			s.expect(before...)
		})
	}
}

// TestHelmReleaseOfOthersAfterARollback is left alone: what stood before must come back all the same.
func TestHelmReleaseOfOthersAfterARollback(t *testing.T) {
	s := setUpHelm(t)
	s.good("r1", charted("1", ""), 1)
	s.foreign(2, common.StatusDeployed, nil)
	result := s.rollback("r2", &revision.Release{ID: "r1", Manifests: []byte(charted("1", ""))}, 2)
	if !strings.Contains(result.Helm.String(), "is left as it is") {
		t.Errorf("outcome %q", result.Helm)
	}
	s.expect("1 deployed 0.1.1 Slipway applied release r1, run run-r1", "2 deployed 0.0.1 Install complete")
}

// TestHelmRecords are bounded, fenced, and of a size that a Secret can have.
func TestHelmRecords(t *testing.T) {
	s := setUpHelm(t)
	write := func(ctx context.Context, version, padding string, counter uint64) (release.Outcome, error) {
		return release.Write(ctx, s.c, release.Request{
			Target: target(s.ns), Stamp: apply.Stamp{Fence: apply.Fence{Epoch: 1, Counter: counter}, Release: "r" + version},
			Manifests: []byte(charted(version, padding)),
		})
	}
	for n := range 12 {
		if out, err := write(t.Context(), fmt.Sprint(n+1), "", uint64(n+1)); err != nil || out.Revision != n+1 {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	got := s.history()
	if len(got) != 10 || !strings.HasPrefix(got[0], "3 superseded ") || !strings.HasPrefix(got[9], "12 deployed ") {
		t.Errorf("history %q", got)
	}
	if deployed, err := s.store.DeployedAll("api"); err != nil || len(deployed) != 1 {
		t.Errorf("%d revisions are deployed, %v", len(deployed), err)
	}
	if _, err := write(t.Context(), "13", "", 11); !errors.Is(err, apply.ErrSuperseded) {
		t.Errorf("a lease that was overtaken: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := write(ended, "13", "", 13); !errors.Is(err, context.Canceled) {
		t.Errorf("a lease that ended: %v", err)
	}
	s.expect(got...)
	// More than a Secret can hold is refused before anything is written: random, since Helm compresses it.
	padding := make([]byte, 2<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(padding)
	large := strings.Replace(charted("13", ""), `"tag":`, fmt.Sprintf(`"padding":"%x","tag":`, padding), 1)
	result := s.deploy("r13", large, 13, false)
	if result.Verdict != rolling.Refused || result.Touched || !strings.Contains(result.Explanation(), "with mode: apply none is kept") {
		t.Errorf("%s, touched %v: %.300s", result.Verdict, result.Touched, result.Explanation())
	}
	s.expect(got...)
}
