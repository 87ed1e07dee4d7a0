package pipeline_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/slipway-build/slipway/coordinator/pipeline"
)

// Each archive in testdata holds the files of a project and what comes of them:
// "want" is either the problems, with excerpts, or the result as JSON.
func TestGolden(t *testing.T) {
	update := flag.Lookup("update").Value.String() == "true"
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want []byte
			inputs := txtar.Archive{Comment: archive.Comment}
			for _, f := range archive.Files {
				if f.Name == "want" {
					want = f.Data
				} else {
					inputs.Files = append(inputs.Files, f)
				}
			}
			got := result(t, inputs.Files)
			if update {
				inputs.Files = append(inputs.Files, txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(&inputs), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got (or run with -update):\n%s", diff)
			}
		})
	}
}

func result(t *testing.T, files []txtar.File) string {
	t.Helper()
	sources := map[string][]byte{}
	var problems pipeline.Problems
	var results []any
	var targets *pipeline.Targets
	for _, f := range files {
		if f.Name != "targets.yaml" {
			sources[f.Name] = f.Data
			continue
		}
		found, more := pipeline.ParseTargets(f.Name, f.Data)
		targets, problems = found, append(problems, more...)
		results = append(results, targets)
	}
	if len(sources) > 0 {
		p, more := pipeline.Parse(sources)
		problems = append(more, problems...)
		results = append([]any{p}, results...)
		if len(problems) == 0 && targets != nil {
			report := pipeline.NewReporter()
			pipeline.Match(p, targets, report)
			problems = report.Problems()
		}
	}
	if len(problems) > 0 {
		return problems.Pretty()
	}
	var b strings.Builder
	for _, r := range results {
		data, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(data, '\n'))
	}
	return b.String()
}

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write what comes out into testdata")
	flag.Parse()
	os.Exit(m.Run())
}

func TestMatch(t *testing.T) {
	p, problems := pipeline.Parse(map[string][]byte{"slipway.yaml": []byte("version: 1\nproject: shop\nservices:\n  a: { path: a }\n")})
	if problems != nil {
		t.Fatal(problems)
	}
	targets, problems := pipeline.ParseTargets("t.yaml", []byte("version: 1\nproject: shops\nclusters: { a: { labels: { x: y } } }\nenvironments: { dev: { clusters: { x: y }, namespace: n } }\n"))
	if problems != nil {
		t.Fatal(problems)
	}
	match := func() pipeline.Problems {
		report := pipeline.NewReporter()
		pipeline.Match(p, targets, report)
		return report.Problems()
	}
	got := match().Error()
	if want := `t.yaml:2:10: these targets belong to project "shops", and slipway.yaml to project "shop"`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	targets.Project = "shop"
	if problems := match(); problems.Err() != nil {
		t.Error(problems)
	}
}

func TestPaths(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"b a", "a b"},
		{"a a/b a-b a/c", "a a-b"},
		{"libs/a.b libs/a libs/a/x", "libs/a libs/a.b"},
		{"x . y", "."},
	} {
		if got := strings.Join(pipeline.Outermost(strings.Fields(c.in)), " "); got != c.want {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
	for file, want := range map[string]string{
		"services/api/service.yaml": "api", "services/service.yaml": "", "x/services/api/service.yaml": "",
		"services/api/x/service.yaml": "", "services/api/service.yml": "",
	} {
		if name, ok := pipeline.IsServiceFile(file); ok != (want != "") || ok && name != want {
			t.Errorf("%s: got %q %v", file, name, ok)
		}
	}
}

// Every mistake must lie inside its file, and nothing may panic.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range archive.Files {
			f.Add(part.Data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, a := pipeline.Parse(map[string][]byte{"slipway.yaml": data})
		_, b := pipeline.Parse(map[string][]byte{"slipway.yaml": []byte("version: 1\nproject: p\n"), "services/a/service.yaml": data})
		_, c := pipeline.ParseTargets("targets.yaml", data)
		lines := strings.Split(string(data), "\n")
		for _, list := range []pipeline.Problems{a, b, c} {
			for _, p := range list {
				if p.Path == "slipway.yaml" && len(list) > 0 && &list[0] == &firstOf(b)[0] {
					continue // the fixed file
				}
				if p.Line < 0 || p.Line > len(lines) || p.Line > 0 && (p.Column < 1 || p.Column > len([]rune(lines[p.Line-1]))+1) {
					t.Errorf("outside of the file: %s", p.Error())
				}
			}
		}
	})
}

func firstOf(p pipeline.Problems) pipeline.Problems {
	if len(p) == 0 {
		return make(pipeline.Problems, 1)
	}
	return p
}
