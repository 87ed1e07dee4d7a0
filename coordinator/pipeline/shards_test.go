package pipeline_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/coordinator/pipeline"
)

func TestShards(t *testing.T) {
	for test, want := range map[string]string{
		"{ run: x, shards: 4 }":             "4",
		"{ run: x, shards: 4, list: y }":    "4",
		"{ run: x, shards: auto, list: y }": "-1",
		"{ run: x, shards: 1 }":             "want a whole number from 2 to 50, got 1",
		"{ run: x, shards: 51 }":            "want a whole number from 2 to 50, got 51",
		"{ run: x, shards: some }":          "want a whole number from 2 to 50",
		"{ run: x, shards: auto }":          "has shards: auto, and nothing that could be split; write list: with a command",
		"{ run: x, list: y }":               "has a list, and no shards to split it into; write shards: auto",
		"{ target: x, shards: 2 }":          "no command that could be told its part",
		"{ run: x, at: deploy, shards: 2 }": "shards, which are not supported yet when at is deploy",
	} {
		p, problems := pipeline.Parse(map[string][]byte{pipeline.File: []byte("version: 1\nproject: shop\nservices:\n  api:\n    path: services/api\n    test: { unit: " + test + " }\n")})
		switch {
		case len(want) > 2:
			if len(problems) != 1 || !strings.Contains(problems.Error(), want) || !strings.Contains(problems.Error(), "slipway.yaml:6:") {
				t.Errorf("%s: %v, want %s", test, problems, want)
			}
		case len(problems) > 0:
			t.Errorf("%s: %v", test, problems)
		case strconv.Itoa(p.Services[0].Tests[0].Shards) != want:
			t.Errorf("%s: %d shards", test, p.Services[0].Tests[0].Shards)
		}
	}
}
