package testreport

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// version is how a report begins that says what it is; others have a plan.
const version = "TAP version "

// tapLines are compiled where they are used, once for a report.
func tapLines() (test, plan *regexp.Regexp) {
	return regexp.MustCompile(`^(ok|not ok)\b(?: +(\d+))?(?: +-)? *([^#]*?)\s*(?:# *(?i:(skip\S*|todo))\b.*)?$`), regexp.MustCompile(`^1\.\.(\d+)(?: *#.*)?$`)
}

// isTAP says whether a report begins as TAP does.
func isTAP(report string) bool {
	first, _, _ := strings.Cut(report, "\n")
	test, plan := tapLines()
	first = strings.TrimRight(first, "\r ")
	return strings.HasPrefix(first, version) || test.MatchString(first) || plan.MatchString(first)
}

// tap gathers what a report says.
type tap struct {
	s       Summary
	planned int // -1: it has not said
	seen    int
	failing *Case // the test that failed last, while its diagnostics follow
}

// parseTAP reads the Test Anything Protocol, versions 12 to 14 (testanything.org). A subtest, which is indented, counts
// with the test that it belongs to. Tests that were planned and are not there have failed.
func parseTAP(report string) (Summary, error) {
	test, plan := tapLines()
	t := tap{planned: -1}
	for line := range strings.Lines(report) {
		line = strings.TrimRight(line, "\r\n")
		if m := plan.FindStringSubmatch(line); m != nil {
			n, err := strconv.Atoi(m[1])
			if err != nil || n > maxCases {
				return Summary{}, fmt.Errorf("report plans %s tests, at most %d are read", m[1], maxCases)
			}
			t.planned = n
			continue
		}
		if why, ok := strings.CutPrefix(line, "Bail out!"); ok {
			t.end()
			return t.s, t.s.add(failed, Case{Name: "(bail out)", Output: strings.TrimSpace(why)})
		}
		if m := test.FindStringSubmatch(line); m != nil {
			if err := t.take(m); err != nil {
				return Summary{}, err
			}
			continue
		}
		if t.failing != nil { // indented diagnostics, and comments
			t.failing.Output += line + "\n"
		}
	}
	t.end()
	if t.planned < 0 && !strings.HasPrefix(report, version) { // as what `go test` prints, which begins with "ok" too
		return Summary{}, ErrFormat
	}
	if t.planned > t.seen {
		err := t.s.add(failed, Case{Name: "(plan)", Output: fmt.Sprintf("%d tests were planned and %d ran: the process exited or was killed", t.planned, t.seen)})
		return t.s, err
	}
	return t.s, nil
}

// take counts a test line: what it said, its number, its name, its directive.
func (t *tap) take(m []string) error {
	t.end()
	t.seen++
	name := m[3]
	if name == "" {
		name = "test " + m[2]
		if m[2] == "" {
			name = fmt.Sprint("test ", t.seen)
		}
	}
	switch {
	case m[4] != "":
		return t.s.add(skipped, Case{})
	case m[1] == "ok":
		return t.s.add(passed, Case{})
	}
	t.failing = &Case{Name: name}
	if t.s.Total == maxCases {
		return t.s.add(failed, *t.failing) // which is the error
	}
	return nil
}

// end counts the test that failed last, with what followed it.
func (t *tap) end() {
	if t.failing != nil {
		_ = t.s.add(failed, *t.failing) // there is room for it: take has looked
		t.failing = nil
	}
}
