//go:build e2e

package kill_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/slipway-build/slipway/internal/e2e/audit"
)

const (
	namespace = "shop"
	deployer  = "slipway-deployer" // how deployers call themselves to the API server
)

// writes counts how often somebody wrote a Deployment, as the API server's audit log has it.
func writes(t *testing.T, cluster, agent, name string) int {
	t.Helper()
	n, err := audit.Writes(shared.clusters[cluster].Audit, agent, namespace, name)
	must(t, err)
	return n
}

func kube(t *testing.T, cluster, agent string) kubernetes.Interface {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", shared.clusters[cluster].Kubeconfig)
	must(t, err)
	cfg.UserAgent = agent
	c, err := kubernetes.NewForConfig(cfg)
	must(t, err)
	return c
}

// generation of a Deployment: it grows with every change of what is wanted.
func generation(t *testing.T, cluster, name string) (int64, string) {
	t.Helper()
	d, err := kube(t, cluster, "test").AppsV1().Deployments(namespace).Get(t.Context(), name, metav1.GetOptions{})
	must(t, err)
	return d.Generation, d.Spec.Template.Spec.Containers[0].Image
}

// TestTheWitnessSeesADoubleApply: what the other tests rely on.
func TestTheWitnessSeesADoubleApply(t *testing.T) {
	r := newRepo(t)
	r.succeeds(r.submit(), nil)
	const agent = "double-apply"
	before, _ := generation(t, "eu", "one")
	for _, paused := range []string{"20", "21"} {
		patch := []byte(`{"spec": {"revisionHistoryLimit": ` + paused + `}}`)
		_, err := kube(t, "eu", agent).AppsV1().Deployments(namespace).Patch(t.Context(), "one", types.MergePatchType, patch, metav1.PatchOptions{})
		must(t, err)
		_, err = kube(t, "eu", agent).AppsV1().Deployments(namespace).Patch(t.Context(), "one", types.MergePatchType, patch, metav1.PatchOptions{DryRun: []string{"All"}})
		must(t, err)
	}
	must(t, until("the audit log", func() bool { return writes(t, "eu", agent, "one") >= 2 }))
	if n := writes(t, "eu", agent, "one"); n != 2 {
		t.Errorf("the audit log has %d writes, want 2", n)
	}
	if after, _ := generation(t, "eu", "one"); after != before+2 {
		t.Errorf("generation %d after two writes on %d", after, before)
	}
}
