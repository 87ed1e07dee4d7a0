// Package findings decides what is said about what the scans of a service found: what the last
// green commit had is known, what the platform waives passes until its day is over, and what is
// new and severe says no.
//
// Reports are blobs: SARIF of each scan, and a document of this package's own that holds all that
// was found with what was said of it, which later runs are compared with.
package findings

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/internal/sarif"
)

// State of a finding.
type State string

// The states.
const (
	New    State = "new"
	Known  State = "known" // the last green commit had it
	Waived State = "waived"
)

// Finding is one thing that was found, and what is said of it.
type Finding struct {
	plan.Finding
	State   State  `json:"state"`
	Until   string `json:"until,omitempty"`   // of a waived one: its last day
	Because string `json:"because,omitempty"` // of a waived one
}

// Document is all that was found in a service. It is a blob.
type Document struct {
	Version  int       `json:"version"`
	Scans    []string  `json:"scans"`    // that looked, sorted
	Findings []Finding `json:"findings"` // the worst first, then by path and line
}

const version = 1

// maxFindings is how many a service may have in all.
const maxFindings = 20_000

// ErrGone is the error of a blob that is not there any more, or is not what it was.
var ErrGone = errors.New("it is gone")

// Store keeps blobs by digest. One that is lost is ErrGone.
type Store interface {
	Get(ctx context.Context, digest string) ([]byte, error)
	Put(ctx context.Context, data []byte) (string, error)
}

// Scan is what one scan left.
type Scan struct {
	Name   string // what looked, as plan.Finding has it; two may be called the same
	Report string // digest of the blob: SARIF; empty: it left none
}

// Input is what is judged.
type Input struct {
	Scans []Scan
	Base  string // digest of the Document of the last green commit; empty: there is none
	Rule  plan.Findings
	At    time.Time // which waivers hold
}

// Judge reads the reports, and stores what it says of them. message is for people.
func Judge(ctx context.Context, s Store, in Input) (sum plan.FindingsSummary, message string, err error) {
	found, err := gather(ctx, s, in.Scans)
	if err != nil {
		return sum, "", err
	}
	var base *Document
	lost := false
	if in.Base != "" {
		d, err := Read(ctx, s, in.Base)
		switch lost = errors.Is(err, ErrGone); {
		case err == nil:
			base = &d
		case !lost: // it may be read later
			return sum, "", fmt.Errorf("what the last green commit had: %w", err)
		}
	}
	doc := Compare(found, base, in.Rule, in.At)
	doc.Scans = names(in.Scans)
	data, err := json.Marshal(doc)
	if err != nil {
		return sum, "", fmt.Errorf("write findings: %w", err)
	}
	sum = Summary(doc, base == nil)
	if sum.Report, err = s.Put(ctx, data); err != nil {
		return sum, "", fmt.Errorf("store findings: %w", err)
	}
	if message = Message(doc, sum, in.Rule); lost {
		message = "what the last green commit had is gone, so that nothing is new; " + message
	}
	return sum, message, nil
}

// names of scans, sorted.
func names(scans []Scan) []string {
	out := []string{}
	for _, s := range scans {
		out = append(out, s.Name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// gather reads the findings of all reports, one after the other: each may be large. What two scans say is said once.
func gather(ctx context.Context, s Store, scans []Scan) (found []plan.Finding, err error) {
	type id struct{ scan, fingerprint string }
	seen := map[id]bool{}
	for _, scan := range scans {
		if scan.Report == "" {
			return nil, fmt.Errorf("the scan %s left no report; its worker may be of another version than the coordinator", scan.Name)
		}
		data, err := s.Get(ctx, scan.Report)
		if err != nil {
			return nil, fmt.Errorf("the report of the scan %s: %w", scan.Name, err)
		}
		r, err := sarif.Read(data, func(string, int) string { return "" })
		if err != nil {
			return nil, fmt.Errorf("the report of the scan %s: %w", scan.Name, err)
		}
		for _, f := range r.Findings {
			if k := (id{scan.Name, f.Fingerprint}); !seen[k] {
				seen[k] = true
				found = append(found, plan.Finding{
					Scan: scan.Name, Rule: f.Rule, Severity: string(f.Severity), Path: f.Path, Line: f.Line, Message: f.Message, Help: f.Help, Fingerprint: f.Fingerprint,
				})
			}
		}
		if len(found) > maxFindings {
			return nil, fmt.Errorf("more than %d findings of one service: have its scans look at less, or at what is more severe", maxFindings)
		}
	}
	return found, nil
}

// Read reads the document of a digest.
func Read(ctx context.Context, s Store, digest string) (Document, error) {
	data, err := s.Get(ctx, digest)
	if err != nil {
		return Document{}, err
	}
	var d Document
	if err := json.Unmarshal(data, &d); err != nil {
		return Document{}, fmt.Errorf("findings %s: %w: %w", digest, ErrGone, err)
	}
	if d.Version != version {
		return Document{}, fmt.Errorf("%w: findings %s have version %d, and this coordinator knows %d: they were written by another one", ErrGone, digest, d.Version, version)
	}
	return d, nil
}

// Compare says of each finding what it is. Without a base nothing is new, and nothing of a scan that the base does
// not have: what is there on the first day is what later ones are told from. What the base had only by a waiver is
// not known.
func Compare(found []plan.Finding, base *Document, rule plan.Findings, at time.Time) Document {
	type id struct{ scan, fingerprint string }
	known := map[id]bool{}
	if base != nil {
		for _, f := range base.Findings {
			known[id{f.Scan, f.Fingerprint}] = known[id{f.Scan, f.Fingerprint}] || f.State != Waived
		}
	}
	doc := Document{Version: version, Findings: make([]Finding, 0, len(found))}
	for _, f := range found {
		out := Finding{Finding: f, State: New}
		out.Blocking = false
		w, waived := holds(rule.Waivers, f, at)
		switch {
		case waived:
			out.State, out.Until, out.Because = Waived, w.Until, w.Reason
		case base == nil, !slices.Contains(base.Scans, f.Scan), known[id{f.Scan, f.Fingerprint}]:
			out.State = Known
		default:
			out.Blocking = blocks(f.Severity, rule.Block)
		}
		doc.Findings = append(doc.Findings, out)
	}
	slices.SortFunc(doc.Findings, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(rank(b.Severity), rank(a.Severity)), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Scan, b.Scan), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Fingerprint, b.Fingerprint),
		)
	})
	return doc
}

