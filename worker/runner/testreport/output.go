package testreport

import (
	"regexp"
	"strings"
)

// FromOutput finds results in what a command printed, for tests without a report
// file: events of `go test -json`, else the lines by which `go test -v`, TAP, pytest,
// Jest, Vitest and node's reporter name a test. ok is false where there is nothing of the kind. From
// plain lines only tests that were named are known: `go test` without -v names
// those that failed.
func FromOutput(out []byte) (s Summary, ok bool) {
	if s, err := parseGo(out, false); err == nil && s.Total > 0 {
		return s, true
	}
	return scanLines(string(out))
}

// resultLine is compiled where it is used, once for a test: there is no package state.
func resultLine() *regexp.Regexp {
	const (
		gotest = `--- (?P<go>FAIL|PASS|SKIP): (?P<test>\S+)`
		tap    = `(?P<tap>ok|not ok) \d+(?: -)? (?P<point>.+?)`
		marks  = `(?P<mark>[✖✗✕×✔✓﹣○]) (?P<title>.+?)`                                                                                                  // node, Jest, Vitest
		pytest = `(?P<node>\S+::.+?) (?P<py>PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)(?: +\[ *\d+%\])?|(?P<sum>FAILED|ERROR) (?P<id>\S+::.+?)(?: - .*)?` // -v, and its summary
	)
	return regexp.MustCompile(`^\s*(?:` + gotest + `|` + tap + `|` + marks + `|` + pytest + `)(?: \([\d.]+ ?m?s\))?\s*$`)
}

func scanLines(out string) (Summary, bool) {
	s := Summary{Partial: true}
	re := resultLine()
	lines := strings.Split(out, "\n")
	seen := map[string]bool{}
	for i, l := range lines {
		m := re.FindStringSubmatch(l)
		if m == nil {
			continue
		}
		of := func(names ...string) (s string) {
			for _, n := range names {
				s += m[re.SubexpIndex(n)]
			}
			return s
		}
		word, name := of("go", "tap", "mark", "py", "sum"), of("test", "point", "title", "node", "id")
		// node repeats failed tests below a heading.
		if name == "failing tests:" || seen[name] {
			continue
		}
		seen[name] = true
		st := lineStatus(word, name)
		c := Case{Name: name}
		if st == failed {
			c.Output = strings.Join(lines[i:min(i+25, len(lines))], "\n")
		}
		if err := s.add(st, c); err != nil {
			break
		}
	}
	return s, s.Total > 0
}

func lineStatus(word, name string) status {
	if strings.Contains(name, "# TODO") || strings.Contains(name, "# SKIP") {
		return skipped
	}
	switch word {
	case "PASS", "ok", "✔", "✓", "PASSED", "XPASS":
		return passed
	case "SKIP", "﹣", "○", "SKIPPED", "XFAIL":
		return skipped
	default:
		return failed
	}
}
