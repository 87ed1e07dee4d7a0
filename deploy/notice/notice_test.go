package notice_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/notice"
	"github.com/slipway-build/slipway/internal/kubetest"
)

func TestMain(m *testing.M) { os.Exit(kubetest.Main(m)) }

// ear hears what is told, the second time that it is.
type ear struct {
	mu    sync.Mutex
	asked map[notice.Change]int
	heard map[string]int // by environment
}

var errNotNow = errors.New("not now")

func (e *ear) tell(_ context.Context, c notice.Change) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.asked[c]++; e.asked[c] == 1 {
		return errNotNow
	}
	e.heard[c.Environment]++
	return nil
}

func (e *ear) times(environment string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.heard[environment]
}

func (e *ear) wait(t *testing.T, what, environment string, n int) {
	t.Helper()
	kubetest.Eventually(t, what, func() bool { return e.times(environment) >= n })
}

const objects = `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: blue, size: small}
---
apiVersion: v1
kind: Service
metadata: {name: api}
spec: {selector: {app: api}, ports: [{port: 80}]}
`

func TestWhatOthersChangeIsTold(t *testing.T) {
	ns, client := kubetest.NewNamespace(t), kubetest.Client(t)
	c, err := cluster.Open(cluster.Spec{Name: "one", Kubeconfig: kubetest.Kubeconfig(t), QPS: 500, Burst: 500})
	if err != nil {
		t.Fatal(err)
	}
	var counter uint64
	release := func(environment, text string) {
		t.Helper()
		counter++
		out, err := apply.Apply(t.Context(), c, apply.Request{
			Target:    apply.Target{Project: "shop", Service: "api", Environment: environment, Namespace: ns},
			Stamp:     apply.Stamp{Fence: apply.Fence{Epoch: 1, Counter: counter}, Release: "r", Run: "shop-1"},
			Manifests: []byte(text),
		})
		if err != nil || len(out.Refused) > 0 {
			t.Fatalf("apply: %v %v", out.Refused, err)
		}
	}
	release("prod", objects)
	other := strings.ReplaceAll(strings.ReplaceAll(objects, "name: settings", "name: others"), "name: api}", "name: other}")
	release("dev", other)

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	e := &ear{asked: map[notice.Change]int{}, heard: map[string]int{}}
	w := notice.New(notice.Config{Clusters: []*cluster.Cluster{c}, Tell: e.tell, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	e.wait(t, "what is there when it begins", "prod", 1)
	e.wait(t, "what is there when it begins", "dev", 1)

	maps := client.CoreV1().ConfigMaps(ns)
	patch := func(name, text string) {
		t.Helper()
		if _, err := maps.Patch(t.Context(), name, types.MergePatchType, []byte(text), metav1.PatchOptions{FieldManager: "kubectl-edit"}); err != nil {
			t.Fatal(err)
		}
	}
	before := e.times("prod")
	// None of it is a change of what was released: a field beside, and another release.
	patch("settings", `{"data":{"theirs":"too"},"metadata":{"annotations":{"example.com/note":"seen"}}}`)
	release("prod", strings.Replace(objects, "color: blue, size: small", "color: green", 1))
	n := e.times("dev")
	patch("others", `{"data":{"color":"purple"}}`)
	e.wait(t, "a field that was changed", "dev", n+1)
	if now := e.times("prod"); now != before {
		t.Errorf("nobody changed what was released to prod, and it was told %d times", now-before)
	}
	n = e.times("dev")
	patch("others", `{"data":{"size":null}}`)
	e.wait(t, "a field that was removed", "dev", n+1)
	n = e.times("dev")
	if err := maps.Delete(t.Context(), "others", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	e.wait(t, "an object that was deleted", "dev", n+1)
	n = e.times("dev")
	if _, err := client.CoreV1().Services(ns).Patch(t.Context(), "other", types.MergePatchType, []byte(`{"metadata":{"labels":{"app.kubernetes.io/managed-by":"me"}}}`), metav1.PatchOptions{FieldManager: "me"}); err != nil {
		t.Fatal(err)
	}
	e.wait(t, "an object that was taken", "dev", n+1)
	if now := e.times("prod"); now != before {
		t.Errorf("nobody changed what was released to prod, and it was told %d times", now-before)
	}
}
