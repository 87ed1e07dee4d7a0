package pipeline_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/slipway-build/slipway/coordinator/pipeline"
)

// schema is one of docs/schemas, read twice: to validate with, and to draw documents from.
type schema struct {
	name  string
	doc   map[string]any
	check *jsonschema.Schema
	parse func([]byte) pipeline.Problems
}

func schemas(t *testing.T) []schema {
	t.Helper()
	list := []schema{
		{name: "slipway", parse: func(data []byte) pipeline.Problems { return pipeline.Lint(map[string][]byte{pipeline.File: data}) }},
		{name: "targets", parse: func(data []byte) pipeline.Problems {
			_, problems := pipeline.ParseTargets("targets.yaml", data)
			return problems
		}},
	}
	for i := range list {
		s := &list[i]
		data, err := os.ReadFile("../../docs/schemas/" + s.name + ".schema.json")
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &s.doc); err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		c := jsonschema.NewCompiler()
		if err := c.AddResource("schema.json", doc); err != nil {
			t.Fatal(err)
		}
		if s.check, err = c.Compile("schema.json"); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

func (s schema) accepts(t interface{ Fatal(...any) }, text []byte) error {
	data, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return s.check.Validate(doc)
}

// draw makes a document of a schema; now and then something that does not belong there.
func (s schema) draw(t *rapid.T, node map[string]any, strange bool) any {
	if strange && rapid.IntRange(0, 30).Draw(t, "strange") == 0 {
		return rapid.SampledFrom([]any{"text", 7, true, []any{"a"}, map[string]any{"zzz": "b"}, "", 1.5}).Draw(t, "value")
	}
	if name, ok := node["$ref"].(string); ok {
		return s.draw(t, at(s.doc, strings.Split(strings.TrimPrefix(name, "#/"), "/")...), strange)
	}
	for _, of := range []string{"anyOf", "allOf"} {
		if node["properties"] != nil {
			break // conditions on what is drawn
		}
		if list, ok := node[of].([]any); ok {
			return s.draw(t, rapid.SampledFrom(list).Draw(t, of).(map[string]any), strange) //nolint:forcetypeassert // of a schema
		}
	}
	if v, ok := node["const"]; ok {
		return v
	}
	if list, ok := node["enum"].([]any); ok {
		return rapid.SampledFrom(list).Draw(t, "enum")
	}
	switch kind := node["type"]; kind {
	case "object":
		return s.object(t, node, strange)
	case "array":
		if _, ok := node["contains"]; ok {
			return rapid.SampledFrom([]any{[]any{"build"}, []any{"build", "test"}, []any{"build", "test", "release"}}).Draw(t, "run")
		}
		out := []any{}
		least, _ := node["minItems"].(float64)
		for range rapid.IntRange(int(least), 2).Draw(t, "items") {
			out = append(out, s.draw(t, at(node, "items"), strange))
		}
		return out
	case "null":
		return nil
	case "boolean":
		return rapid.Bool().Draw(t, "bool")
	case "integer":
		return rapid.IntRange(int(node["minimum"].(float64)), min(9, int(node["maximum"].(float64)))).Draw(t, "int") //nolint:forcetypeassert // of a schema
	case "number":
		return rapid.SampledFrom([]any{0.01, 3, 1e9}).Draw(t, "number")
	case "string":
		return s.text(t, node)
	default: // several types
		return rapid.SampledFrom([]any{"x", 5, true}).Draw(t, "scalar")
	}
}

// text makes one that fits its pattern.
func (s schema) text(t *rapid.T, node map[string]any) string {
	pattern, _ := node["pattern"].(string)
	about, _ := node["description"].(string)
	var fitting []string
	for _, text := range []string{"api", "web", "linux/amd64", "registry.example.com/shop", "services/api", "/healthz", "15m", "service:web", "**/junit.xml", "2027-01-31"} {
		if regexp.MustCompile(pattern).MatchString(text) && (text == "linux/amd64") == strings.Contains(about, "platform,") {
			fitting = append(fitting, text)
		}
	}
	return rapid.SampledFrom(fitting).Draw(t, "text")
}

func (s schema) object(t *rapid.T, node map[string]any, strange bool) map[string]any {
	out := map[string]any{}
	required, _ := node["required"].([]any)
	props, _ := node["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(props)) {
		if slices.Contains(required, any(name)) || rapid.Bool().Draw(t, name) {
			out[name] = s.draw(t, props[name].(map[string]any), strange) //nolint:forcetypeassert // of a schema
		}
	}
	if _, ok := props["kubernetes"]; ok { // a secret has one provider
		keep := rapid.SampledFrom([]string{"file", "env", "kubernetes"}).Draw(t, "provider")
		maps.DeleteFunc(out, func(k string, _ any) bool {
			return k != keep && slices.Contains([]string{"file", "env", "kubernetes"}, k)
		})
		out[keep] = s.draw(t, props[keep].(map[string]any), strange) //nolint:forcetypeassert // of a schema
	} else if _, ok := props["rest"]; ok { // a wave has labels or takes what is left
		delete(out, "rest")
		out["clusters"] = map[string]any{"api": "x"}
		if rapid.Bool().Draw(t, "the rest") {
			delete(out, "clusters")
			out["rest"] = true
		}
	} else if _, ok := props["cel"]; ok { // a policy is a condition or requires something
		without := rapid.SampledFrom([][]string{{"cel"}, {"require", "images", "keys"}}).Draw(t, "without")
		maps.DeleteFunc(out, func(k string, _ any) bool { return slices.Contains(without, k) })
		if keep := map[bool]string{true: "require", false: "cel"}[len(without) == 1]; out[keep] == nil {
			out[keep] = s.draw(t, props[keep].(map[string]any), strange) //nolint:forcetypeassert // of a schema
		}
	} else if _, ok := node["oneOf"]; ok { // a test is a command or a stage
		delete(out, rapid.SampledFrom([]string{"run", "target"}).Draw(t, "without"))
		if _, ok := out["run"]; !ok {
			delete(out, "in")
			delete(out, "sidecars")
			delete(out, "use")
			out["target"] = "api"
		}
		if out["at"] == "deploy" {
			maps.DeleteFunc(out, func(k string, _ any) bool {
				return slices.Contains([]string{"in", "target", "report", "sidecars", "env", "artifacts", "use", "coverage"}, k)
			})
			out["run"] = "api"
		}
	}
	if more, ok := node["additionalProperties"].(map[string]any); ok {
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"api", "web", "x"}), 1, 2, rapid.ID).Draw(t, "names") {
			out[name] = s.draw(t, more, strange)
		}
	}
	if strange && rapid.IntRange(0, 40).Draw(t, "unknown") == 0 {
		out["zzz"] = "x"
	}
	return out
}

