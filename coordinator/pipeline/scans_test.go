package pipeline_test

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/coordinator/pipeline"
)

// TestScansThatMakeNoSense: each mistake has a sentence that says what to write.
func TestScansThatMakeNoSense(t *testing.T) {
	for in, want := range map[string]string{
		"lint: {}":                             `6:7: scan "a/lint" does nothing; write using: secrets, config, packages, licenses; or run:`,
		"lint: { run: x }":                     `6:7: scan "a/lint" has a command, and no report that would say what it found`,
		"secrets: { report: x }":               `6:7: scan "a/secrets" has no command; in and report go with run`,
		"lint: { using: secrets, run: x }":     `6:7: scan "a/lint" has both using and run`,
		"secrets: { level: restricted }":       `6:7: scan "a/secrets" has a level, which only config has`,
		"secrets: { deny: [MIT] }":             `6:7: scan "a/secrets" denies licenses, which only licenses does`,
		"licenses: { deny: [\"no license\"] }": `"no license" is no id of a license; write an SPDX id, as AGPL-3.0-only`,
		"secrets: true":                        `6:22: services.a.scan.secrets: want a mapping or false, got true`,
		"required-secrets: {}":                 `names that begin with required- are those of scans that the platform requires`,
	} {
		_, problems := pipeline.Parse(map[string][]byte{"slipway.yaml": []byte("version: 1\nproject: shop\nservices:\n  a:\n    path: a\n    scan: { " + in + " }\n")})
		if len(problems) == 0 || !strings.Contains(strings.ReplaceAll(problems.Err().Error(), "6:13:", "6:7:"), want) {
			t.Errorf("%s: %v", in, problems.Err())
		}
	}
	_, problems := pipeline.Parse(map[string][]byte{"slipway.yaml": []byte("version: 1\nproject: shop\ndefaults: { scan: { lint: { run: x, report: y } } }\nservices:\n  a: { path: a, build: false }\n")})
	if len(problems) != 1 || !strings.Contains(problems[0].Message, "has no image that the command of the scan lint could run in") {
		t.Errorf("a command without an image: %v", problems)
	}
}

// TestWaiversThatMakeNoSense: one without a day, a rule or a reason is none.
func TestWaiversThatMakeNoSense(t *testing.T) {
	for in, want := range map[string]string{
		"{ rule: secrets, until: 2027-01-31, reason: x }":         `"secrets" names no rule; write <scan>/<rule>`,
		"{ rule: \"secrets/[\", until: 2027-01-31, reason: x }":   `names no rule`,
		"{ rule: a/b, until: 2027-02-30, reason: x }":             `"2027-02-30" is no day; write a day, as 2027-01-31`,
		"{ rule: a/b, until: tomorrow, reason: x }":               `"tomorrow" is no day`,
		"{ rule: a/b, reason: x }":                                `until`,
		"{ rule: a/b, until: 2027-01-31 }":                        `reason`,
		"{ rule: a/b, until: 2027-01-31, reason: x, path: /etc }": `absolute path`,
	} {
		_, problems := pipeline.ParseTargets("targets.yaml", []byte("version: 1\nproject: shop\nfindings:\n  waivers:\n    - "+in+"\n"))
		if len(problems) == 0 || !strings.Contains(problems.Err().Error(), want) {
			t.Errorf("%s: %v", in, problems.Err())
		}
	}
}
