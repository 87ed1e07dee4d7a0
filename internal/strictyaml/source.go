package strictyaml

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// excerptWidth is how many runes of a long line an excerpt shows.
const excerptWidth = 120

// source is one document with the beginnings of its lines.
type source struct {
	path  string
	data  []byte
	lines []int // offset of each line
}

func newSource(path string, data []byte) *source {
	s := &source{path: path, data: data, lines: []int{0}}
	for i, b := range data {
		if b == '\n' && i+1 < len(data) {
			s.lines = append(s.lines, i+1)
		}
	}
	return s
}

// line returns the text of line n, counted from 1, without its end.
func (s *source) line(n int) string {
	if n < 1 || n > len(s.lines) {
		return ""
	}
	end := len(s.data)
	if n < len(s.lines) {
		end = s.lines[n]
	}
	return strings.TrimRight(string(s.data[s.lines[n-1]:end]), "\r\n")
}

// pos is a position that the YAML reader gave. An empty value may stand behind the
// end of the document: then it is the end.
func (s *source) pos(line, column int) Pos {
	if last := len(s.lines); line > last {
		return Pos{src: s, Line: last, Column: utf8.RuneCountInString(s.line(last)) + 1}
	}
	return Pos{src: s, Line: line, Column: column}
}

// at turns a byte offset into a position.
func (s *source) at(offset int) Pos {
	lo, hi := 0, len(s.lines) // the last line that begins at or before offset
	for lo+1 < hi {
		if mid := (lo + hi) / 2; s.lines[mid] <= offset {
			lo = mid
		} else {
			hi = mid
		}
	}
	return Pos{src: s, Line: lo + 1, Column: utf8.RuneCount(s.data[s.lines[lo]:offset]) + 1}
}

// Pos is a place in a document. It stays usable after parsing, so that later checks
// report where the mistake was written. The zero Pos is nowhere.
type Pos struct {
	src    *source
	Line   int // from 1
	Column int // from 1, in runes
}

// At is a position in a document that need not have been parsed: for mistakes about a
// file as a whole (line 0) and for other readers of text. data may be nil.
func At(path string, data []byte, line, column int) Pos {
	return Pos{src: newSource(path, data), Line: line, Column: column}
}

// Path is the name of the document, as it was given to Parse.
func (p Pos) Path() string {
	if p.src == nil {
		return ""
	}
	return p.src.path
}

// String is "path:line:column".
func (p Pos) String() string { return fmt.Sprintf("%s:%d:%d", p.Path(), p.Line, p.Column) }

// excerpt is the source line with a caret under the column. What a terminal could
// take for a command is blanked.
func (p Pos) excerpt() string {
	if p.src == nil || p.Line < 1 {
		return ""
	}
	runes := []rune(p.src.line(p.Line))
	caret := min(max(p.Column-1, 0), len(runes))
	first := 0
	if caret > excerptWidth*3/4 {
		first = caret - excerptWidth/2
	}
	shown := runes[first:min(len(runes), first+excerptWidth)]
	text := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, string(shown))
	number := fmt.Sprintf("%5d | ", p.Line)
	gutter := strings.Repeat(" ", len(number)-2) + "| "
	return number + strings.TrimRight(text, " ") + "\n" + gutter + strings.Repeat(" ", caret-first) + "^"
}
