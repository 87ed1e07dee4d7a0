package revision_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/revision"
	"github.com/slipway-build/slipway/internal/kubetest"
)

func TestMain(m *testing.M) { os.Exit(kubetest.Main(m)) }

const two = `
{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {v: "1"}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: b}, data: {v: "1"}}
`

type scene struct {
	t  *testing.T
	c  *cluster.Cluster
	ns string
}

func setUp(t *testing.T) scene {
	t.Helper()
	c, err := cluster.Open(cluster.Spec{Name: "test", Kubeconfig: kubetest.Kubeconfig(t), QPS: 500, Burst: 500})
	if err != nil {
		t.Fatal(err)
	}
	return scene{t, c, kubetest.NewNamespace(t)}
}

func (s scene) target() apply.Target {
	return apply.Target{Project: "shop", Service: "api", Environment: "dev", Namespace: s.ns}
}

func (s scene) apply(release, text string, counter uint64) {
	s.t.Helper()
	out, err := apply.Apply(s.t.Context(), s.c, apply.Request{
		Target: s.target(), Manifests: []byte(text),
		Stamp: apply.Stamp{Fence: apply.Fence{Epoch: 1, Counter: counter}, Release: release},
	})
	if err != nil || len(out.Refused) > 0 {
		s.t.Fatalf("apply %s: %v %v", release, err, out.Refused)
	}
}

func (s scene) rollback(candidate string, stable *revision.Release, counter uint64) (apply.Outcome, error) {
	return revision.Rollback(s.t.Context(), s.c, revision.Request{
		Target: s.target(), Candidate: candidate, Stable: stable, Fence: apply.Fence{Epoch: 1, Counter: counter},
	})
}

// values of the target's config maps.
func (s scene) values() map[string]string {
	s.t.Helper()
	list, err := kubetest.Client(s.t).CoreV1().ConfigMaps(s.ns).List(s.t.Context(), metav1.ListOptions{LabelSelector: apply.LabelManagedBy})
	if err != nil {
		s.t.Fatal(err)
	}
	got := map[string]string{}
	for _, item := range list.Items {
		got[item.Name] = item.Data["v"]
	}
	return got
}

func (s scene) expect(want map[string]string) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.values()); diff != "" {
		s.t.Errorf("live objects (-want +got):\n%s", diff)
	}
}

func stable() *revision.Release { return &revision.Release{ID: "r1", Manifests: []byte(two)} }

func TestFirstReleaseIsRemoved(t *testing.T) {
	s := setUp(t)
	s.apply("r1", two+"---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: kept, annotations: {slipway.dev/keep: 'true'}}, data: {v: x}}\n", 1)
	for counter := uint64(2); counter < 4; counter++ {
		if _, err := s.rollback("r1", nil, counter); err != nil {
			t.Fatal(err)
		}
		s.expect(map[string]string{"kept": "x"})
	}
	if _, err := kubetest.Client(t).CoreV1().Namespaces().Get(t.Context(), s.ns, metav1.GetOptions{}); err != nil {
		t.Errorf("the namespace: %v", err)
	}
}

func TestOnlyWhatTheCandidateChangedIsWritten(t *testing.T) {
	s := setUp(t)
	s.apply("r1", two, 1)
	s.apply("r2", strings.Replace(two, `"1"`, `"2"`, 1)+"---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {v: '2'}}\n", 2)
	s.expect(map[string]string{"a": "2", "b": "1", "c": "2"})
	out, err := s.rollback("r2", stable(), 3)
	if err != nil || out.Wrote() != 2 {
		t.Errorf("wrote %d objects, %v; want a changed and c deleted", out.Wrote(), err)
	}
	s.expect(map[string]string{"a": "1", "b": "1"})
	if out, err = s.rollback("r2", stable(), 4); err != nil || out.Wrote() != 0 {
		t.Errorf("the repeat wrote %d objects, %v", out.Wrote(), err)
	}
}

func TestHalfDoneRollbackIsFinished(t *testing.T) {
	s := setUp(t)
	s.apply("r1", two, 1)
	s.apply("r2", strings.ReplaceAll(two, `"1"`, `"2"`), 2)
	// Another deployer had taken back a before it was killed.
	s.apply("r1", strings.SplitN(two, "---", 2)[0], 3)
	s.expect(map[string]string{"a": "1", "b": "2"})
	out, err := s.rollback("r2", stable(), 4)
	if err != nil || out.Wrote() != 1 {
		t.Errorf("wrote %d objects, %v; want b alone", out.Wrote(), err)
	}
	s.expect(map[string]string{"a": "1", "b": "1"})
}

