package sarif

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Read takes the SARIF of any tool. line is asked for the text of a line of the repository, for the
// fingerprint of a finding to which the tool gives none; nil, or an empty text: unknown. roots are
// the absolute folders that the tool may have called the repository.
//
// What a run says was accepted, did not fail, or is gone, is left out. The error says where the
// file is wrong, and what was expected there.
func Read(data []byte, line func(path string, n int) string, roots ...string) (Report, error) {
	doc, err := parse(data)
	if err != nil {
		return Report{}, err
	}
	var r Report
	var tools, versions []string
	for i, run := range doc.Runs {
		driver := run.Tool.Driver
		if OneLine(driver.Name) == "" {
			return Report{}, fmt.Errorf("runs[%d].tool.driver.name is missing: expected the name of the tool", i)
		}
		tools = append(tools, OneLine(driver.Name))
		if v := OneLine(driver.Version); v != "" {
			versions = append(versions, v)
		} else if v := OneLine(driver.SemanticVersion); v != "" {
			versions = append(versions, v)
		}
		for j, res := range run.Results {
			f, ok, err := reader{run: run, line: line, roots: roots}.finding(res)
			if err != nil {
				return Report{}, fmt.Errorf("runs[%d].results[%d]: %w", i, j, err)
			}
			if ok {
				r.Findings = append(r.Findings, f)
			}
		}
	}
	if len(r.Findings) > MaxFindings {
		return Report{}, tooMany(len(r.Findings))
	}
	r.Tool = cmp.Or(OneLine(strings.Join(slices.Compact(tools), ", ")), "unknown")
	if versions = slices.Compact(versions); len(versions) == 1 {
		r.Version = versions[0]
	}
	Sort(r.Findings)
	Number(r.Findings)
	Sort(r.Findings) // a number is another fingerprint
	return r, nil
}

func parse(data []byte) (document, error) {
	var doc document
	if len(data) > MaxSize {
		return doc, fmt.Errorf("the file has %d bytes, at most %d are read: leave out rules, or what the tool adds to each finding", len(data), MaxSize)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if len(bytes.TrimSpace(data)) == 0 {
		return doc, errors.New("the file is empty: expected SARIF 2.1.0; the tool may have been killed while it wrote")
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return doc, position(data, err)
	}
	switch {
	case doc.Version != version:
		return doc, fmt.Errorf("version is %q: expected SARIF %s", clipped(doc.Version), version)
	case doc.Runs == nil:
		return doc, errors.New("runs is missing: expected a list of runs, of which one that found nothing has no results")
	}
	return doc, nil
}

// position adds the line and column to an error of JSON.
func position(data []byte, err error) error {
	at := func(offset int64) string {
		before := data[:min(max(offset, 0), int64(len(data)))]
		return fmt.Sprintf("line %d, column %d", bytes.Count(before, []byte("\n"))+1, max(1, len(before)-bytes.LastIndexByte(before, '\n')-1))
	}
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax) && syntax.Offset >= int64(len(data)):
		return fmt.Errorf("%s: the file is cut short: expected the rest of the SARIF; the tool may have been killed while it wrote", at(syntax.Offset))
	case errors.As(err, &syntax):
		return fmt.Errorf("%s: %w: expected SARIF %s, which is JSON", at(syntax.Offset), err, version)
	case errors.As(err, &kind):
		return fmt.Errorf("%s: %s is a JSON %s: expected what SARIF %s has there", at(kind.Offset), clipped(kind.Field), clipped(kind.Value), version)
	}
	return fmt.Errorf("expected SARIF %s: %w", version, err)
}