func at(node map[string]any, steps ...string) map[string]any {
	for _, step := range steps {
		node = node[step].(map[string]any) //nolint:forcetypeassert // of a schema
	}
	return node
}

// TestSchemasAllowWhatIsUnderstood: what a schema describes has no key or kind of value
// that the parser does not know. What a name refers to, a schema cannot say.
func TestSchemasAllowWhatIsUnderstood(t *testing.T) {
	structural := regexp.MustCompile(`unknown|not supported yet|want (a|an|one|true) `)
	for _, s := range schemas(t) {
		t.Run(s.name, rapid.MakeCheck(func(t *rapid.T) {
			text, err := yaml.Marshal(s.draw(t, s.doc, false))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.accepts(t, text); err != nil {
				t.Fatalf("the schema refuses what was drawn from it: %v\n%s", err, text)
			}
			for _, p := range s.parse(text) {
				if structural.MatchString(p.Message) && !strings.Contains(p.Message, "when at is deploy") { // what defaults bring, too
					t.Fatalf("the parser does not know what the schema allows: %v\n%s", p, text)
				}
			}
		}))
	}
}

// TestSchemasRefuseNothingThatWorks: an editor never marks a file that the parser takes.
func TestSchemasRefuseNothingThatWorks(t *testing.T) {
	for _, s := range schemas(t) {
		t.Run(s.name, rapid.MakeCheck(func(t *rapid.T) {
			text, err := yaml.Marshal(s.draw(t, s.doc, true))
			if err != nil {
				t.Fatal(err)
			}
			if problems := s.parse(text); len(problems) > 0 {
				return
			}
			if err := s.accepts(t, text); err != nil {
				t.Fatalf("the parser takes what the schema refuses: %v\n%s", err, text)
			}
		}))
	}
}