func TestSuperseded(t *testing.T) {
	for name, third := range map[string]string{
		"every object": strings.ReplaceAll(two, `"1"`, `"3"`),
		"one object":   strings.Replace(strings.ReplaceAll(two, `"1"`, `"2"`), `"2"`, `"3"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			s := setUp(t)
			s.apply("r1", two, 1)
			s.apply("r2", strings.ReplaceAll(two, `"1"`, `"2"`), 2)
			s.apply("r3", third, 3)
			before := s.values()
			_, err := s.rollback("r2", stable(), 4)
			if !errors.Is(err, apply.ErrSuperseded) {
				t.Errorf("got %v, want superseded", err)
			}
			t.Log(err)
			s.expect(before)
		})
	}
	t.Run("newer lease", func(t *testing.T) {
		s := setUp(t)
		s.apply("r2", two, 9)
		if _, err := s.rollback("r2", nil, 4); !errors.Is(err, apply.ErrSuperseded) {
			t.Errorf("got %v, want superseded", err)
		}
		s.expect(map[string]string{"a": "1", "b": "1"})
	})
}

// A run that releases the same again and fails elsewhere must not take down what was good before it.
func TestSameReleaseStays(t *testing.T) {
	s := setUp(t)
	s.apply("r1", two, 1)
	out, err := s.rollback("r1", stable(), 2)
	if err != nil || out.Wrote() != 0 {
		t.Errorf("wrote %d objects, %v", out.Wrote(), err)
	}
	s.expect(map[string]string{"a": "1", "b": "1"})
}

func TestFirstReleaseTakenBackKeepsWhatWasThere(t *testing.T) {
	s := setUp(t)
	maps := kubetest.Client(t).CoreV1().ConfigMaps(s.ns)
	if _, err := maps.Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: map[string]string{"v": "old"},
	}, metav1.CreateOptions{FieldManager: "platform"}); err != nil {
		t.Fatal(err)
	}
	out, err := apply.Apply(t.Context(), s.c, apply.Request{
		Target: s.target(), Manifests: []byte(two), Adopt: true, Stamp: apply.Stamp{Fence: apply.Fence{Epoch: 1, Counter: 1}, Release: "r1"},
	})
	if err != nil || len(out.Refused) > 0 {
		t.Fatal(err, out.Refused)
	}
	if out, err = s.rollback("r1", nil, 2); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, change := range out.Changes {
		got[change.Ref.String()] = string(change.Action) + " " + change.Reason
	}
	want := map[string]string{
		"ConfigMap/a": `kept it belonged to "platform" before Slipway, and is not deleted; it stands as the candidate left it`,
		"ConfigMap/b": "deleted ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what was taken back (-want +got):\n%s", diff)
	}
	s.expect(map[string]string{"a": "1"})
}

// TestACandidateBesideGoesFirst: what only stands beside the stable release goes before that is compared, and what pods start with
// goes last. One that replaced something goes after it is back.
func TestACandidateBesideGoesFirst(t *testing.T) {
	const beside = `
{apiVersion: v1, kind: ConfigMap, metadata: {name: a-canary}, data: {v: "2"}}
---
{apiVersion: v1, kind: Service, metadata: {name: z}, spec: {ports: [{port: 80}]}}
`
	for name, c := range map[string]struct {
		candidate string
		want      []string
	}{
		"beside":  {beside, []string{"deleted Service/z", "deleted ConfigMap/a-canary", "unchanged ConfigMap/a", "unchanged ConfigMap/b"}},
		"instead": {beside + `---` + "\n" + `{apiVersion: v1, kind: ConfigMap, metadata: {name: b}, data: {v: "2"}}`, []string{"unchanged ConfigMap/a", "changed ConfigMap/b", "deleted Service/z", "deleted ConfigMap/a-canary"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := setUp(t)
			s.apply("r1", two, 1)
			s.apply("r2", c.candidate, 2)
			out, err := s.rollback("r2", stable(), 3)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, change := range out.Changes {
				got = append(got, string(change.Action)+" "+change.Ref.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
