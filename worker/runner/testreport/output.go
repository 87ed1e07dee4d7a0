package testreport

import (
	"regexp"
	"strings"
)

// FromOutput finds results in what a command printed, for tests without a report
// file: events of `go test -json`, else the lines by which go test, TAP and node's
// reporter name a failed test. ok is false where there is nothing of the kind.
// From plain lines only failures are known, so that Total is their number.
func FromOutput(out []byte) (s Summary, ok bool) {
	if s, err := parseGo(out, false); err == nil && s.Total > 0 {
		return s, true
	}
	return scanLines(string(out))
}

// compiled on use, not as package state: it runs once for a failed test.
func failureLine() *regexp.Regexp {
	return regexp.MustCompile(`^\s*(?:--- FAIL: (\S+)|not ok \d+(?: -)? (.+?)|[✖✗×] (.+?))(?: \([\d.]+ ?m?s\))?\s*$`)
}

func scanLines(out string) (Summary, bool) {
	var s Summary
	re := failureLine()
	lines := strings.Split(out, "\n")
	seen := map[string]bool{}
	for i, l := range lines {
		m := re.FindStringSubmatch(l)
		if m == nil {
			continue
		}
		name := m[1] + m[2] + m[3]
		// "# TODO" and "# SKIP" of TAP are no failures; node repeats names below a heading.
		if name == "failing tests:" || strings.Contains(name, "# TODO") || strings.Contains(name, "# SKIP") || seen[name] {
			continue
		}
		seen[name] = true
		end := min(i+25, len(lines))
		if err := s.add(failed, Case{Name: name, Output: strings.Join(lines[i:end], "\n")}); err != nil {
			break
		}
	}
	return s, s.Failed > 0
}
