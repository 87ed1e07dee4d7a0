// Package sarif writes and reads SARIF 2.1.0, the format in which tools say what they found wrong in
// sources: Write makes one that is equal for equal findings, Read takes those of any tool and gives
// each finding a severity, a path in the repository, and a fingerprint that outlives moved lines.
//
// It knows a finding alone: no flow of code, fix or graph. It opens no file.
package sarif

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what is read and written.
const (
	// MaxSize is the largest file that is read, in bytes.
	MaxSize = 32 << 20
	// MaxFindings is how many findings a report may have.
	MaxFindings = 10_000
	// MaxMessage is how long a message may be, in bytes.
	MaxMessage = 500
	maxHelp    = 1000
	// MaxPath is how long a path may be, in bytes.
	MaxPath      = 1000
	maxArguments = 20 // of a message
)

// Severity says how bad a finding is.
type Severity string

// The severities.
const (
	Critical Severity = "critical"
	High     Severity = "high"
	Medium   Severity = "medium"
	Low      Severity = "low"
)

// Severities are all there are, the worst first.
func Severities() []Severity { return []Severity{Critical, High, Medium, Low} }

// Rank is 4 for critical, 1 for low, and 0 for what is no severity.
func (s Severity) Rank() int {
	if i := slices.Index(Severities(), s); i >= 0 {
		return len(Severities()) - i
	}
	return 0
}

// AtLeast says whether s is as bad as least, or worse.
func (s Severity) AtLeast(least Severity) bool { return s.Rank() >= least.Rank() }

// ByScore is the severity of a CVSS score, from 0 to 10.
func ByScore(score float64) Severity {
	switch {
	case score >= 9:
		return Critical
	case score >= 7:
		return High
	case score >= 4:
		return Medium
	default:
		return Low
	}
}

// Finding is one thing that is wrong.
type Finding struct {
	Rule        string
	Severity    Severity
	Path        string // repository path, with slashes, clean; empty: it is about no file
	Line        int    // from 1; 0: the whole file, or none
	Message     string // one line, at most MaxMessage bytes
	Help        string // URL; empty: none
	Fingerprint string // 32 hex digits; the same for the same finding after lines moved
}

// Report is what one tool found.
type Report struct {
	Tool, Version string
	Findings      []Finding
}

// Sort orders findings by path, line, rule and fingerprint.
func Sort(f []Finding) {
	slices.SortStableFunc(f, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line), strings.Compare(a.Rule, b.Rule), strings.Compare(a.Fingerprint, b.Fingerprint), strings.Compare(a.Message, b.Message))
	})
}

// Fingerprint is a hash over parts, of 32 hex digits.
func Fingerprint(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = h.Write([]byte(strconv.Itoa(len(p)) + ":" + p))
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}

// Number gives those that have the same fingerprint different ones, by their order.
func Number(f []Finding) {
	seen := map[string]int{}
	for i := range f {
		base := f[i].Fingerprint
		if n := seen[base]; n > 0 {
			f[i].Fingerprint = Fingerprint(base, strconv.Itoa(n))
		}
		seen[base]++
	}
}

// OneLine makes text fit for Finding.Message: one line without control characters, cut at MaxMessage bytes.
func OneLine(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if len(text) <= MaxMessage {
		return text
	}
	const mark = "…"
	return strings.TrimRight(strings.ToValidUTF8(text[:MaxMessage-len(mark)], ""), " ") + mark
}

// check says what keeps a finding from being written.
func check(f Finding) error {
	switch {
	case f.Rule == "" || f.Rule != OneLine(f.Rule):
		return fmt.Errorf("rule is %q, expected a name on one line, of printable characters", f.Rule)
	case f.Severity.Rank() == 0:
		return fmt.Errorf("severity is %q, expected one of %v", f.Severity, Severities())
	case f.Path != "" && (!validPath(f.Path) || !utf8.ValidString(f.Path)):
		return fmt.Errorf("path is %q, expected a clean path within the repository", f.Path)
	case f.Line < 0 || f.Line > 0 && f.Path == "":
		return fmt.Errorf("line is %d of path %q, expected a line of a file, from 1", f.Line, f.Path)
	case f.Message == "" || f.Message != OneLine(f.Message):
		return fmt.Errorf("message of %d bytes, expected one line of printable characters and at most %d bytes", len(f.Message), MaxMessage)
	case f.Help != "" && !isHelp(f.Help):
		return fmt.Errorf("help is %q, expected a URL with https:// or http://", f.Help)
	case !isFingerprint(f.Fingerprint):
		return fmt.Errorf("fingerprint is %q, expected 32 hex digits", f.Fingerprint)
	}
	return nil
}

func validPath(p string) bool { return p != "." && len(p) <= MaxPath && fs.ValidPath(p) }

func isHelp(s string) bool {
	return len(s) <= maxHelp && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) }) && (strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://"))
}

func isFingerprint(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}
