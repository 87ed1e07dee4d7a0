package agent_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-build/slipway/internal/kubetest"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func TestACompareChangesNothingAndSaysWhatWould(t *testing.T) {
	ns, client := kubetest.Namespace(t), kubetest.Client(t)
	d := newDesk(t)
	d.deployer(t, kubetest.Kubeconfig(t))
	settings := func(color string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {color: " + color + "}\n"
	}
	c := d.compare(ns, settings("blue"), 1)
	if c.GetOutcome() != pb.Outcome_OUTCOME_SUCCEEDED || c.GetMessage() != "the namespace would be created, 1 would be created" || c.GetResult().GetDiff().GetCreated() != 1 {
		t.Fatalf("%v", c)
	}
	if _, err := client.CoreV1().ConfigMaps(ns).Get(t.Context(), "settings", metav1.GetOptions{}); err == nil {
		t.Fatal("a comparison wrote")
	}
	if c = d.apply(ns, "r1", settings("blue"), 2); c.GetResult().GetDeploy().GetWritten() != 1 {
		t.Fatalf("%v", c)
	}
	c = d.compare(ns, settings("red"), 3)
	o := c.GetResult().GetDiff().GetObjects()
	if len(o) != 1 || o[0].GetAction() != "changed" || o[0].GetObject() != "ConfigMap/settings" || c.GetMessage() != "1 would be changed" {
		t.Fatalf("%v", c)
	}
	want := []string{"data.color", `"blue"`, `"red"`}
	if f := o[0].GetFields()[0]; !cmp.Equal(want, []string{f.GetPath(), f.GetFrom(), f.GetTo()}) {
		t.Errorf("%v", f)
	}
	if !strings.Contains(d.log.String(), `data.color: "blue" → "red"`) {
		t.Errorf("log: %s", d.log.String())
	}
	if c = d.compare(ns, settings("blue"), 4); c.GetMessage() != "nothing would be changed" || c.GetResult().GetDiff().GetUnchanged() != 1 {
		t.Errorf("%v", c)
	}

	foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "theirs", Annotations: map[string]string{"meta.helm.sh/release-name": "shop"}}}
	if _, err := client.CoreV1().ConfigMaps(ns).Create(t.Context(), foreign, metav1.CreateOptions{FieldManager: "helm"}); err != nil {
		t.Fatal(err)
	}
	c = d.compare(ns, "# Source: deploy/api/theirs.yaml\n"+strings.Replace(settings("blue"), "settings", "theirs", 1), 5)
	if c.GetOutcome() != pb.Outcome_OUTCOME_FAILED || c.GetFailureClass() != pb.FailureClass_FAILURE_CLASS_USER ||
		!strings.HasPrefix(c.GetMessage(), "a release would be refused:\ndeploy/api/theirs.yaml: ConfigMap/theirs: exists in namespace "+ns) || !strings.Contains(c.GetMessage(), `Helm release "shop"`) {
		t.Errorf("%v", c)
	}
}
