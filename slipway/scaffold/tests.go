package scaffold

import (
	"encoding/json"
	"path"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// language is how tests of one are found and run.
type language struct {
	name   string
	images []string // what base images with its tools are called
	run    string
}

// tests proposes the usual command of the service's language, in a stage that has its tools.
func (b *builder) tests(s *Service, stages []instructions.Stage) {
	l, ok := b.language(s)
	if !ok {
		return
	}
	n := withTools(stages, l.images)
	var stage instructions.Stage
	if n >= 0 {
		stage = stages[n]
	}
	switch last := n == len(stages)-1; {
	case n < 0:
		s.note("no stage of its Dockerfile seems to have the tools for `%s`: add one, and a test that runs in it", l.run)
	case stage.Name == "" && !last:
		s.note("to run `%s` as a test, name the stage that has the tools (FROM %s AS build), and write test: { unit: { run: %q, in: build } }", l.run, stage.BaseName, l.run)
	case last && !b.hasTests(s, stage):
		s.note("`%s` has nothing to test in the built image, into which its Dockerfile copies no tests: add a stage before the last one with what they need (such as FROM %s AS test, "+
			"COPY, and what the tests install), and here test: { unit: { run: %q, in: test } }", l.run, stage.BaseName, l.run)
	default:
		t := Test{Name: "unit", Run: l.run, In: stage.Name}
		if last {
			t.In = "" // the built image
		}
		s.Tests = append(s.Tests, t)
		s.note("the test is the usual one of %s; it runs offline, so what it needs must be in the image", l.name)
	}
}

// withTools is the stage that has sources and one of these images below it, one with a
// name if there is one; -1: none. A stage that builds on one with tools has them too.
func withTools(stages []instructions.Stage, images []string) int {
	has := map[string]bool{}
	found := -1
	for i, st := range stages {
		base := path.Base(strings.ToLower(st.BaseName))
		base, _, _ = strings.Cut(base, "@")
		base, _, _ = strings.Cut(base, ":")
		tools := has[strings.ToLower(st.BaseName)]
		for _, image := range images {
			tools = tools || base == image
		}
		if !tools {
			continue
		}
		if st.Name != "" {
			has[strings.ToLower(st.Name)] = true
		}
		if copies(st) && (found < 0 || stages[found].Name == "" && st.Name != "") {
			found = i
		}
	}
	return found
}

// hasTests says that a stage copies test files of the service, or that none are told apart from other files.
func (b *builder) hasTests(s *Service, st instructions.Stage) bool {
	ignored := string(b.tree.read(path.Join(orElse(s.Context, "."), ".dockerignore")))
	found := false
	for _, f := range b.tree.files {
		if !inside(f, s.Path) || !isTest(f) {
			continue
		}
		found = true
		for _, src := range sources([]instructions.Stage{st}) {
			from := path.Join(orElse(s.Context, "."), fixed(src))
			if inside(f, from) && !ignores(ignored, strings.TrimPrefix(f, orElse(s.Context, ".")+"/")) {
				return true
			}
		}
	}
	return !found
}

// isTest goes by the names that test runners look for.
func isTest(file string) bool {
	base := path.Base(file)
	for _, dir := range []string{"test", "tests", "__tests__", "spec"} {
		if path.Base(path.Dir(file)) == dir && !strings.HasPrefix(base, ".") {
			return true
		}
	}
	return strings.HasSuffix(base, "_test.py") || strings.HasPrefix(base, "test_") || strings.Contains(base, ".test.") || strings.Contains(base, ".spec.")
}

// ignores knows the lines of .dockerignore that name a folder or a file; patterns it takes for what they are not.
func ignores(dockerignore, file string) bool {
	for line := range strings.Lines(dockerignore) {
		line = strings.Trim(strings.TrimSpace(line), "/")
		if line != "" && !strings.HasPrefix(line, "#") && (file == line || strings.HasPrefix(file, line+"/")) {
			return true
		}
	}
	return false
}

// copies says that a stage has sources.
func copies(st instructions.Stage) bool {
	for _, c := range st.Commands {
		if c, ok := c.(*instructions.CopyCommand); ok && c.From == "" {
			return true
		}
	}
	return false
}

func (b *builder) language(s *Service) (language, bool) {
	at := func(name string) string {
		for _, dir := range []string{s.Path, orElse(s.Context, ".")} {
			if p := path.Join(dir, name); b.tree.has(p) {
				return p
			}
		}
		return ""
	}
	if at("go.mod") != "" && b.anyFile(s.Path, "_test.go") {
		return language{"Go", []string{"golang"}, "go test ./..."}, true
	}
	if file := at("package.json"); file != "" {
		var p struct{ Scripts map[string]string }
		test := ""
		if json.Unmarshal(b.tree.read(file), &p) == nil {
			test = p.Scripts["test"]
		}
		if test != "" && !strings.Contains(test, "no test specified") {
			return language{"Node", []string{"node", "bun"}, "npm test"}, true
		}
		return language{}, false
	}
	python := []string{"python"}
	for _, name := range []string{"pyproject.toml", "requirements.txt", "requirements-dev.txt"} {
		if file := at(name); file != "" && strings.Contains(string(b.tree.read(file)), "pytest") {
			return language{"Python", python, "python -m pytest"}, true
		}
	}
	for _, f := range b.tree.files {
		if inside(f, s.Path) && strings.HasSuffix(f, ".py") && isTest(f) && strings.Contains(string(b.tree.read(f)), "unittest") {
			dir, err := filepath.Rel(s.Path, path.Dir(f))
			if err != nil {
				continue
			}
			return language{"Python", python, "python -m unittest discover -s " + dir}, true
		}
	}
	return language{}, false
}

func (b *builder) anyFile(dir, suffix string) bool {
	for _, f := range b.tree.files {
		if inside(f, dir) && strings.HasSuffix(f, suffix) {
			return true
		}
	}
	return false
}