func clipped(s string) string {
	if s = OneLine(s); len(s) > 100 {
		s = strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}

// reader makes findings of the results of one run.
type reader struct {
	run   run
	line  func(path string, n int) string
	roots []string
}

func (r reader) finding(res result) (f Finding, ok bool, err error) {
	desc, id := r.rule(res)
	level := res.Level
	if level == "" && desc.Default != nil {
		level = desc.Default.Level
	}
	if left(res, level) {
		return f, false, nil
	}
	f = Finding{Rule: id, Severity: severity(level, res.Properties, desc.Properties), Message: text(res.Message, desc, id)}
	if isHelp(desc.HelpURI) {
		f.Help = desc.HelpURI
	}
	if len(res.Locations) > 0 && res.Locations[0].Physical != nil {
		at := res.Locations[0].Physical
		if f.Path, err = r.path(at.Artifact); err != nil {
			return f, false, err
		}
		if at.Region != nil && f.Path != "" {
			f.Line = max(0, at.Region.StartLine)
		}
	}
	f.Fingerprint = r.fingerprint(f, res.Fingerprints)
	return f, true, nil
}

// left says whether a result is left out: no finding, or one that was accepted or is gone.
func left(res result, level string) bool {
	if level == "none" || res.Kind != "" && res.Kind != "fail" || res.Baseline == "absent" {
		return true
	}
	pending := func(s suppression) bool { return s.Status != "" && s.Status != "accepted" }
	return len(res.Suppressions) > 0 && !slices.ContainsFunc(res.Suppressions, pending)
}

// rule finds what the tool says of a result's rule; id is never empty.
func (r reader) rule(res result) (desc rule, id string) {
	rules, index := r.run.Tool.Driver.Rules, res.RuleIndex
	id = res.RuleID
	if ref := res.Rule; ref != nil {
		if id == "" {
			id = ref.ID
		}
		if ref.Index != nil {
			index = ref.Index
		}
		if c := ref.Component; c != nil && c.Index != nil && *c.Index >= 0 && *c.Index < len(r.run.Tool.Extensions) {
			rules = r.run.Tool.Extensions[*c.Index].Rules
		}
	}
	if index != nil && *index >= 0 && *index < len(rules) {
		desc = rules[*index]
	} else if id != "" {
		desc = named(rules, id)
	}
	for _, s := range []string{id, desc.ID, r.run.Tool.Driver.Name} {
		if s = OneLine(s); s != "" {
			return desc, s
		}
	}
	return desc, "finding"
}

// named is the rule of an id, which may be that of a part of it: "CA1000/2".
func named(rules []rule, id string) rule {
	for id != "" {
		if i := slices.IndexFunc(rules, func(d rule) bool { return d.ID == id }); i >= 0 {
			return rules[i]
		}
		id = id[:max(0, strings.LastIndexByte(id, '/'))]
	}
	return rule{}
}

func severity(level string, from ...*properties) Severity {
	for _, p := range from {
		if p == nil {
			continue
		}
		if score, err := strconv.ParseFloat(strings.Trim(string(p.SecuritySeverity), `" `), 64); err == nil {
			return ByScore(score)
		}
	}
	switch level {
	case "error":
		return High
	case "note":
		return Low
	default: // a warning is what SARIF takes a result for
		return Medium
	}
}

// text is the message, with its arguments in place.
func text(m message, desc rule, id string) string {
	candidates := []message{m, desc.Messages[m.ID]}
	for _, d := range []*message{desc.Short, desc.Full} {
		if d != nil {
			candidates = append(candidates, *d)
		}
	}
	for _, c := range candidates {
		for _, t := range []string{c.Text, c.Markdown} {
			for i, arg := range m.Arguments[:min(len(m.Arguments), maxArguments)] {
				t = strings.ReplaceAll(t[:min(len(t), 2*MaxMessage)], "{"+strconv.Itoa(i)+"}", arg[:min(len(arg), MaxMessage)])
			}
			if t = OneLine(t); t != "" {
				return t
			}
		}
	}
	return OneLine(id)
}

// fingerprint: Slipway's own; else of what the tool gave; else of the text of the line. What SARIF
// calls fingerprints, not partial ones, is no help: some tools write the same into each.
func (r reader) fingerprint(f Finding, given map[string]string) string {
	if own := given[ours]; isFingerprint(own) {
		return own
	}
	parts := []string{f.Rule, f.Path}
	for _, k := range slices.Sorted(maps.Keys(given)) {
		parts = append(parts, k, given[k])
	}
	if len(given) == 0 {
		what := f.Message // of a finding without a line
		if r.line != nil && f.Line > 0 {
			if t := strings.TrimSpace(r.line(f.Path, f.Line)); t != "" {
				what = t
			}
		}
		parts = append(parts, what)
	}
	return Fingerprint(parts...)
}
