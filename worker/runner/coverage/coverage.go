// Package coverage reads which lines of a program a test carried out: profiles of Go, LCOV (Jest, Vitest, c8,
// lcov, grcov and most others write it) and Cobertura XML (pytest-cov, coverlet, JaCoCo by a converter). Which of them it
// is is told by the content.
//
// A line counts as covered when anything on it was carried out, so that the numbers of Go differ from those of its own
// tool, which counts statements.
package coverage

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/tools/cover"
)

// Limits of what is read.
const (
	MaxSize  = 32 << 20 // bytes of one file
	maxFiles = 20_000
	maxLine  = 1 << 20 // the number of a line
	maxSaid  = 4 << 20 // lines of which something is said
	maxPath  = 4 << 10 // bytes of the name of a file
)

var errUnknown = errors.New("it is no profile of Go, no LCOV and no Cobertura XML")

// Lines are those of each file that can be carried out, and whether they were. The zero value has none.
type Lines struct {
	files map[string]map[int]bool
	said  int // of how many lines something was said
}

// Summary counts lines.
type Summary struct {
	Covered int    `json:"covered"`
	Total   int    `json:"total"`
	Files   []File `json:"files"` // sorted by path
}

// File counts the lines of one file.
type File struct {
	Path    string `json:"path"`
	Covered int    `json:"covered"`
	Total   int    `json:"total"`
}

// Read adds what a file says to what others said: a line that one of them covers is covered.
func (l *Lines) Read(data []byte) error {
	if len(data) > MaxSize {
		return fmt.Errorf("it has more than %d MiB", MaxSize>>20)
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // some on Windows say so that it is UTF-8
	switch begin := bytes.TrimSpace(data[:min(len(data), 4096)]); {
	case len(begin) == 0:
		return nil
	case bytes.HasPrefix(begin, []byte("mode:")):
		return l.profile(data)
	case bytes.HasPrefix(begin, []byte("<")):
		return l.cobertura(data)
	case bytes.HasPrefix(begin, []byte("TN:")), bytes.HasPrefix(begin, []byte("SF:")):
		return l.lcov(data)
	default:
		return errUnknown
	}
}

// Summary counts; paths below the working directory are shown from there.
func (l *Lines) Summary(workdir string) Summary {
	var s Summary
	for _, name := range slices.Sorted(maps.Keys(l.files)) {
		f := File{Path: strings.TrimPrefix(name, strings.TrimSuffix(workdir, "/")+"/"), Total: len(l.files[name])}
		for _, covered := range l.files[name] {
			if covered {
				f.Covered++
			}
		}
		s.Files = append(s.Files, f)
		s.Covered, s.Total = s.Covered+f.Covered, s.Total+f.Total
	}
	slices.SortFunc(s.Files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	return s
}

func (l *Lines) add(file string, line int, covered bool) error {
	lines, ok := l.files[file]
	if !ok {
		if l.files == nil {
			l.files = map[string]map[int]bool{}
		}
		if len(file) > maxPath {
			return fmt.Errorf("it names a file with more than %d bytes, %s…", maxPath, strings.ToValidUTF8(file[:64], ""))
		}
		if len(l.files) == maxFiles {
			return fmt.Errorf("it names more than %d files", maxFiles)
		}
		lines = map[int]bool{}
		l.files[file] = lines
	}
	if line < 0 || line > maxLine {
		return fmt.Errorf("%s has no line %d", file, line)
	}
	if l.said++; l.said > maxSaid {
		return fmt.Errorf("it says something of more than %d lines", maxSaid)
	}
	lines[line] = lines[line] || covered
	return nil
}

func (l *Lines) profile(data []byte) error {
	profiles, err := cover.ParseProfilesFromReader(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("profile of Go: %w", err)
	}
	for _, p := range profiles {
		for _, b := range p.Blocks {
			if b.EndLine > maxLine {
				return fmt.Errorf("%s has no line %d", p.FileName, b.EndLine)
			}
			for line := b.StartLine; line <= b.EndLine; line++ {
				if err := l.add(p.FileName, line, b.Count > 0); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (l *Lines) lcov(data []byte) error {
	file := ""
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		key, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), ":")
		switch key {
		case "SF":
			file = path.Clean(value)
		case "DA":
			at, rest, _ := strings.Cut(value, ",")
			times, _, _ := strings.Cut(rest, ",")
			line, err := strconv.Atoi(at)
			count, bad := strconv.ParseFloat(times, 64) // some count as 1e+06
			if file == "" || err != nil || bad != nil {
				return fmt.Errorf("LCOV: line %d: %q says nothing of a line of a file", n, lines.Text())
			}
			if err := l.add(file, line, count > 0); err != nil {
				return fmt.Errorf("LCOV: line %d: %w", n, err)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("LCOV: %w", err)
	}
	return nil
}

func (l *Lines) cobertura(data []byte) error {
	d := xml.NewDecoder(bytes.NewReader(data))
	d.Strict = true
	file, root := "", false
	for {
		token, err := d.Token()
		switch {
		case errors.Is(err, io.EOF):
			if !root {
				return errUnknown
			}
			return nil
		case err != nil:
			return fmt.Errorf("XML: %w", err)
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		attrs := map[string]string{}
		for _, a := range e.Attr {
			attrs[a.Name.Local] = a.Value
		}
		switch e.Name.Local {
		case "coverage":
			root = true
		case "class":
			file = path.Clean(attrs["filename"])
		case "line": // of a class; those of its methods are there twice
			line, err := strconv.Atoi(attrs["number"])
			hits, bad := strconv.ParseFloat(attrs["hits"], 64)
			if !root || file == "" || err != nil || bad != nil {
				return errUnknown
			}
			if err := l.add(file, line, hits > 0); err != nil {
				return fmt.Errorf("cobertura: %w", err)
			}
		}
	}
}