// holds finds the waiver of a finding whose day is not over; of several the one that holds longest.
func holds(all []plan.Waiver, f plan.Finding, at time.Time) (plan.Waiver, bool) {
	var best plan.Waiver
	found := false
	for _, w := range all {
		ok, err := path.Match(w.Rule, f.Scan+"/"+f.Rule) // patterns were checked as they were read
		if err != nil || !ok || w.Path != "" && w.Path != "." && f.Path != w.Path && !strings.HasPrefix(f.Path, w.Path+"/") {
			continue
		}
		day, err := time.Parse(time.DateOnly, w.Until)
		if err != nil || !at.Before(day.AddDate(0, 0, 1)) {
			continue
		}
		if !found || w.Until > best.Until {
			best, found = w, true
		}
	}
	return best, found
}

func rank(severity string) int { return sarif.Severity(severity).Rank() }

func blocks(severity, least string) bool {
	return least != plan.BlockNever && rank(severity) >= rank(least)
}

// Summary counts.
func Summary(doc Document, first bool) plan.FindingsSummary {
	out := plan.FindingsSummary{First: first}
	for _, f := range doc.Findings {
		switch f.State {
		case New:
			out.Fresh++
			if f.Blocking {
				out.Blocking++
			}
			if len(out.Worst) < plan.MaxFindings {
				out.Worst = append(out.Worst, f.Finding)
			}
		case Known:
			out.Known++
		case Waived:
			out.Waived++
		}
	}
	return out
}

// shown are spelled out in a message.
const shown = 10

// Message says what was decided.
func Message(doc Document, sum plan.FindingsSummary, rule plan.Findings) string {
	if sum.Blocking == 0 {
		return calm(doc, sum)
	}
	var b strings.Builder
	b.WriteString(count(sum.Blocking, rule.Block))
	left := sum.Blocking
	for _, f := range doc.Findings {
		if !f.Blocking {
			continue
		}
		if sum.Blocking-left == shown {
			fmt.Fprintf(&b, "\n  … and %d more", left)
			break
		}
		left--
		fmt.Fprintf(&b, "\n  ✗ %s %s: %s (%s/%s)", f.Severity, where(f), f.Message, f.Scan, f.Rule)
	}
	if rest := rest(sum); rest != "" {
		b.WriteString("\n  besides: " + rest)
	}
	return b.String()
}

func count(n int, least string) string {
	what := "findings are"
	if n == 1 {
		what = "finding is"
	}
	or := " or worse"
	if least == plan.Severities()[0] {
		or = ""
	}
	return fmt.Sprintf("%d %s new since the last green commit, and %s%s:", n, what, least, or)
}

func calm(doc Document, sum plan.FindingsSummary) string {
	switch {
	case len(doc.Findings) == 0:
		return "nothing found"
	case sum.First && sum.Known > 0:
		return fmt.Sprintf("scanned for the first time: %s; later runs are told what is new since", counted(doc))
	case sum.Fresh == 0:
		return "nothing new; " + rest(sum)
	}
	text := fmt.Sprintf("%d new, none of which blocks", sum.Fresh)
	if rest := rest(sum); rest != "" {
		text += "; " + rest
	}
	return text
}

func rest(sum plan.FindingsSummary) string {
	var parts []string
	if n := sum.Fresh - sum.Blocking; n > 0 && sum.Blocking > 0 {
		parts = append(parts, fmt.Sprintf("%d new and less severe", n))
	}
	if sum.Known > 0 {
		parts = append(parts, fmt.Sprintf("%d known", sum.Known))
	}
	if sum.Waived > 0 {
		parts = append(parts, fmt.Sprintf("%d waived", sum.Waived))
	}
	return strings.Join(parts, ", ")
}

// counted is how many there are of each severity.
func counted(doc Document) string {
	n := map[string]int{}
	for _, f := range doc.Findings {
		n[f.Severity]++
	}
	var parts []string
	for _, s := range plan.Severities() {
		if n[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[s], s))
		}
	}
	return strings.Join(parts, ", ")
}

func where(f Finding) string {
	if f.Line == 0 {
		return f.Path
	}
	return fmt.Sprintf("%s:%d", f.Path, f.Line)
}
