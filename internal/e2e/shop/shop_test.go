package shop_test

import (
	"fmt"
	"sort"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// images by service.
func images(r *pb.Run) map[string]string {
	out := map[string]string{}
	for _, task := range r.GetTasks() {
		if task.GetKind() == "build" {
			out[task.GetService()] = task.GetResult().GetImage()
		}
	}
	return out
}

// pods of a namespace by name, with their uid: a pod that restarted or was replaced is another.
func pods(t *testing.T, cluster, namespace string) []string {
	t.Helper()
	list, err := kube(t, cluster).CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			out = append(out, fmt.Sprint(p.Labels["app.kubernetes.io/name"], " ", p.UID))
		}
	}
	sort.Strings(out)
	return out
}

func TestTheShopGoesFromACommitToEveryCluster(t *testing.T) {
	r := newShop(t)
	first := r.run()
	if first.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		dump(t, first)
		t.Fatal("the first run did not succeed")
	}
	before := map[string][]string{"prod-eu": pods(t, "prod-eu", "shop"), "prod-us": pods(t, "prod-us", "shop")}
	second := r.run()
	if second.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		dump(t, second)
		t.Fatal("the second run did not succeed")
	}
	if d := cmp.Diff(images(first), images(second)); d != "" {
		t.Errorf("digests of an unchanged commit changed (-first +second):\n%s", d)
	}
	for _, l := range lines(second, "build", "test", "render") {
		if l[len(l)-6:] != "reused" {
			t.Errorf("nothing changed, and %s", l)
		}
	}
	for c, want := range before {
		if d := cmp.Diff(want, pods(t, c, "shop")); d != "" {
			t.Errorf("pods of an unchanged commit changed in %s (-before +after):\n%s", c, d)
		}
	}
}
