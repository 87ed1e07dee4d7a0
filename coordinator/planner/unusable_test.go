package planner_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
		"6:3: the path third/party/x of service sub is not there: third/party is a submodule, and submodules are not supported yet",
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
