package planner_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/planner"
)

func TestUnusable(t *testing.T) {
	c := commit{
		"slipway.yaml": []byte(`version: 1
project: shop
services:
  api: { path: services/api, also: [libs] }
  web: { path: services/web, build: { context: web } }
  sub: { path: third/party/x, build: false, deploy: { path: deploy/link } }
`),
		"services/api/Dockerfile": []byte("x"), "services/web/Dockerfile": []byte("x"), "libs/x": []byte("x"), "web/x": []byte("x"), "deploy/link": []byte("x"), "deploy/api/x": []byte("x"),
	}
	targets := []byte("version: 1\nproject: shop\nclusters: { c: { labels: { x: y } } }\nenvironments: { dev: { clusters: { x: y }, namespace: n } }\n")
	in := input(t, c, targets)
	in.Objects["web"], in.Objects["deploy/link"] = "120000:aa", "120000:bb"
	in.Unusable = []planner.Unusable{{Path: "third/party", Why: planner.Submodule}, {Path: "docs/x", Why: planner.Submodule}}
	for i := range 5 {
		in.Unusable = append(in.Unusable, planner.Unusable{Path: fmt.Sprint("libs/", i), Why: planner.LFS})
	}
	in.Unusable = append(in.Unusable,
		planner.Unusable{Path: "libs/spared", Why: planner.Submodule, Spared: []string{"api"}},
		planner.Unusable{Path: "deploy/api/out", Why: planner.LeavesRepository, Target: "/etc"})
	_, problems := planner.Plan(in)
	want := []string{
		`4:3: deploy/api/out, which the manifests of service api would have, is a symbolic link to "/etc", outside the repository`,
		"4:3: files in Git LFS are not fetched, and the image of service api would have a pointer in place of libs/0, libs/1, libs/2 and 2 more",
		"5:30: the build context web of service web is a symbolic link",
		"6:3: the path third/party/x of service sub is not there: third/party is a submodule, of which no part can be named",
		"6:45: the path deploy/link of the manifests of service sub is a symbolic link",
	}
	got := make([]string, 0, len(problems))
	for i, p := range problems {
		text := fmt.Sprintf("%d:%d: %s", p.Line, p.Column, p.Message)
		if i < len(want) && strings.HasPrefix(text, want[i]) {
			text = want[i]
		}
		got = append(got, text)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestFetched: what slipway.yaml says is fetched is no problem, but what a fork's commit says of
// other repositories.
func TestFetched(t *testing.T) {
	c := commit{
		"slipway.yaml": []byte(`version: 1
project: shop
source: { lfs: true, submodules: [libs/b, libs/a, libs/a] }
services:
  api: { path: services/api, also: [libs] }
`),
		"services/api/Dockerfile": []byte("x"), "libs/x": []byte("x"),
	}
	in := input(t, c, nil)
	in.Unusable = []planner.Unusable{{Path: "libs/a", Why: planner.Submodule}, {Path: "libs/b", Why: planner.Submodule}, {Path: "libs/c.bin", Why: planner.LFS}}
	p, problems := planner.Plan(in)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if diff := cmp.Diff(plan.Source{LFS: true, Submodules: []string{"libs/a", "libs/b"}}, p.Source); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	in.Untrusted = true
	_, problems = planner.Plan(in)
	if len(problems) != 1 || !strings.Contains(problems[0].Message, "the commit is a fork's, for which no submodules are fetched, and the image of service api would have an empty folder in place of libs/a, libs/b") {
		t.Errorf("of a fork: %v", problems)
	}
	in.Unusable = in.Unusable[2:]
	if p, problems = planner.Plan(in); len(problems) > 0 || len(p.Source.Submodules) > 0 || !p.Source.LFS {
		t.Errorf("of a fork, which needs none: %+v, %v", p.Source, problems)
	}
	in.Unusable = append(in.Unusable, planner.Unusable{Path: "libs/other", Why: planner.Submodule})
	if _, problems = planner.Plan(in); len(problems) != 1 || !strings.Contains(problems[0].Suggestion, "submodules: [libs/other]") {
		t.Errorf("one that is not named: %v", problems)
	}
}
