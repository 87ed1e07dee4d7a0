package scaffold_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/internal/strictyaml"
	"github.com/slipway-build/slipway/slipway/scaffold"
)

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write what comes out into testdata")
	os.Exit(m.Run())
}

// lint says what slipway lint would say of both files.
func lint(t interface{ Errorf(string, ...any) }, f *scaffold.Found) {
	if problems := pipeline.Lint(map[string][]byte{pipeline.File: f.Pipeline()}); len(problems) > 0 && len(f.Services) > 0 {
		t.Errorf("slipway.yaml has mistakes:\n%s\n%s", problems.Pretty(), f.Pipeline())
	}
	if _, problems := pipeline.ParseTargets("targets.yaml", f.Targets(nil)); len(problems) > 0 {
		t.Errorf("targets.yaml has mistakes:\n%s\n%s", problems.Pretty(), f.Targets(nil))
	}
}

// TestRepositories: an archive holds a repository and, below want/, what is proposed.
func TestRepositories(t *testing.T) {
	update := flag.Lookup("update").Value.String() == "true"
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			repo, want := fstest.MapFS{}, map[string]string{}
			kept := &txtar.Archive{Comment: a.Comment}
			for _, f := range a.Files {
				if out, ok := strings.CutPrefix(f.Name, "want/"); ok {
					want[out] = string(f.Data)
					continue
				}
				repo[f.Name] = &fstest.MapFile{Data: f.Data, Mode: 0o644}
				kept.Files = append(kept.Files, f)
			}
			found, err := scaffold.Look(repo, "Acme Shop", scaffold.Options{})
			if err != nil {
				t.Fatal(err)
			}
			lint(t, found)
			got := map[string]string{"slipway.yaml": string(found.Pipeline()), "targets.yaml": string(found.Targets([]string{"kind-dev"}))}
			if update {
				for _, f := range []string{"slipway.yaml", "targets.yaml"} {
					kept.Files = append(kept.Files, txtar.File{Name: "want/" + f, Data: []byte(got[f])})
				}
				if err := os.WriteFile(name, txtar.Format(kept), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got (or run with -update):\n%s", diff)
			}
		})
	}
}

// TestShop: what is proposed for the example is what its authors wrote.
func TestShop(t *testing.T) {
	found, err := scaffold.Look(os.DirFS("../../examples/shop"), "shop", scaffold.Options{})
	if err != nil {
		t.Fatal(err)
	}
	lint(t, found)
	data, err := os.ReadFile("../../examples/shop/slipway.yaml")
	if err != nil {
		t.Fatal(err)
	}
	own, problems := pipeline.Parse(map[string][]byte{pipeline.File: data})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	proposed, _ := pipeline.Parse(map[string][]byte{pipeline.File: found.Pipeline()})
	for _, s := range own.Services {
		p, ok := proposed.Service(s.Name)
		if !ok {
			t.Errorf("service %s was not found", s.Name)
			continue
		}
		if p.Path != s.Path || s.Build != nil && p.Build.Context != s.Build.Context {
			t.Errorf("%s: path %s with context %s, want %s with %s", s.Name, p.Path, p.Build.Context, s.Path, s.Build.Context)
		}
		if (s.Deploy == nil) != (p.Deploy == nil) || s.Deploy != nil && p.Deploy.Path != s.Deploy.Path {
			t.Errorf("%s: deploy %+v, want %+v", s.Name, p.Deploy, s.Deploy)
		}
	}
}

