package pipeline_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/pipeline"
)

// TestReferencesHaveEveryKey: the tables of both guides and the properties of both
// schemas are what the parser takes, no more and no less.
func TestReferencesHaveEveryKey(t *testing.T) {
	all := schemas(t)
	for _, c := range []struct {
		schema  int
		heading string
		inline  bool     // its keys are in the text of the section, not a table's rows
		within  string   // the file, with KEY where keys are tried
		node    []string // of the schema; nil: it is said in a way that has no list of keys
	}{
		{0, "## Top level", false, "x-a: 1\nKEY", []string{}},
		{0, "## Top level", true, "triggers:\n  push:\n    KEY", []string{"properties", "triggers", "properties", "push"}},
		{0, "## Top level", true, "triggers:\n  pull_request:\n    KEY", []string{"properties", "triggers", "properties", "pull_request"}},
		{0, "## Top level", true, "triggers:\n  KEY", []string{"properties", "triggers"}},
		{0, "## Top level", true, "defaults:\n  KEY", []string{"properties", "defaults"}},
		{0, "## Top level", true, "source:\n  KEY", []string{"properties", "source"}},
		{0, "## A service", false, "services:\n  a:\n    KEY", []string{"$defs", "service"}},
		{0, "## build", false, "services:\n  a:\n    build:\n      KEY", []string{"$defs", "build"}},
		{0, "## build", true, "services:\n  a:\n    build:\n      retry:\n        KEY", []string{"$defs", "retry"}},
		{0, "## test", false, "services:\n  a:\n    test:\n      t:\n        KEY", []string{"$defs", "test"}},
		{0, "## scan", false, "services:\n  a:\n    scan:\n      t:\n        KEY", []string{"$defs", "scan"}},
		{0, "## sidecars", false, "sidecars:\n  s:\n    KEY", []string{"$defs", "sidecar"}},
		{0, "## deploy", false, "services:\n  a:\n    deploy:\n      KEY", []string{"$defs", "deploy"}},
		{0, "## deploy", true, "services:\n  a:\n    deploy:\n      migrate:\n        KEY", []string{"$defs", "deploy", "properties", "migrate"}},
		{0, "## deploy", true, "services:\n  a:\n    deploy:\n      health:\n        KEY", nil},
		{1, "", false, "x-a: 1\nKEY", []string{}},
		{1, "", true, "clusters:\n  c:\n    KEY", nil},
		{1, "", true, "pools:\n  default:\n    KEY", []string{"properties", "pools", "properties", "default"}},
		{1, "## Classes", false, "classes:\n  - x-a: 1\n    KEY", []string{"properties", "classes", "items"}},
		{1, "## Quotas", false, "quotas:\n  t:\n    KEY", []string{"properties", "quotas", "additionalProperties"}},
		{1, "## Groups", false, "groups:\n  g:\n    KEY", []string{"properties", "groups", "additionalProperties"}},
		{1, "## Findings", false, "findings:\n  KEY", []string{"properties", "findings"}},
		{1, "## Findings", true, "findings:\n  waivers:\n    - x-a: 1\n      KEY", []string{"properties", "findings", "properties", "waivers", "items"}},
		{1, "## An environment", false, "environments:\n  e:\n    KEY", []string{"$defs", "environment"}},
		{1, "## An environment", true, "environments:\n  e:\n    after:\n      KEY", []string{"$defs", "environment", "properties", "after"}},
		{1, "## An environment", true, "environments:\n  e:\n    on_failure:\n      KEY", []string{"$defs", "environment", "properties", "on_failure"}},
		{1, "## Clusters that are away", true, "environments:\n  e:\n    tolerate:\n      KEY", []string{"$defs", "environment", "properties", "tolerate"}},
		{1, "## Waves", true, "environments:\n  e:\n    waves:\n      - x-a: 1\n        KEY", []string{"$defs", "environment", "properties", "waves", "items"}},
		{1, "## A canary", false, "environments:\n  e:\n    strategy:\n      KEY", []string{"$defs", "canary"}},
		{1, "## Blue-green", false, "environments:\n  e:\n    strategy:\n      blue-green:\n        KEY", []string{"$defs", "blue_green", "properties", "blue-green"}},
		{1, "## Blue-green", true, "environments:\n  e:\n    strategy:\n      blue-green: { }\n      KEY", nil},
		{1, "## A feature flag", true, "environments:\n  e:\n    strategy:\n      flag: f\n      KEY", nil},
		{1, "## Approvals", true, "environments:\n  e:\n    approve:\n      KEY", []string{"$defs", "approve"}},
		{1, "## Windows", false, "windows:\n  w:\n    KEY", []string{"properties", "windows", "additionalProperties"}},
		{1, "## Policies", false, "environments:\n  e:\n    policies:\n      - x-a: 1\n        KEY", []string{"$defs", "policy"}},
		{1, "## Policies", true, "environments:\n  e:\n    policies:\n      - match:\n          KEY", []string{"$defs", "policy", "properties", "match"}},
		{1, "## Analysis", false, "analysis:\n  a:\n    KEY", []string{"$defs", "analysis"}},
		{1, "### A metric", false, "analysis:\n  a:\n    metrics:\n      m:\n        KEY", []string{"$defs", "metric"}},
		{1, "### A metric", true, "analysis:\n  a:\n    metrics:\n      m:\n        compare:\n          KEY", []string{"$defs", "metric", "properties", "compare"}},
		{1, "## Secrets", false, "secrets:\n  s:\n    KEY", []string{"$defs", "secret"}},
		{1, "## Secrets", true, "secrets:\n  s:\n    kubernetes:\n      KEY", []string{"$defs", "secret", "properties", "kubernetes"}},
	} {
		s := all[c.schema]
		name := s.name + ": " + strings.ReplaceAll(c.within, "\n", " ")
		known := knownKeys(t, s, c.within)
		if c.node != nil {
			props := at(s.doc, append(c.node, "properties")...)
			var has []string
			for _, key := range slices.Sorted(maps.Keys(props)) {
				if about, _ := at(props, key)["description"].(string); about == "Not supported yet." {
					known = slices.DeleteFunc(known, func(k string) bool { return k == key })
					continue
				}
				has = append(has, key)
			}
			if diff := cmp.Diff(known, has); diff != "" {
				t.Errorf("%s: docs/schemas/%s.schema.json (-parser +schema):\n%s", name, s.name, diff)
			}
		}
		guide := section(t, s.name, c.heading)
		if c.inline {
			for _, key := range known {
				if !regexp.MustCompile("`[^`]*\\b" + key + "\\b[^`]*`").MatchString(guide) {
					t.Errorf("%s: docs/%s-yaml.md does not speak of %s", name, s.name, key)
				}
			}
			continue
		}
		var rows []string
		for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_-]+)` \\|").FindAllStringSubmatch(guide, -1) {
			rows = append(rows, row[1])
		}
		slices.Sort(rows)
		if diff := cmp.Diff(known, rows); diff != "" {
			t.Errorf("%s: docs/%s-yaml.md, %q (-parser +page):\n%s", name, s.name, c.heading, diff)
		}
	}
}

// knownKeys are those that the parser takes in place of KEY, sorted: what it names when
// it is given one that it does not know, but for those that it refuses whatever they hold.
func knownKeys(t *testing.T, s schema, within string) []string {
	t.Helper()
	before, _, _ := strings.Cut(within, "KEY")
	line := strings.Count(before, "\n") + 1
	column := len(before) - strings.LastIndex(before, "\n")
	find := func(key, value string, match func(pipeline.Problem) bool) bool {
		text := []byte(strings.ReplaceAll(within, "KEY", key+": "+value) + "\n")
		return slices.ContainsFunc(s.parse(text), func(p pipeline.Problem) bool { return p.Line == line && match(p) })
	}
	var out []string
	found := find("qqqqqqqqqqqq", "x", func(p pipeline.Problem) bool {
		list, ok := strings.CutPrefix(p.Suggestion, "known keys: ")
		out = strings.Split(list, ", ")
		return ok
	})
	if !found {
		t.Fatalf("the parser does not say which keys it knows in %q", within)
	}
	refused := func(key, value string) bool {
		return find(key, value, func(p pipeline.Problem) bool { return p.Column == column && !strings.Contains(p.Message, "required") })
	}
	return slices.DeleteFunc(out, func(key string) bool {
		return strings.HasPrefix(key, "x-") || refused(key, "[[[]]]") && refused(key, "{ }") && refused(key, "7")
	})
}

// section is a part of a guide, from a heading to the next; empty: what comes before the first.
func section(t *testing.T, name, heading string) string {
	t.Helper()
	data, err := os.ReadFile("../../docs/" + name + "-yaml.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	if heading != "" {
		_, after, ok := strings.Cut(text, "\n"+heading+"\n")
		if !ok {
			t.Fatalf("docs/%s-yaml.md has no %q", name, heading)
		}
		text = after
	}
	text, _, _ = strings.Cut(text, "\n## ")
	text, _, _ = strings.Cut(text, "\n### ")
	return text
}
