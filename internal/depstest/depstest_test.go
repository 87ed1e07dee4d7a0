package depstest

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// listed is what `go list -json` says of a package.
type listed struct {
	ImportPath string
	Name       string
	Dir        string
	GoFiles    []string
	Imports    []string
}

func (p listed) name() string {
	if p.ImportPath == module {
		return "."
	}
	return strings.TrimPrefix(p.ImportPath, module+"/")
}

// within are the imported packages of the tree, by their short names.
func (p listed) within() []string {
	var names []string
	for _, i := range p.Imports {
		if name, ok := strings.CutPrefix(i, module+"/"); ok {
			names = append(names, name)
		}
	}
	return names
}

func tree(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Name,Dir,GoFiles,Imports", "-tags", "e2e", "./...")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestArchitectureIsTheTree(t *testing.T) {
	a := readArchitecture(t)
	seen := map[string]bool{}
	for _, p := range tree(t) {
		seen[p.name()] = true
		r, ok := a.packages[p.name()]
		if !ok {
			t.Errorf("package %s is not in the packages table of ARCHITECTURE.md: add a row there with what it is for, what it may reach and what it imports, such as\n\t| `%s` | … | – | %s |",
				p.name(), p.name(), quoted(p.within()))
			continue
		}
		for _, name := range p.within() {
			if !slices.Contains(r.imports, name) && !strings.HasPrefix(name, "proto/gen/") {
				t.Errorf("package %s imports %s, which its row in ARCHITECTURE.md does not have: add it there if it belongs there, or take the import away", r.name, name)
			}
		}
		for _, name := range r.imports {
			if !slices.Contains(p.within(), name) {
				t.Errorf("ARCHITECTURE.md says that package %s imports %s, and it does not: take it out of the row", r.name, name)
			}
		}
		checkReach(t, a, r, p)
		checkDirection(t, a, r, p)
		checkSource(t, r, p)
	}
	for name := range a.packages {
		if !seen[name] {
			t.Errorf("ARCHITECTURE.md has a row for package %s, which is not in the tree: take it out", name)
		}
	}
}

// checkReach holds a package to the libraries that its row names.
func checkReach(t *testing.T, a architecture, r row, p listed) {
	t.Helper()
	used := map[string]bool{}
	for _, i := range p.Imports {
		for word, prefixes := range a.families {
			if !slices.ContainsFunc(prefixes, func(prefix string) bool { return i == prefix || strings.HasPrefix(i, prefix+"/") }) {
				continue
			}
			used[word] = true
			if !r.has(word) && r.name != i {
				t.Errorf("package %s imports %s: it needs the word %s in its row of ARCHITECTURE.md, or a package that has it already", r.name, i, word)
			}
		}
		std := !strings.Contains(strings.SplitN(i, "/", 2)[0], ".")
		impure := slices.Contains([]string{"os", "net", "log", "syscall", "unsafe", "database"}, strings.SplitN(i, "/", 2)[0])
		name, inside := strings.CutPrefix(i, module+"/")
		switch {
		case !r.has(wordPure):
		case std && impure:
			t.Errorf("package %s is pure and imports %s: pass in what it would find there", r.name, i)
		case inside && !a.packages[name].has(wordPure):
			t.Errorf("package %s is pure and imports %s, which is not", r.name, name)
		case !std && !inside && !slices.ContainsFunc(r.words, func(w string) bool { return matches(a.families[w], i) }):
			t.Errorf("package %s is pure and imports %s, which none of the words in its row allows", r.name, i)
		}
	}
	for _, w := range r.words {
		if _, family := a.families[w]; family && !used[w] {
			t.Errorf("ARCHITECTURE.md says that package %s reaches %s, and it does not: take the word out", r.name, w)
		}
	}
}

func matches(prefixes []string, path string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") })
}

// checkDirection holds packages to which way imports point: programs never import each other, and nothing below a program
// imports one.
func checkDirection(t *testing.T, a architecture, r row, p listed) {
	t.Helper()
	home := program(r.name)
	if (p.Name == "main") != r.has(wordProgram) {
		t.Errorf("package %s: the word %s belongs to main packages, and to all of them", r.name, wordProgram)
	}
	for _, name := range p.within() {
		other, there := program(name), a.packages[name]
		switch {
		case there.has(wordTesting) && !r.has(wordTesting):
			t.Errorf("package %s imports %s, which is for tests", r.name, name)
		case other == "" || other == home || r.has(wordAssembles):
		case home == "slipway" && there.has(wordPure): // the CLI lints and plans offline
		case home == "":
			t.Errorf("package %s imports %s: what programs share imports no program", r.name, name)
		default:
			t.Errorf("package %s imports %s: programs talk to each other in proto/slipway/v1 and never import each other; move what both need to internal/", r.name, name)
		}
	}
}

// program is the program whose folder a package is in, or nothing.
func program(name string) string {
	first := strings.SplitN(name, "/", 2)[0]
	if slices.Contains([]string{"coordinator", "worker", "deploy", "slipway"}, first) {
		return first
	}
	return ""
}

// wire is what names of streams, buckets and subjects look like.
var wire = regexp.MustCompile(`^SLIPWAY_[A-Z]+(_%d)?$|^(tasks|logs|journal)\.(%|$|\*)`)

// checkSource reads what import lists do not say.
func checkSource(t *testing.T, r row, p listed) {
	t.Helper()
	env := []string{"Args", "Getenv", "LookupEnv", "Environ", "ExpandEnv"}
	for _, file := range p.GoFiles {
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, filepath.Join(p.Dir, file), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		at := func(n ast.Node) string {
			return path.Join(r.name, file) + ":" + strconv.Itoa(set.Position(n.Pos()).Line)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				of, ok := n.X.(*ast.Ident)
				switch {
				case !ok:
				case of.Name == "os" && slices.Contains(env, n.Sel.Name) && file != "main.go" && !r.has(wordTesting):
					t.Errorf("%s: os.%s outside main.go: have main.go pass in what it needs", at(n), n.Sel.Name)
				case of.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "After", "NewTimer", "NewTicker", "Tick", "AfterFunc"}, n.Sel.Name) && r.has(wordPure):
					t.Errorf("%s: time.%s in a pure package: take the time as an argument", at(n), n.Sel.Name)
				}
			case *ast.BasicLit:
				if s, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING && wire.MatchString(s) && !r.has(wordSubjects) && !environment(s) {
					t.Errorf("%s: %q names a stream, subject or bucket: that is the business of packages with the word %s in ARCHITECTURE.md", at(n), s, wordSubjects)
				}
			}
			return true
		})
	}
}

// environment says that a name is a variable of the environment, which looks like a stream's.
func environment(s string) bool {
	return slices.Contains([]string{"SLIPWAY_ADDR", "SLIPWAY_TOKEN", "SLIPWAY_DEVCLUSTER", "SLIPWAY_SHARD", "SLIPWAY_SHARDS"}, s)
}

func quoted(names []string) string {
	if len(names) == 0 {
		return "–"
	}
	return "`" + strings.Join(names, "` `") + "`"
}
