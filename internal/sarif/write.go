package sarif

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Write makes the SARIF of a report: the same bytes for the same findings in any order. Read gives
// them back, sorted.
func Write(r Report) ([]byte, error) {
	if r.Tool == "" || r.Tool != OneLine(r.Tool) || r.Version != OneLine(r.Version) {
		return nil, fmt.Errorf("write SARIF: tool is %q, version %q, expected a name, each on one line", r.Tool, r.Version)
	}
	if len(r.Findings) > MaxFindings {
		return nil, tooMany(len(r.Findings))
	}
	findings := slices.Clone(r.Findings)
	Sort(findings)
	rules, index := descriptors(findings)
	results := make([]result, len(findings))
	seen := map[string]bool{}
	for i, f := range findings {
		if err := check(f); err != nil {
			return nil, fmt.Errorf("write SARIF: finding %s at %s:%d: %w", f.Rule, f.Path, f.Line, err)
		}
		if seen[f.Fingerprint] {
			return nil, fmt.Errorf("write SARIF: finding %s at %s:%d: another one has the same fingerprint: number them", f.Rule, f.Path, f.Line)
		}
		seen[f.Fingerprint] = true
		level, score := levelOf(f.Severity)
		results[i] = result{
			RuleID: f.Rule, RuleIndex: new(index[rule{ID: f.Rule, HelpURI: f.Help}.key()]), Level: level, Message: message{Text: f.Message},
			Fingerprints: map[string]string{ours: f.Fingerprint}, Properties: &properties{SecuritySeverity: json.RawMessage(`"` + score + `"`)},
		}
		if f.Path != "" {
			at := physical{Artifact: artifactLocation{URI: escape(f.Path)}}
			if f.Line > 0 {
				at.Region = &region{StartLine: f.Line}
			}
			results[i].Locations = []location{{Physical: &at}}
		}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false) // no browser is shown it, and Read takes no more than MaxSize
	enc.SetIndent("", " ")
	err := enc.Encode(document{Schema: schemaURL, Version: version, Runs: []run{{
		Tool: tool{Driver: component{Name: r.Tool, Version: r.Version, Rules: rules}}, Results: results,
	}}})
	switch {
	case err != nil:
		return nil, fmt.Errorf("write SARIF: %w", err)
	case out.Len() > MaxSize:
		return nil, fmt.Errorf("write SARIF: %d findings take %d bytes, at most %d: leave out rules, or folders that are not yours", len(findings), out.Len(), MaxSize)
	}
	return out.Bytes(), nil
}

func (r rule) key() [2]string { return [2]string{r.ID, r.HelpURI} }

// descriptors are the rules of findings, and where each is. One with several pages of help is there
// several times, which is why results name the index.
func descriptors(findings []Finding) ([]rule, map[[2]string]int) {
	index := map[[2]string]int{}
	var rules []rule
	for _, f := range findings {
		r := rule{ID: f.Rule, HelpURI: f.Help}
		if _, ok := index[r.key()]; !ok {
			index[r.key()] = 0
			rules = append(rules, r)
		}
	}
	slices.SortFunc(rules, func(a, b rule) int { return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(a.HelpURI, b.HelpURI)) })
	for i, r := range rules {
		index[r.key()] = i
	}
	return rules, index
}

func levelOf(s Severity) (level, score string) {
	switch s {
	case Critical:
		return "error", "9.0"
	case High:
		return "error", "7.0"
	case Medium:
		return "warning", "4.0"
	default:
		return "note", "1.0"
	}
}

// escape makes a relative reference of a path, whatever its characters.
func escape(p string) string {
	segments := strings.Split(p, "/")
	for i, s := range segments {
		segments[i] = strings.ReplaceAll(url.PathEscape(s), ":", "%3A")
	}
	return strings.Join(segments, "/")
}

func tooMany(n int) error {
	return fmt.Errorf("there are %d findings, at most %d are taken: leave out rules, or folders that are not yours", n, MaxFindings)
}
