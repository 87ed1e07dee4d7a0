package planner_test

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/planner"
)

// TestAMigrationThatCannotBeUndone is said of the tasks that carry it out: the apply, and of a flag the first step.
func TestAMigrationThatCannotBeUndone(t *testing.T) {
	const targets = "version: 1\nproject: shop\nclusters: { c: { labels: { x: y } } }\nenvironments:\n" +
		"  canary: { clusters: { x: y }, namespace: n, strategy: { canary: [50, 100], pause: 5s } }\n" +
		"  flag: { clusters: { x: y }, namespace: m, strategy: { flag: new, steps: [50, 100], pause: 5s } }\n"
	for reversible, want := range map[string]map[string]bool{
		"true":  {},
		"false": {"apply/a@canary/c": true, "shift/a@flag/c:50": true, "apply/a@flag/c": true},
	} {
		files := commit{
			"slipway.yaml": []byte("version: 1\nproject: shop\nservices: { a: { path: a, deploy: { path: d, migrate: { run: ./up, reversible: " + reversible + " } } } }\n"),
			"a/Dockerfile": []byte("FROM x"), "d/kustomization.yaml": []byte("resources: []\n"),
		}
		p, problems := planner.Plan(input(t, files, []byte(targets)))
		if problems != nil {
			t.Fatal(problems.Pretty())
		}
		carries := 0
		for _, task := range p.Tasks {
			if task.Apply == nil || strings.HasPrefix(task.ID, "analyze/") {
				continue
			}
			carries++
			if task.Kind == plan.KindShift && task.Apply.Router == plan.RouterFlag {
				if task.Apply.OneWay != (reversible == "false") {
					t.Errorf("reversible: %s: %s is one way: %v", reversible, task.ID, task.Apply.OneWay)
				}
				continue
			}
			if task.Apply.OneWay != want[task.ID] {
				t.Errorf("reversible: %s: %s is one way: %v", reversible, task.ID, task.Apply.OneWay)
			}
		}
		if carries < 4 {
			t.Errorf("%d tasks change a cluster, want 4 at least", carries)
		}
	}
}