// TestTheGuide: what docs/builds.md shows of a bake file is what is made of it.
func TestTheGuide(t *testing.T) {
	text, err := os.ReadFile("../../docs/builds.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(language string) []byte {
		_, after, _ := strings.Cut(string(text), "```"+language+"\n")
		inner, _, _ := strings.Cut(after, "```")
		return []byte(inner)
	}
	file := func(data string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(data), Mode: 0o644} }
	found, err := scaffold.Look(fstest.MapFS{
		"docker-bake.hcl": {Data: block("hcl"), Mode: 0o644}, "images/base/Dockerfile": file("FROM scratch\n"),
		"services/api/Dockerfile": file("FROM base AS prod\nCOPY main /\n"), "services/api/main": file(""),
	}, "shop", scaffold.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var made []string
	for line := range strings.Lines(string(found.Pipeline())) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			made = append(made, line)
		}
	}
	if diff := cmp.Diff(string(block("yaml")), strings.Join(made, "")); diff != "" {
		t.Errorf("-docs/builds.md +made:\n%s", diff)
	}
	if said := "`" + strings.Join(found.Notes, "\n"); !strings.HasPrefix(said, "`docker-bake.hcl:9:3: tags is left out (api): ") {
		t.Error(said)
	}
}

// TestAnythingIsProposedWell: whatever files and folders are called, what is proposed is
// read without a mistake.
func TestAnythingIsProposedWell(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		repo := fstest.MapFS{}
		name := rapid.SampledFrom([]string{"api", "Web App", "1.0", "no", "Über", "a:b", "src", "deploy", "overlays", "base", "prod", "x#y", "it's", "-", "a\tb", "null", "k8s"})
		file := rapid.SampledFrom([]string{"Dockerfile", "dockerfile", "Dockerfile.dev", "api.Dockerfile", "compose.yaml", "kustomization.yaml", "deployment.yaml", "go.mod", "a_test.go", "package.json", "skaffold.yaml", "Chart.yaml", "docker-bake.hcl", "docker-bake.json"})
		text := rapid.SampledFrom([]string{
			"FROM golang:1.26 AS build\nCOPY . .\nRUN go build\nFROM scratch\nCOPY --from=build /a /a\n", "FROM x\nCOPY libs/* /\n", "nonsense", "",
			"services: { no: { build: . , depends_on: [api] }, api: { depends_on: [no], build: { context: ., dockerfile: x, args: [A=b] } }, db: { image: x } }\n",
			"services: { a: { build: { context: .., args: { A: '1', B: null, C: ${X}, DB_PASSWORD: 'hunter22' } } } }\n", "services: 5\n", "\x00\xff", "{}", "[]",
			"apiVersion: apps/v1\nkind: Deployment\nspec: { template: { spec: { containers: [{ image: 'x/api:1', readinessProbe: { httpGet: { path: /, port: 80 } } }] } } }\n",
			"target \"no\" {}\ntarget \"a_b\" {\n  contexts = { \"x y\" = \"target:no\", x = \"target:no\", z = \"docker-image://z\" }\n  secret = [\"id=A_B\", \"id=no\"]\n  args = { no = null, \"a-b\" = 1 }\n  platforms = [\"windows\"]\n}\n",
			`{"target": {"api": {"context": "src", "target": "0"}, "1": {"dockerfile": "dockerfile", "args": {"A": "\u0001é\n"}}}}`,
			`{"scripts": {"test": "jest \"x\""}}`, "build: { artifacts: [{ image: gcr.io/x/no, context: . }] }\n---\nx: y\n",
		})
		for range rapid.IntRange(0, 12).Draw(t, "files") {
			var at []string
			for range rapid.IntRange(0, 3).Draw(t, "depth") {
				at = append(at, name.Draw(t, "folder"))
			}
			at = append(at, file.Draw(t, "file"))
			repo[strings.Join(at, "/")] = &fstest.MapFile{Data: []byte(text.Draw(t, "text")), Mode: 0o644}
		}
		found, err := scaffold.Look(repo, name.Draw(t, "project"), scaffold.Options{})
		if mistakes := (strictyaml.Problems{}); errors.As(err, &mistakes) { // of a bake file
			found, err = scaffold.Look(repo, "x", scaffold.Options{NoBake: true})
		}
		if err != nil {
			t.Fatal(err)
		}
		lint(t, found)
	})
}