// TestSchemasHaveEveryKey of the guides, and take what they show.
func TestSchemasHaveEveryKey(t *testing.T) {
	for _, s := range schemas(t) {
		keys := map[string]bool{}
		var walk func(any)
		walk = func(v any) {
			switch v := v.(type) {
			case map[string]any:
				if props, ok := v["properties"].(map[string]any); ok {
					for k := range props {
						keys[k] = true
					}
				}
				for _, below := range v {
					walk(below)
				}
			case []any:
				for _, below := range v {
					walk(below)
				}
			}
		}
		walk(s.doc)
		guide, err := os.ReadFile("../../docs/" + s.name + "-yaml.md")
		if err != nil {
			t.Fatal(err)
		}
		rows := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(string(guide), -1)
		if len(rows) < 5 {
			t.Fatalf("%s: %d keys in its tables", s.name, len(rows))
		}
		for _, row := range rows {
			if !keys[row[1]] {
				t.Errorf("docs/schemas/%s.schema.json lacks the key %s of its guide", s.name, row[1])
			}
		}
		shown := regexp.MustCompile("(?s)```yaml\n(version: 1.*?)```").FindSubmatch(guide)
		if shown == nil {
			t.Fatalf("%s shows no file", s.name)
		}
		if err := s.accepts(t, shown[1]); err != nil {
			t.Errorf("the schema refuses the file that its guide shows: %v", err)
		}
	}
}

// TestWhatGoesWithADeployment is refused where it cannot be.
func TestWhatGoesWithADeployment(t *testing.T) {
	for service, want := range map[string]string{
		"deploy: { values: [a.yaml] }":                                     "values are for charts",
		"deploy: { using: manifests, values: [a.yaml] }":                   "values are for charts",
		"deploy: { mode: release }":                                        "mode is for charts, and kustomize has none",
		"deploy: { using: manifests, mode: apply }":                        "mode is for charts, and manifests has none",
		"deploy: { using: helm, path: charts/api, mode: install }":         "install",
		"deploy: { migrate: { run: ./m, reversible: perhaps } }":           "want true or false",
		"deploy: { migrate: { reversible: true } }":                        "run",
		"test: { smoke: { run: ./s, in: test, at: deploy } }":              "target, in and report are not supported yet",
		"test: { smoke: { target: test, at: deploy } }":                    "target, in and report are not supported yet",
		"test: { migrate: { run: ./s, at: deploy } }":                      "has the name of the service's migration",
		"test: { smoke: { run: ./s, at: night } }":                         "night",
		"deploy: { using: helm, path: charts/api, values: [../api.yaml] }": "..",
	} {
		text := "version: 1\nproject: shop\nservices: { api: { path: api, " + service + " } }\n"
		problems := pipeline.Lint(map[string][]byte{pipeline.File: []byte(text)})
		if len(problems) != 1 || !strings.Contains(problems[0].Message, want) {
			t.Errorf("%s: %v, want one with %q", service, problems, want)
		}
	}
}

// TestEmptyTexts are mistakes where a name or a path of a URL belongs.
func TestEmptyTexts(t *testing.T) {
	for text, want := range map[string]string{
		"version: 1\nproject: \"\"\nservices: { api: { path: api } }\n":                                              "is not a valid name",
		"version: 1\nproject: shop\nservices: { api: { path: api, deploy: { health: { http: \"\", port: 1 } } } }\n": "is not the path of a URL",
	} {
		if problems := pipeline.Lint(map[string][]byte{pipeline.File: []byte(text)}); len(problems) != 1 || !strings.Contains(problems[0].Message, want) {
			t.Errorf("%s: %v, want one with %q", text, problems, want)
		}
	}
	_, problems := pipeline.ParseTargets("targets.yaml", []byte(`version: 1
project: shop
clusters: { a: { labels: { x: y } } }
environments: { dev: { clusters: { x: y }, namespace: "" } }
`))
	if len(problems) != 1 || !strings.Contains(problems[0].Message, "is not a valid name") {
		t.Errorf("an empty namespace: %v", problems)
	}
}
