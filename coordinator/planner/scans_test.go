package planner_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/planner"
)

const scanned = `version: 1
project: shop
defaults:
  scan: { secrets: {}, config: {}, packages: {} }
services:
  a:
    path: a
    scan:
      config: { level: restricted }
      lint: { run: x, in: lint, report: x.sarif }
  b: { path: b, scan: { config: false, packages: false } }
  c: { path: c, build: false, scan: { secrets: false, packages: false } } # has nothing that is configured
`

const scanTargets = "version: 1\nproject: shop\nclusters: { c: { labels: { x: y } } }\nenvironments: { dev: { clusters: { x: y }, namespace: n } }\n"

func scanFiles() commit {
	return commit{"slipway.yaml": []byte(scanned), "a/Dockerfile": []byte("FROM x AS lint"), "b/Dockerfile": []byte("FROM x"), "c/x": []byte("x"), "deploy/a/kustomization.yaml": []byte("a")}
}

// TestScans: each looks where it must, what judges them waits for all of them, and the release for that.
func TestScans(t *testing.T) {
	in := input(t, scanFiles(), []byte(scanTargets+"findings:\n  block: medium\n  require: [secrets, licenses]\n  waivers:\n    - { rule: lint/x, service: a, until: 2027-01-31, reason: r }\n    - { rule: secrets/*, until: 2027-01-31, reason: s }\n"))
	in.Advisories = "sha256:advisories"
	p := mustPlan(t, in)
	graphOf(t, p)
	got := map[string]*plan.Scan{}
	for _, task := range p.Tasks {
		if task.Kind == plan.KindScan {
			got[task.ID] = task.Scan
			if tool := task.Scan.Test != nil; task.Digest == "" || tool != (task.Can == plan.CapabilityBuild) || !tool && !slices.Equal(task.Needs, []string{plan.CheckoutID}) {
				t.Errorf("%s: needs %v, capability %s", task.ID, task.Needs, task.Can)
			}
		}
	}
	a, b := []string{"a", "deploy/a"}, []string{"b"}
	lint := got["scan/a/lint"]
	if lint == nil || lint.Test.Build.Target != "lint" || lint.Test.Report != "x.sarif" || lint.Using != "" {
		t.Errorf("lint: %+v", lint)
	}
	delete(got, "scan/a/lint")
	want := map[string]*plan.Scan{
		"scan/a/secrets":           {Name: "secrets", Using: "secrets", Paths: a},
		"scan/a/config":            {Name: "config", Using: "config", Paths: a, Manifests: "deploy/a", Dockerfile: "a/Dockerfile", Level: "restricted"},
		"scan/a/packages":          {Name: "packages", Using: "packages", Paths: a, Advisories: "sha256:advisories"},
		"scan/a/required-licenses": {Name: "required-licenses", Using: "licenses", Paths: a},
		"scan/b/secrets":           {Name: "secrets", Using: "secrets", Paths: b},
		"scan/c/required-secrets":  {Name: "required-secrets", Using: "secrets", Paths: []string{"c"}},
		"scan/c/required-licenses": {Name: "required-licenses", Using: "licenses", Paths: []string{"c"}},
		"scan/b/required-licenses": {Name: "required-licenses", Using: "licenses", Paths: b},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	judge, _ := p.Find("findings/a")
	if d := cmp.Diff([]string{"scan/a/config", "scan/a/lint", "scan/a/packages", "scan/a/required-licenses", "scan/a/secrets"}, judge.Needs); d != "" {
		t.Error(d)
	}
	all := []plan.Waiver{{Service: "a", Rule: "lint/x", Until: "2027-01-31", Reason: "r"}, {Rule: "secrets/*", Until: "2027-01-31", Reason: "s"}}
	if d := cmp.Diff(&plan.Findings{Block: "medium", Waivers: all}, p.Findings); d != "" || judge.Digest != "" {
		t.Errorf("digest %q, %s", judge.Digest, d)
	}
	if d := cmp.Diff(all[1:], p.Findings.Of("b").Waivers) + cmp.Diff(all, p.Findings.Of("a").Waivers); d != "" {
		t.Error(d)
	}
	release, _ := p.Find(plan.ReleaseID)
	for _, id := range []string{"findings/a", "findings/b"} {
		if !slices.Contains(release.Needs, id) {
			t.Errorf("the release does not wait for %s: %v", id, release.Needs)
		}
	}
	in.Until = "build"
	early := mustPlan(t, in)
	if _, ok := early.Find("findings/a"); ok {
		t.Error("a run that only builds scans")
	}
	if early.Findings != nil {
		t.Errorf("nothing is judged, by %+v", early.Findings)
	}
}

// TestAScanIsReusedUntilItsInputsChange: the sources, the advisories and what it is told to look for; not
// what is said about what it finds.
func TestAScanIsReusedUntilItsInputsChange(t *testing.T) {
	digests := func(change func(commit, *planner.Input)) map[string]string {
		c := scanFiles()
		c["a/go.mod"] = []byte("module a")
		in := input(t, c, []byte(scanTargets))
		in.Advisories = "1"
		change(c, &in)
		out := map[string]string{}
		for _, task := range mustPlan(t, in).Tasks {
			if task.Kind == plan.KindScan && task.Service == "a" {
				out[task.ID] = task.Digest
			}
		}
		return out
	}
	base := digests(func(commit, *planner.Input) {})
	for name, c := range map[string]struct {
		change func(commit, *planner.Input)
		want   []string
	}{
		"sources":         {func(_ commit, in *planner.Input) { in.Objects["a"] = "040000:other" }, []string{"config", "lint", "packages", "secrets"}},
		"manifests":       {func(_ commit, in *planner.Input) { in.Objects["deploy/a"] = "040000:other" }, []string{"config", "packages", "secrets"}},
		"advisories":      {func(_ commit, in *planner.Input) { in.Advisories = "2" }, []string{"packages"}},
		"another service": {func(_ commit, in *planner.Input) { in.Objects["b"] = "040000:other" }, nil},
		"policy": {func(_ commit, in *planner.Input) {
			_, in.Targets = parse(t, scanFiles(), []byte(scanTargets+"findings: { block: low }\n"))
		}, nil},
	} {
		var changed []string
		for id, digest := range digests(c.change) {
			if base[id] != digest {
				changed = append(changed, strings.TrimPrefix(id, "scan/a/"))
			}
		}
		slices.Sort(changed)
		if !slices.Equal(changed, c.want) {
			t.Errorf("%s change: %v", name, changed)
		}
	}
}

// TestPackagesNeedAdvisories: also those that only the platform wants scanned.
func TestPackagesNeedAdvisories(t *testing.T) {
	in := input(t, scanFiles(), []byte(scanTargets+"findings: { require: [packages] }\n"))
	_, problems := planner.Plan(in)
	if len(problems) != 2 || !strings.Contains(problems[0].Message, "the scan packages of service a compares packages with advisories, and this farm has none") ||
		!strings.Contains(problems[1].Message, "required-packages of service b") {
		t.Errorf("%v", problems)
	}
	in.Until = "build"
	if _, problems = planner.Plan(in); len(problems) > 0 {
		t.Errorf("a run that does not scan: %v", problems)
	}
}
