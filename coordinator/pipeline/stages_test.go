package pipeline_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/coordinator/pipeline"
)

func TestStagesOfATrigger(t *testing.T) {
	for run, want := range map[string]string{
		"[build]": "build false", "[build, test]": "test false", "[build, test, release]": "release false", "[release, build, test]": "release false",
		"[build, diff]": "build true", "[build, test, diff]": "test true", "[diff, test, build]": "test true",
		"[diff]": "diff without build", "[test, diff]": "diff without build", "[build, release]": "release without test", "[]": "nothing to run",
		"[build, test, diff, release]": "diff and release: a release says itself what it changes", "[build, dif]": "want build, test, diff or release, got \"dif\"",
	} {
		text := "version: 1\nproject: shop\ntriggers: { pull_request: { run: " + run + " } }\nservices: { api: { path: services/api } }\n"
		p, problems := pipeline.Parse(map[string][]byte{pipeline.File: []byte(text)})
		if len(problems) > 0 {
			if len(problems) != 1 || !strings.Contains(problems.Error(), want) || !strings.Contains(problems.Error(), ":3:") {
				t.Errorf("%s: %v, want %s", run, problems, want)
			}
			continue
		}
		if got := fmt.Sprint(p.Triggers[0].Until, " ", p.Triggers[0].Diff); got != want {
			t.Errorf("%s: %s, want %s", run, got, want)
		}
	}
}
