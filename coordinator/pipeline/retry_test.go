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
		"a build":  {"{}", "build: { retry: { flaky: 1 } }", 0, "flaky is for tests: a build that failed is not tried again"},
		"too many": {"{}", "test: { unit: { run: x, retry: { flaky: 11 } } }", 0, "11"},
		"too slow, after a rollout": {"{}", "test: { unit: { run: x, at: deploy, retry: { timeout: 2 } } }", 0,
			`test "api/unit" is tried again when it fails, which is not supported yet when at is deploy`},
		"of a build, too many": {"{}", "build: { retry: { oom: 11 } }", 0, "11"},
		"limits":               {"{ test: { retry: { timeout: 3, oom: 3 } } }", "test: { unit: { run: x, at: deploy } }", 0, ""},
		"a build, none":        {"{}", "build: { retry: { flaky: 0 } }", 0, ""},
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

// TestRetryOfLimits: time and memory have budgets of their own, of builds too.
func TestRetryOfLimits(t *testing.T) {
	p, problems := pipeline.Parse(map[string][]byte{pipeline.File: []byte(`version: 1
project: shop
defaults:
  build: { retry: { timeout: 1, oom: 2 } }
  test: { retry: { timeout: 3, oom: 4 } }
services:
  api:
    path: services/api
    build: { retry: { oom: 5 } }
    test: { unit: { run: x, retry: { timeout: 0 } } }
`)})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	b, u := p.Services[0].Build, p.Services[0].Tests[0]
	if b.RetryTimeout != 1 || b.RetryOOM != 5 || u.RetryTimeout != 0 || u.RetryOOM != 4 {
		t.Errorf("build: timeout %d, oom %d; test: timeout %d, oom %d; want 1, 5; 0, 4", b.RetryTimeout, b.RetryOOM, u.RetryTimeout, u.RetryOOM)
	}
}
