//go:build e2e

package rendering_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// written are the kustomizations that Kustomize's own tests write with WriteK, WriteC and WriteF before they run it: most of its
// examples are there, and not in files. A run after files whose path or text is computed is left out.
func written(t *testing.T, module, name string) []input {
	t.Helper()
	byDir := map[string][]*ast.File{}
	files := token.NewFileSet()
	walk(t, module, func(file string) {
		if strings.HasSuffix(file, "_test.go") {
			parsed, err := parser.ParseFile(files, file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			byDir[filepath.Dir(file)] = append(byDir[filepath.Dir(file)], parsed)
		}
	})
	var found []input
	left := 0
	for _, dir := range slices.Sorted(maps.Keys(byDir)) {
		p := pkg{funcs: map[string]*ast.FuncDecl{}, texts: map[string]string{}}
		p.declare(byDir[dir])
		for _, fn := range slices.Sorted(maps.Keys(p.funcs)) {
			if !strings.HasPrefix(fn, "Test") {
				continue
			}
			s := script{pkg: p, files: map[string]string{}, texts: maps.Clone(p.texts)}
			s.block(p.funcs[fn].Body, 0)
			left += s.left
			for i, r := range s.runs {
				at := t.TempDir()
				for file, text := range r.files {
					write(t, filepath.Join(at, inside(file)), text)
				}
				found = append(found, input{
					name: fmt.Sprintf("%s %s/%d", path.Join(name, filepath.ToSlash(strings.TrimPrefix(dir, module))), fn, i+1),
					dir:  filepath.Join(at, inside(r.path)), from: at,
				})
			}
		}
	}
	t.Logf("%d kustomizations in the tests of %s, %d runs left out", len(found), name, left)
	return found
}

// inside is a path of the tests' file system, whose root is its working directory, below another folder.
func inside(file string) string { return strings.TrimPrefix(path.Join("/", file), "/") }

type pkg struct {
	funcs map[string]*ast.FuncDecl
	texts map[string]string // constants
}

func (p pkg) declare(files []*ast.File) {
	for _, f := range files {
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Body != nil {
					p.funcs[d.Name.Name] = d
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					v, ok := s.(*ast.ValueSpec)
					for i := 0; ok && i < len(v.Names) && i < len(v.Values); i++ {
						if text, ok := (&script{texts: p.texts}).text(v.Values[i]); ok {
							p.texts[v.Names[i].Name] = text
						}
					}
				}
			}
		}
	}
}

type run struct {
	path  string
	files map[string]string
}

// script follows the statements of a test, as far as they are calls with texts.
type script struct {
	pkg
	files  map[string]string
	texts  map[string]string
	broken bool // a file is not known
	runs   []run
	left   int
}

func (s *script) block(b *ast.BlockStmt, depth int) {
	for _, stmt := range b.List {
		switch stmt := stmt.(type) {
		case *ast.ExprStmt:
			s.call(stmt.X, depth)
		case *ast.AssignStmt:
			for i, e := range stmt.Rhs {
				s.call(e, depth)
				if id, ok := stmt.Lhs[min(i, len(stmt.Lhs)-1)].(*ast.Ident); ok {
					delete(s.texts, id.Name)
					if text, ok := s.text(e); ok {
						s.texts[id.Name] = text
					}
				}
			}
		case *ast.BlockStmt:
			s.block(stmt, depth)
		default: // Loops, conditions: what is written there is not known.
			ast.Inspect(stmt, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok {
					s.broken = s.broken || strings.HasPrefix(sel.Sel.Name, "Write")
					if sel.Sel.Name == "Run" || sel.Sel.Name == "RunWithErr" {
						s.left++
					}
				}
				return true
			})
		}
	}
}

func (s *script) call(e ast.Expr, depth int) {
	c, ok := e.(*ast.CallExpr)
	if !ok {
		return
	}
	switch f := c.Fun.(type) {
	case *ast.Ident:
		callee, ok := s.funcs[f.Name]
		if !ok || depth > 5 {
			return
		}
		outer := s.texts
		s.texts = maps.Clone(s.pkg.texts)
		i := 0
		for _, field := range callee.Type.Params.List {
			for _, name := range field.Names {
				delete(s.texts, name.Name)
				if i < len(c.Args) {
					if text, ok := (&script{texts: outer}).text(c.Args[i]); ok {
						s.texts[name.Name] = text
					}
				}
				i++
			}
		}
		s.block(callee.Body, depth+1)
		s.texts = outer
	case *ast.SelectorExpr:
		s.method(f, c)
		s.call(f.X, depth) // th.Run(…).AsYaml()
	}
}

const head = "\napiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"

func (s *script) method(f *ast.SelectorExpr, c *ast.CallExpr) {
	name := f.Sel.Name
	heads := map[string]string{"WriteK": head, "WriteC": strings.NewReplacer("v1beta1", "v1alpha1", "Kustomization", "Component").Replace(head), "WriteF": ""}
	front, writes := heads[name]
	runs := (name == "Run" || name == "RunWithErr") && len(c.Args) == 2
	if !writes && !runs {
		s.broken = s.broken || name == "WriteFile"
		return
	}
	at, ok := s.text(c.Args[0])
	if runs {
		if !ok || s.broken {
			s.left++
			return
		}
		s.runs = append(s.runs, run{path: at, files: maps.Clone(s.files)})
		return
	}
	text, known := s.text(c.Args[1])
	if s.broken = s.broken || !ok || !known; s.broken {
		return
	}
	if name != "WriteF" {
		at = path.Join(at, "kustomization.yaml")
	}
	s.files[at] = front + text
}

// text is the value of an expression that is a text.
func (s *script) text(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.Ident:
		text, ok := s.texts[e.Name]
		return text, ok
	case *ast.ParenExpr:
		return s.text(e.X)
	case *ast.BinaryExpr:
		left, a := s.text(e.X)
		right, b := s.text(e.Y)
		return left + right, a && b && e.Op == token.ADD
	case *ast.CallExpr:
		sel, ok := e.Fun.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != "Join" {
			return "", false
		}
		var parts []string
		for _, a := range e.Args {
			part, ok := s.text(a)
			if !ok {
				return "", false
			}
			parts = append(parts, part)
		}
		return path.Join(parts...), true
	}
	return "", false
}
