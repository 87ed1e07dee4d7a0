package testreport

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"
)

// event is a line of `go test -json` (see `go doc test2json`).
type event struct {
	Action     string
	Package    string
	ImportPath string // of build output
	Test       string
	Elapsed    float64
	Output     string
}

type goTest struct {
	pkg, name string
	order     int
	status    status
	done      bool
	elapsed   time.Duration
	output    []byte
}

type goEvents struct {
	tests  map[string]*goTest
	count  int
	events int
	total  time.Duration
}

// parseGo reads go test events. strict refuses other lines; without it they are
// skipped, as in the output of a command that prints other things as well.
func parseGo(data []byte, strict bool) (Summary, error) {
	g := goEvents{tests: map[string]*goTest{}}
	line := 0
	for len(data) > 0 {
		var row []byte
		row, data, _ = bytes.Cut(data, []byte("\n"))
		line++
		row = bytes.TrimSpace(row)
		if len(row) == 0 {
			continue
		}
		var e event
		if err := json.Unmarshal(row, &e); err != nil || e.Action == "" {
			// The go command itself prints plain lines between events, e.g. "FAIL".
			if strict && row[0] == '{' {
				return Summary{}, fmt.Errorf("line %d is no event of `go test -json`: %q", line, clip(string(row), 80))
			}
			continue
		}
		if err := g.take(e); err != nil {
			return Summary{}, fmt.Errorf("line %d: %w", line, err)
		}
	}
	if g.events == 0 {
		return Summary{}, ErrFormat
	}
	return g.summary()
}

func (g *goEvents) take(e event) error {
	g.events++
	pkg := e.Package
	if pkg == "" {
		pkg, _, _ = strings.Cut(e.ImportPath, " ")
	}
	key := pkg + "\x00" + e.Test
	t, ok := g.tests[key]
	if !ok {
		if g.count++; g.count > maxCases {
			return fmt.Errorf("report names more than %d tests", maxCases)
		}
		t = &goTest{pkg: pkg, name: e.Test, order: g.count}
		g.tests[key] = t
	}
	switch e.Action {
	case "output", "build-output":
		t.output = append(t.output, e.Output...)
		if len(t.output) > 4*MaxOutput {
			t.output = append([]byte(nil), t.output[len(t.output)-2*MaxOutput:]...)
		}
	case "pass", "fail", "skip", "build-fail":
		t.done = true
		t.elapsed = time.Duration(e.Elapsed * float64(time.Second))
		t.status = map[string]status{"pass": passed, "fail": failed, "skip": skipped, "build-fail": failed}[e.Action]
		if e.Test == "" {
			g.total += t.elapsed
		}
	}
	return nil
}

// summary counts tests. A package counts only where it failed and none of its tests
// did: it did not compile, or it exited or panicked outside a test.
func (g *goEvents) summary() (Summary, error) {
	all := make([]*goTest, 0, len(g.tests))
	broken := map[string]bool{} // packages with a failed test
	for _, t := range g.tests {
		all = append(all, t)
		if t.name != "" && (!t.done || t.status == failed) {
			broken[t.pkg] = true
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].order < all[j].order })
	s := Summary{Duration: g.total, Partial: g.cut(all)}
	var errs []error
	for _, t := range all {
		st, output := t.status, string(t.output)
		switch {
		case t.name == "" && (!t.done || t.status != failed || broken[t.pkg]):
			continue
		case t.name == "":
			t.name = "(package)"
		case !t.done:
			// It began and has no end: the process died in it.
			st, output = failed, output+"the test did not end: the process exited or was killed"
		}
		errs = append(errs, s.add(st, Case{Suite: t.pkg, Name: t.name, Duration: t.elapsed, Output: output}))
	}
	s.Took = took(all)
	return s, errors.Join(errs...)
}

// took is what packages and tests took. What a subtest took is its test's too.
func took(all []*goTest) []Took {
	var out []Took
	for _, t := range all {
		name := t.name
		if name == "(package)" {
			name = ""
		}
		if t.elapsed > 0 && !strings.Contains(name, "/") {
			out = append(out, Took{Suite: t.pkg, Name: name, Duration: t.elapsed})
		}
	}
	return out
}

// cut says that tests may be missing: a process of a package did not end as one does whose tests have failed, as after
// a panic, which takes all tests behind it along.
func (g *goEvents) cut(all []*goTest) bool {
	for _, t := range all {
		text := string(t.output)
		if strings.Contains(text, "\npanic: ") || strings.HasPrefix(text, "panic: ") || strings.Contains(text, "test timed out after") {
			return true
		}
		_, status, ok := strings.Cut(text, "exit status ")
		if t.name == "" && ok && !strings.HasPrefix(status, "1\n") {
			return true
		}
		if t.name != "" && !t.done {
			return true
		}
	}
	return false
}
