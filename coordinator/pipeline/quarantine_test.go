package pipeline_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/pipeline"
)

func TestQuarantine(t *testing.T) {
	parse := func(defaults, test string) (*pipeline.Pipeline, pipeline.Problems) {
		return pipeline.Parse(map[string][]byte{pipeline.File: []byte("version: 1\nproject: shop\n" + defaults + "services:\n  api:\n    path: services/api\n    test:\n      unit: " + test + "\n")})
	}
	for _, c := range []struct {
		defaults, test string
		want           *pipeline.Quarantine
	}{
		{"", "{ run: x }", nil},
		{"", "{ run: x, quarantine: auto }", &pipeline.Quarantine{}},
		{"", "{ run: x, quarantine: { after: 3, days: 7, release: 50 } }", &pipeline.Quarantine{After: 3, Days: 7, Release: 50}},
		{"defaults: { test: { quarantine: auto } }\n", "{ run: x }", &pipeline.Quarantine{}},
		{"defaults: { test: { quarantine: auto } }\n", "{ run: x, quarantine: false }", nil},
		{"", "{ target: x, quarantine: auto }", &pipeline.Quarantine{}},
		{"defaults: { test: { quarantine: auto } }\n", "{ run: x, at: deploy }", &pipeline.Quarantine{}},
	} {
		p, problems := parse(c.defaults, c.test)
		if len(problems) > 0 {
			t.Errorf("%s%s: %v", c.defaults, c.test, problems)
			continue
		}
		if d := cmp.Diff(c.want, p.Services[0].Tests[0].Quarantine); d != "" {
			t.Errorf("%s%s (-want +got):\n%s", c.defaults, c.test, d)
		}
	}
	for test, want := range map[string]string{
		"{ run: x, quarantine: true }":             "want auto, false or a mapping, got true; write auto, or false",
		"{ run: x, quarantine: always }":           `want auto`,
		"{ run: x, quarantine: { after: 0 } }":     "want a whole number from 1 to 100, got 0",
		"{ run: x, quarantine: { until: never } }": `unknown key "until"`,
		"{ run: x, at: deploy, quarantine: auto }": "not supported yet when at is deploy; remove quarantine",
	} {
		if _, problems := parse("", test); len(problems) != 1 || !strings.Contains(problems.Error(), want) || !strings.Contains(problems.Error(), "slipway.yaml:7:") {
			t.Errorf("%s: %v, want %s", test, problems, want)
		}
	}
}
