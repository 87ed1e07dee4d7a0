package pipeline_test

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/coordinator/pipeline"
)

func TestRetryOfFlakyTests(t *testing.T) {
	for name, test := range map[string]struct {
		defaults, service string
		flaky             int
		want              string // in the problems; empty: there are none
	}{
		"none":                      {"{}", "test: { unit: { run: x } }", 0, ""},
		"of the test":               {"{}", "test: { unit: { run: x, retry: { flaky: 3 } } }", 3, ""},
		"of the defaults":           {"{ test: { retry: { flaky: 2 } } }", "test: { unit: { run: x, retry: { infra: 1 } } }", 2, ""},
		"less than the defaults":    {"{ test: { retry: { flaky: 2 } } }", "test: { unit: { run: x, retry: { flaky: 0 } } }", 0, ""},
		"defaults, after a rollout": {"{ test: { retry: { flaky: 2 } } }", "test: { unit: { run: x, at: deploy } }", 0, ""},
		"after a rollout": {"{ test: { retry: { flaky: 2 } } }", "test: { unit: { run: x, at: deploy, retry: { flaky: 2 } } }", 0,
			`test "api/unit" is tried again when it fails, which is not supported yet when at is deploy`},
		"a build":       {"{}", "build: { retry: { flaky: 1 } }", 0, "flaky is for tests: a build that failed is not tried again"},
		"too many":      {"{}", "test: { unit: { run: x, retry: { flaky: 11 } } }", 0, "11"},
		"a build, none": {"{}", "build: { retry: { flaky: 0 } }", 0, ""},
	} {
		text := "version: 1\nproject: shop\ndefaults: " + test.defaults + "\nservices:\n  api:\n    path: services/api\n    " + test.service + "\n"
		p, problems := pipeline.Parse(map[string][]byte{pipeline.File: []byte(text)})
		switch {
		case test.want != "":
			if len(problems) != 1 || !strings.Contains(problems.Error(), test.want) || !strings.Contains(problems.Error(), "slipway.yaml:7:") {
				t.Errorf("%s: %v, want %s", name, problems, test.want)
			}
		case len(problems) > 0:
			t.Errorf("%s: %v", name, problems)
		case len(p.Services[0].Tests) > 0 && p.Services[0].Tests[0].Flaky != test.flaky:
			t.Errorf("%s: %d, want %d", name, p.Services[0].Tests[0].Flaky, test.flaky)
		}
	}
}
