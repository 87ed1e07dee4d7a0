package pipeline_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/slipway-build/slipway/coordinator/pipeline"
)

// TestUse: every mistake about what a test uses has its place.
func TestUse(t *testing.T) {
	for use, want := range map[string]string{
		"{ /app/dist: api/bundle/dist }":                     "",
		"{ dist: api/bundle/dist, /other: api/bundle/dist }": "",
		"{ /app: web/bundle/dist }":                          `8:38: there is no service "web"`,
		"{ /app: api/bundel/dist }":                          `8:38: service "api" has no test "bundel"; did you mean "bundle"`,
		"{ /app: api/bundle/dst }":                           `8:38: the test "api/bundle" leaves no artifact "dst"; did you mean "dist"`,
		"{ /app: api/split/all }":                            `8:38: "api/split" has shards`,
		"{ /app: api/bundle }":                               `"api/bundle" is no artifact of a test; write <service>/<test>/<artifact>`,
		"{ /: api/bundle/dist }":                             `8:32: "/" is no folder in which an artifact could be found`,
		"{ ../x: api/bundle/dist }":                          `8:32: "../x" is no folder`,
		"{ /app: api/bundle/dist, /app/x: api/bundle/dist }": `"/app/x" lies in "/app", which is another artifact`,
		"{ /app: api/use/mine }, artifacts: { mine: x }":     `8:38: a cycle in use: api/use → api/use`,
		"{ /app: api/bundle/dist }, at: deploy":              "uses artifacts, which is not supported yet when at is deploy",
	} {
		_, problems := pipeline.Parse(map[string][]byte{pipeline.File: []byte(`version: 1
project: shop
services:
  api:
    path: services/api
    test:
      bundle: { run: x, artifacts: { dist: dist } }
      use: { run: x,    use: ` + use + ` }
      split: { run: x, shards: 2, artifacts: { all: x } }
`)})
		switch {
		case want == "" && len(problems) > 0:
			t.Errorf("%s: %v", use, problems)
		case want != "" && (len(problems) != 1 || !strings.Contains(problems.Error(), want)):
			t.Errorf("%s: %v, want %s", use, problems, want)
		}
	}
}

func TestArtifacts(t *testing.T) {
	for test, want := range map[string]string{
		"{ run: x, artifacts: { shots: out/**/*.png, all: /tmp/out } }": "",
		"{ target: x, artifacts: { report: report.html } }":             "",
		"{ run: x, artifacts: { Shots: out } }":                         "Shots",
		"{ run: x, artifacts: { shots: ../out } }":                      `"../out" is no pattern of files; write a file, a folder, or a pattern as out/**/*.png`,
		"{ run: x, artifacts: { shots: 'out/[' } }":                     "is no pattern of files",
		"{ run: x, artifacts: { shots: / } }":                           "is no pattern of files",
		"{ run: x, artifacts: { shots: '' } }":                          "is no pattern of files",
		"{ run: x, coverage: cover.out }":                               "",
		"{ run: x, coverage: ../cover.out }":                            "is no pattern of files",
		"{ run: x, shards: 2, coverage: cover.out }":                    "that cannot be added up yet; remove coverage, or shards",
		"{ run: x, at: deploy, coverage: cover.out }":                   "coverage, which is not supported yet when at is deploy",
		"{ run: x, coverage: a, artifacts: { coverage: out } }":         "has an artifact coverage, which is what coverage leaves; give it another name",
		"{ run: x, artifacts: [out] }":                                  "want",
		"{ run: x, at: deploy, artifacts: { shots: out } }":             "artifacts, which are not supported yet when at is deploy",
	} {
		p, problems := pipeline.Parse(map[string][]byte{pipeline.File: []byte("version: 1\nproject: shop\nservices:\n  api:\n    path: services/api\n    test: { unit: " + test + " }\n")})
		switch {
		case want == "" && len(problems) > 0:
			t.Errorf("%s: %v", test, problems)
		case want != "" && (len(problems) != 1 || !strings.Contains(problems.Error(), want) || !strings.Contains(problems.Error(), "slipway.yaml:6:")):
			t.Errorf("%s: %v, want %s", test, problems, want)
		case strings.Contains(test, "all:"):
			got := p.Services[0].Tests[0].Artifacts
			if diff := cmp.Diff([]pipeline.Artifact{{Name: "all", Pattern: "/tmp/out"}, {Name: "shots", Pattern: "out/**/*.png"}}, got, cmpopts.IgnoreFields(pipeline.Artifact{}, "Pos")); diff != "" {
				t.Error(diff)
			}
		}
	}
}
