package docstest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// texts are the strings of the source, with … in place of what is filled in.
func texts(t *testing.T) []string {
	t.Helper()
	verb := regexp.MustCompile(`%[-+# 0-9.*\[\]]*[a-zA-Z]`)
	var out []string
	fset := token.NewFileSet()
	for _, dir := range []string{"coordinator", "worker", "deploy", "slipway", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				e, ok := n.(ast.Expr)
				if !ok {
					return true
				}
				text, ok := constant(e)
				if ok {
					out = append(out, verb.ReplaceAllString(text, "…"))
				}
				return !ok
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// constant is the value of a string, or of several that are added; what is not known
// before the program runs is ….
func constant(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind != token.STRING {
			return "", false
		}
		text, err := strconv.Unquote(e.Value)
		return text, err == nil
	case *ast.BinaryExpr:
		left, lok := constant(e.X)
		right, rok := constant(e.Y)
		if e.Op != token.ADD || !lok && !rok {
			return "", false
		}
		if !lok {
			left = "…"
		}
		if !rok {
			right = "…"
		}
		return left + right, true
	default:
		return "", false
	}
}

// TestTroubleshooting quotes messages that there are.
func TestTroubleshooting(t *testing.T) {
	page, ok := pages(t)["docs/troubleshooting.md"]
	if !ok {
		t.Fatal("there is no docs/troubleshooting.md")
	}
	source := texts(t)
	quoted := regexp.MustCompile("(?m)^### `{1,2}(.+?)`{1,2}$").FindAllStringSubmatch(page, -1)
	if len(quoted) < 25 {
		t.Errorf("only %d messages", len(quoted))
	}
	for _, m := range quoted {
		if !slices.ContainsFunc(source, func(text string) bool { return strings.Contains(text, m[1]) }) {
			t.Errorf("docs/troubleshooting.md: no program says %q", m[1])
		}
	}
}

// TestConcepts has every state that a task can be in.
func TestConcepts(t *testing.T) {
	page := pages(t)["docs/concepts.md"]
	_, table, _ := strings.Cut(page, "| state | meaning |")
	table, _, _ = strings.Cut(table, "\n\n")
	var states []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`.*`) \\|").FindAllStringSubmatch(table, -1) {
		for _, state := range strings.Split(row[1], ", ") {
			states = append(states, strings.Trim(state, "`"))
		}
	}
	var want []string
	for number, name := range pb.TaskState_name {
		if number != 0 {
			want = append(want, strings.ToLower(strings.TrimPrefix(name, "TASK_STATE_")))
		}
	}
	slices.Sort(states)
	slices.Sort(want)
	if diff := cmp.Diff(want, states); diff != "" {
		t.Errorf("docs/concepts.md: states of a task (-protocol +page):\n%s", diff)
	}
}
