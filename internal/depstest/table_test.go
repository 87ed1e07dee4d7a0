package depstest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module is the import path of the tree's root.
const module = "github.com/slipway-build/slipway"

// The words of the table that are no family of libraries.
const (
	wordPure      = "pure"      // decides from what it is given: no I/O, no clock
	wordProgram   = "program"   // a main package, which alone reads arguments and environment
	wordSubjects  = "subjects"  // spells names of streams, subjects and buckets
	wordAssembles = "assembles" // may import the wiring of several programs
	wordTesting   = "testing"   // only tests import it
)

// row is a line of the packages table.
type row struct {
	name    string // path below the module; "." is the root
	words   []string
	imports []string // the packages of the tree that it imports
}

func (r row) has(word string) bool { return slices.Contains(r.words, word) }

// architecture is what ARCHITECTURE.md says.
type architecture struct {
	packages map[string]row
	families map[string][]string // word → prefixes of import paths
}

// readArchitecture reads the tables between the markers.
func readArchitecture(t *testing.T) architecture {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	a := architecture{packages: map[string]row{}, families: map[string][]string{}}
	for _, cells := range rows(t, string(data), "reach", 3) {
		a.families[unquote(cells[0])] = list(cells[1])
	}
	for _, cells := range rows(t, string(data), "packages", 4) {
		r := row{name: unquote(cells[0]), words: list(cells[2]), imports: list(cells[3])}
		if _, twice := a.packages[r.name]; twice {
			t.Errorf("ARCHITECTURE.md: package %s stands in the table twice", r.name)
		}
		for _, w := range r.words {
			known := slices.Contains([]string{wordPure, wordProgram, wordSubjects, wordAssembles, wordTesting}, w)
			if _, family := a.families[w]; !family && !known {
				t.Errorf("ARCHITECTURE.md: package %s has the word %q, which the table of reach does not explain", r.name, w)
			}
		}
		a.packages[r.name] = r
	}
	if len(a.packages) == 0 || len(a.families) == 0 {
		t.Fatal("ARCHITECTURE.md: no rows between the markers; a row begins with | `")
	}
	return a
}

// rows are the table rows between <!-- name:begin --> and <!-- name:end --> whose first cell is code.
func rows(t *testing.T, text, name string, cells int) [][]string {
	t.Helper()
	_, rest, ok := strings.Cut(text, fmt.Sprintf("<!-- %s:begin -->", name))
	body, _, closed := strings.Cut(rest, fmt.Sprintf("<!-- %s:end -->", name))
	if !ok || !closed {
		t.Fatalf("ARCHITECTURE.md: markers %s:begin and %s:end are not both there", name, name)
	}
	var out [][]string
	for line := range strings.Lines(body) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		parts := strings.Split(strings.Trim(line, "|"), "|")
		if len(parts) != cells {
			t.Fatalf("ARCHITECTURE.md: %d cells, expected %d: %s", len(parts), cells, line)
		}
		for i := range parts {
			parts[i] = strings.TrimSpace(parts[i])
		}
		out = append(out, parts)
	}
	return out
}

func unquote(s string) string { return strings.Trim(s, "` ") }

// list reads "a, b" or "`a` `b`"; a dash is nothing.
func list(cell string) []string {
	fields := strings.FieldsFunc(cell, func(r rune) bool { return r == ' ' || r == ',' || r == '`' })
	return slices.DeleteFunc(fields, func(s string) bool { return s == "–" })
}
