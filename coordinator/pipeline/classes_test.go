package pipeline_test

import (
	"testing"

	"github.com/slipway-build/slipway/coordinator/pipeline"
)

func TestClassOfARun(t *testing.T) {
	targets, problems := pipeline.ParseTargets("targets.yaml", []byte(`
version: 1
project: shop
clusters: { one: { labels: { tier: prod } } }
environments: { prod: { clusters: { tier: prod }, namespace: a } }
classes:
  - { event: push, branches: [main, "hotfix/*"], class: urgent }
  - { event: push, branches: ["renovate/*"], class: low }
  - { event: pull_request, branches: [main], class: urgent }
  - { event: pull_request, branches: [stable], class: urgent, forks: true }
  - { event: pull_request, class: low }
  - { event: manual, class: normal }
`))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		event, branch string
		stranger      bool
		want          string
	}{
		{"push", "main", false, pipeline.ClassUrgent},
		{"push", "hotfix/1", false, pipeline.ClassUrgent},
		{"push", "hotfix/1/2", false, pipeline.ClassNormal},
		{"push", "renovate/x", false, pipeline.ClassLow},
		{"push", "feature", false, pipeline.ClassNormal},
		{"pull_request", "main", false, pipeline.ClassUrgent},
		{"pull_request", "main", true, pipeline.ClassNormal},
		{"pull_request", "stable", true, pipeline.ClassUrgent},
		{"pull_request", "feature", true, pipeline.ClassLow},
		{"manual", "main", false, pipeline.ClassNormal},
	} {
		if got := targets.Class(c.event, c.branch, c.stranger); got != c.want {
			t.Errorf("%s of %s, of a stranger: %t: %s, want %s", c.event, c.branch, c.stranger, got, c.want)
		}
	}
	if got := (*pipeline.Targets)(nil).Class("push", "main", false); got != pipeline.ClassNormal {
		t.Errorf("without targets: %s", got)
	}
}
