// Package testreport reads the reports of test tools, JUnit XML, the events of
// `go test -json`, TAP, and the JSON of Jest and Vitest, told apart by their content,
// into counts and failed cases.
//
// It runs nothing and opens no file: it is given bytes.
package testreport

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Limits of what is read and kept.
const (
	// MaxSize is the largest report that is read.
	MaxSize = 32 << 20
	// MaxFailures is how many failed cases are kept.
	MaxFailures = 50
	// MaxOutput is how much of the end of a failed case's output is kept.
	MaxOutput = 4 << 10
	maxName   = 300
	maxCases  = 1_000_000
)

// ErrFormat means that a report is in no format that is known here.
var ErrFormat = errors.New("neither JUnit XML nor `go test -json`, TAP or the JSON of Jest")

// Summary counts test cases: Passed + Failed + Skipped = Total.
type Summary struct {
	Total    int
	Passed   int
	Failed   int
	Skipped  int
	Duration time.Duration // sum over suites
	Failures []Case        // the first MaxFailures
	Partial  bool          // there may be cases that are not counted
	Took     []Took        // by case; of go test -json by package too, with no name
}

// Took is how long a report says that a case, or with no name a whole suite, took.
type Took struct {
	Suite, Name, File string
	Duration          time.Duration
}

// Case is one failed test.
type Case struct {
	Suite    string
	Name     string
	Duration time.Duration
	Output   string // the end, at most MaxOutput bytes
	File     string // where the report says that it is
}

// Parse reads one report.
func Parse(data []byte) (Summary, error) {
	if len(data) > MaxSize {
		return Summary{}, fmt.Errorf("report has %d bytes, at most %d are read", len(data), MaxSize)
	}
	trimmed := bytes.TrimLeft(data, "\ufeff \t\r\n")
	switch {
	case len(trimmed) == 0:
		return Summary{}, errors.New("report is empty: the test tool may have been killed while it wrote")
	case trimmed[0] == '<':
		return parseJUnit(trimmed)
	case trimmed[0] == '{':
		if s, ok, err := parseJest(trimmed); ok {
			return s, err
		}
		return parseGo(trimmed, true)
	case isTAP(string(trimmed[:min(len(trimmed), 1<<10)])):
		return parseTAP(string(trimmed))
	default:
		return Summary{}, ErrFormat
	}
}

// Merge adds b to a.
func Merge(a, b Summary) Summary {
	a.Total += b.Total
	a.Passed += b.Passed
	a.Failed += b.Failed
	a.Skipped += b.Skipped
	a.Duration += b.Duration
	a.Took = append(a.Took, b.Took...)
	a.Partial = a.Partial || b.Partial
	for _, c := range b.Failures {
		if len(a.Failures) == MaxFailures {
			break
		}
		a.Failures = append(a.Failures, c)
	}
	return a
}

type status int

const (
	passed status = iota
	failed
	skipped
)

func (s *Summary) add(st status, c Case) error {
	if s.Total == maxCases {
		return fmt.Errorf("report names more than %d test cases", maxCases)
	}
	s.Total++
	if c.Duration > 0 {
		s.Took = append(s.Took, Took{Suite: c.Suite, Name: c.Name, File: c.File, Duration: c.Duration})
	}
	switch st {
	case passed:
		s.Passed++
	case skipped:
		s.Skipped++
	case failed:
		s.Failed++
		if len(s.Failures) < MaxFailures {
			c.Suite, c.Name, c.File = clip(c.Suite, maxName), clip(c.Name, maxName), clip(c.File, maxName)
			c.Output = tail(c.Output, MaxOutput)
			s.Failures = append(s.Failures, c)
		}
	}
	return nil
}

func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// tail keeps the last n bytes of s, from the beginning of a line where there is one.
func tail(s string, n int) string {
	s = strings.TrimRight(strings.ToValidUTF8(s, "\uFFFD"), "\n")
	if len(s) <= n {
		return s
	}
	s = s[len(s)-n:]
	if i := strings.IndexByte(s, '\n'); i >= 0 && i < len(s)-1 {
		s = s[i+1:]
	}
	return strings.ToValidUTF8(s, "")
}
