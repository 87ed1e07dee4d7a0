package pipeline_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/slipway-build/slipway/coordinator/pipeline"
)

// What the guides show must work.
func TestGuides(t *testing.T) {
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```")
	read := func(file string) []byte {
		data, err := os.ReadFile("../../docs/" + file)
		if err != nil {
			t.Fatal(err)
		}
		found := block.FindSubmatch(data)
		if found == nil {
			t.Fatalf("%s shows no YAML", file)
		}
		return found[1]
	}
	p, problems := pipeline.Parse(map[string][]byte{pipeline.File: read("slipway-yaml.md")})
	if problems != nil {
		t.Fatal(problems.Pretty())
	}
	targets, problems := pipeline.ParseTargets("targets.yaml", read("targets-yaml.md"))
	if problems != nil {
		t.Fatal(problems.Pretty())
	}
	report := pipeline.NewReporter()
	if pipeline.Match(p, targets, report); report.Count() > 0 {
		t.Error(report.Problems())
	}
}
