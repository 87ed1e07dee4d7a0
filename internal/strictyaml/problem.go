package strictyaml

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one mistake in one document.
type Problem struct {
	Path       string `json:"path"`
	Line       int    `json:"line"`   // from 1; 0: the document as a whole
	Column     int    `json:"column"` // from 1, in runes
	Message    string `json:"message"`
	Suggestion string `json:"suggestion,omitempty"` // what to do about it
	Excerpt    string `json:"excerpt,omitempty"`    // the source line and a caret below it
}

// Error is "path:line:column: message; suggestion", on one line.
func (p Problem) Error() string {
	text := p.Message
	if p.Suggestion != "" {
		text += "; " + p.Suggestion
	}
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.Path, text)
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.Path, p.Line, p.Column, text)
}

// Problems are all mistakes that were found, ordered by path, line and column.
// None means that the documents are right.
type Problems []Problem

// Error has one problem on each line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Err is nil if there are no problems, which a Problems in an error variable is not.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

// Pretty is Error with the excerpt below each problem, for a terminal.
func (p Problems) Pretty() string {
	var b strings.Builder
	for i := range p {
		b.WriteString(p[i].Error() + "\n")
		if p[i].Excerpt != "" {
			b.WriteString(p[i].Excerpt + "\n")
		}
	}
	return b.String()
}

// Reporter gathers problems of any number of documents. A mistake inside an anchor
// is met once per alias and kept once.
type Reporter struct {
	limit  int
	list   Problems
	seen   map[Problem]bool
	hidden map[lineOf]bool
	more   bool
}

type lineOf struct {
	path string
	line int
}

// NewReporter keeps at most limit problems, and says so when there were more.
func NewReporter(limit int) *Reporter {
	return &Reporter{limit: limit, seen: map[Problem]bool{}, hidden: map[lineOf]bool{}}
}

// Add reports a mistake at a position. suggestion may be empty.
func (r *Reporter) Add(at Pos, suggestion, format string, args ...any) {
	if r.Full() {
		r.more = true
		return
	}
	p := Problem{
		Path: at.Path(), Line: at.Line, Column: at.Column,
		Message: fmt.Sprintf(format, args...), Suggestion: suggestion,
	}
	if r.seen[p] {
		return
	}
	r.seen[p] = true
	p.Excerpt = at.excerpt()
	r.list = append(r.list, p)
}

// Hide keeps the line of a position out of every excerpt: it holds a secret.
func (r *Reporter) Hide(at Pos) { r.hidden[lineOf{at.Path(), at.Line}] = true }

// Full says that further problems are only counted, so that work done for the sake
// of a good message can be left out.
func (r *Reporter) Full() bool { return len(r.list) >= r.limit }

// Count is the number of problems so far.
func (r *Reporter) Count() int { return len(r.list) }

// Problems returns what was reported, in order.
func (r *Reporter) Problems() Problems {
	out := slices.Clone(r.list)
	for i := range out {
		if r.hidden[lineOf{out[i].Path, out[i].Line}] {
			out[i].Excerpt = ""
		}
	}
	slices.SortStableFunc(out, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message))
	})
	if r.more {
		last := out[len(out)-1]
		out = append(out, Problem{
			Path: last.Path, Line: last.Line, Column: last.Column,
			Message:    fmt.Sprintf("more than %d mistakes", r.limit),
			Suggestion: "correct those above first; the rest is not shown",
		})
	}
	return out
}
