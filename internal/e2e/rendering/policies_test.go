//go:build e2e

package rendering_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/devfarm"
	"github.com/slipway-build/slipway/internal/devfarm/devfarmtest"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const targetsOf = `version: 1
project: store
clusters: { eu: { labels: { tier: prod } } }
environments:
  prod:
    clusters: { tier: prod }
    namespace: store
    policies:
      - name: data
        match: { kinds: [ConfigMap] }
        cel: CONDITION
        message: nothing may be called password
`

// TestAPolicyStopsARun of a whole farm before there is a release, and one that does not compile, before there is a run.
func TestAPolicyStopsARun(t *testing.T) {
	dir := t.TempDir()
	repo := devfarmtest.NewRepository(t, filepath.Join(dir, "repositories", "store"))
	repo.Commit(t, map[string]string{
		"slipway.yaml": "version: 1\nproject: store\nservices: { settings: { path: settings, build: false, deploy: { health: false } } }\n", "settings/README": "none\n",
		"deploy/settings/base/kustomization.yaml":          "resources: [settings.yaml]\n",
		"deploy/settings/base/settings.yaml":               "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: settings }\ndata: { password: x }\n",
		"deploy/settings/overlays/prod/kustomization.yaml": "resources: [../../base]\n",
	})
	targets := filepath.Join(dir, "targets.yaml")
	write(t, targets, strings.Replace(targetsOf, "CONDITION", `'!has(object.data.password) || service == "vault"'`, 1))
	farm := devfarmtest.StartWith(t, func(c *devfarm.Config) { c.Targets = targets }, filepath.Dir(repo.Dir))
	run := farm.Run(t, repo)
	want := "deploy/settings/base/settings.yaml: ConfigMap store/settings: data.password: nothing may be called password (policy data, " + targets + ":11:14)"
	var ids []string
	for _, task := range run.GetTasks() {
		ids = append(ids, task.GetId())
		isRender := task.GetId() == "render/settings@prod/eu"
		if isRender && (task.GetState() != pb.TaskState_TASK_STATE_FAILED || !strings.Contains(task.GetMessage(), want)) {
			t.Errorf("%s: %s: %s\nwant %s", task.GetId(), task.GetState(), task.GetMessage(), want)
		}
		if !isRender && task.GetId() != "checkout" && len(task.GetAttempts()) > 0 {
			t.Errorf("%s was begun although its manifests are refused", task.GetId())
		}
	}
	if run.GetState() != pb.RunState_RUN_STATE_FAILED || !slices.Contains(ids, "apply/settings@prod/eu") || !slices.Contains(ids, "render/settings@prod/eu") {
		t.Errorf("%s: %s, tasks %v", run.GetState(), run.GetMessage(), ids)
	}
	write(t, targets, strings.Replace(targetsOf, "CONDITION", "objekt.data", 1))
	_, err := farm.Runs.Submit(t.Context(), &pb.SubmitRequest{IdempotencyKey: "wrong", Repository: repo.Dir, Ref: "main"})
	if mistake := targets + ":11:14: environments.prod.policies[0].cel: not a condition in CEL: line 1, column 1: undeclared reference to 'objekt'"; err == nil || !strings.Contains(err.Error(), mistake) {
		t.Errorf("error %v, want %s", err, mistake)
	}
}
