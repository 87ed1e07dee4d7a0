package pipeline_test

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/coordinator/pipeline"
)

func TestShards(t *testing.T) {
	for test, want := range map[string]string{
		"{ run: x, shards: 4 }":             "",
		"{ run: x, shards: 1 }":             "want a whole number from 2 to 50, got 1",
		"{ run: x, shards: 51 }":            "want a whole number from 2 to 50, got 51",
		"{ run: x, shards: some }":          "want a whole number from 2 to 50",
		"{ run: x, shards: auto }":          "shards: auto is not supported yet; write how many",
		"{ target: x, shards: 2 }":          "no command that could be told its part",
		"{ run: x, at: deploy, shards: 2 }": "shards, which are not supported yet when at is deploy",
	} {
		p, problems := pipeline.Parse(map[string][]byte{pipeline.File: []byte("version: 1\nproject: shop\nservices:\n  api:\n    path: services/api\n    test: { unit: " + test + " }\n")})
		switch {
		case want != "":
			if len(problems) != 1 || !strings.Contains(problems.Error(), want) || !strings.Contains(problems.Error(), "slipway.yaml:6:") {
				t.Errorf("%s: %v, want %s", test, problems, want)
			}
		case len(problems) > 0:
			t.Errorf("%s: %v", test, problems)
		case p.Services[0].Tests[0].Shards != 4:
			t.Errorf("%s: %d shards", test, p.Services[0].Tests[0].Shards)
		}
	}
}
