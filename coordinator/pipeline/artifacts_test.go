package pipeline_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/slipway-build/slipway/coordinator/pipeline"
)

func TestArtifacts(t *testing.T) {
	for test, want := range map[string]string{
		"{ run: x, artifacts: { shots: out/**/*.png, all: /tmp/out } }": "",
		"{ target: x, artifacts: { report: report.html } }":             "",
		"{ run: x, artifacts: { Shots: out } }":                         "Shots",
		"{ run: x, artifacts: { shots: ../out } }":                      `"../out" is no pattern of files; write a file, a folder, or a pattern as out/**/*.png`,
		"{ run: x, artifacts: { shots: 'out/[' } }":                     "is no pattern of files",
		"{ run: x, artifacts: { shots: / } }":                           "is no pattern of files",
		"{ run: x, artifacts: { shots: '' } }":                          "is no pattern of files",
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
