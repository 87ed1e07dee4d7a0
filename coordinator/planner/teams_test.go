package planner_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/planner"
)

const teamTargets = `
version: 1
project: shop
clusters: { one: { labels: { tier: prod } } }
environments: { prod: { clusters: { tier: prod }, namespace: a } }
quotas: { core: { running: 2 }, web: { share: 9 } }
`

func owned(api, extra string) commit {
	return commit{
		"slipway.yaml": []byte("version: 1\nproject: shop\nservices:\n  api: { path: api" + api + " }\n  lib: { path: lib" + extra + " }\n"),
		"api/x":        []byte("x"), "api/Dockerfile": []byte("FROM x"), "lib/Dockerfile": []byte("FROM x"),
	}
}

// TestTargetsWithoutAnEnvironment: nothing is released, and quotas and groups are the platform's.
func TestTargetsWithoutAnEnvironment(t *testing.T) {
	p, problems := planner.Plan(input(t, owned(", owner: core, test: { unit: { run: x, group: db } }", ""), []byte("version: 1\nproject: shop\nquotas: { core: { running: 2 } }\ngroups: { db: { running: 3 }, other: { running: 9 } }\n")))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]plan.Team{{Name: "core", Share: 1, Running: 2}}, p.Teams); d != "" {
		t.Errorf("quotas (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]plan.Group{{Name: "db", Running: 3}}, p.Groups); d != "" {
		t.Errorf("groups (-want +got):\n%s", d)
	}
	if test, ok := p.Find(plan.TestID("api", "unit")); !ok || test.Group != "db" || p.Room("db") != 3 || p.Room("web") != 1 {
		t.Errorf("the test is in group %q, with room for %d", test.Group, p.Room("db"))
	}
	if _, ok := p.Find(plan.ReleaseID); ok {
		t.Error("it has a release, and nowhere to go")
	}
}

// TestAStrangerDoesNotChooseItsTeam: whose share a fork's commit takes is what the branch
// says that it is to be merged into.
func TestAStrangerDoesNotChooseItsTeam(t *testing.T) {
	stranger := input(t, owned(", owner: web", ", owner: web"), []byte(teamTargets))
	stranger.Owners, _ = parse(t, owned(", owner: core", ""), nil)
	for name, c := range map[string]struct {
		in   planner.Input
		team map[string]string
		has  []plan.Team
	}{
		"its own": {input(t, owned(", owner: web", ", owner: web"), []byte(teamTargets)), map[string]string{"api": "web", "lib": "web"}, []plan.Team{{Name: "web", Share: 9}}},
		"forked":  {stranger, map[string]string{"api": "core", "lib": ""}, []plan.Team{{Name: "core", Share: 1, Running: 2}}},
	} {
		p, problems := planner.Plan(c.in)
		if err := problems.Err(); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.has, p.Teams); d != "" {
			t.Errorf("%s: quotas (-want +got):\n%s", name, d)
		}
		for service, want := range c.team {
			if b, ok := p.Find(plan.BuildID(service)); !ok || b.Team != want {
				t.Errorf("%s: the build of %s is %q's, want %q's", name, service, b.Team, want)
			}
		}
		if q := p.Quota("nobody"); q != (plan.Team{Name: "nobody", Share: 1}) {
			t.Errorf("%s: quota of a team that the file does not have: %+v", name, q)
		}
	}
}
