package advisories

import (
	"strings"

	cvss2 "github.com/pandatix/go-cvss/20"
	cvss30 "github.com/pandatix/go-cvss/30"
	cvss31 "github.com/pandatix/go-cvss/31"
	cvss4 "github.com/pandatix/go-cvss/40"

	"github.com/slipway-build/slipway/internal/sarif"
)

// score is a rating of an advisory.
type score struct {
	Type  string `json:"type"`
	Score string `json:"score"`
}

// rate is how bad an advisory says it is: by its CVSS, of the newest version there is; else by a word
// of its database. Malicious packages are critical. false: it says nothing that is understood.
func rate(s source) (sarif.Severity, bool) {
	scores := s.Severity
	words := []map[string]any{s.Database}
	for _, a := range s.Affected {
		scores = append(scores, a.Severity...)
		words = append(words, a.Database, a.Specific)
	}
	for _, prefix := range []string{"CVSS:4", "CVSS:3.1", "CVSS:3.0", ""} {
		worst := -1.0
		for _, c := range scores {
			if of, ok := rating(c, prefix); ok {
				worst = max(worst, of)
			}
		}
		if worst >= 0 {
			return sarif.ByScore(worst), true
		}
	}
	var worst sarif.Severity
	for _, w := range words {
		for _, key := range []string{"severity", "cvss"} { // RustSec writes a vector there
			text, _ := w[key].(string)
			if of := word(text); of.Rank() > worst.Rank() {
				worst = of
			}
		}
	}
	if worst != "" {
		return worst, true
	}
	if strings.HasPrefix(s.ID, "MAL-") {
		return sarif.Critical, true
	}
	return sarif.Medium, false
}

// rating is the score of a vector with this prefix.
func rating(c score, prefix string) (float64, bool) {
	v := strings.TrimSpace(c.Score)
	switch {
	case !strings.HasPrefix(v, prefix):
	case prefix == "CVSS:4":
		if p, err := cvss4.ParseVector(v); err == nil {
			return p.Score(), true
		}
	case prefix == "CVSS:3.1":
		if p, err := cvss31.ParseVector(v); err == nil {
			return p.BaseScore(), true
		}
	case prefix == "CVSS:3.0":
		if p, err := cvss30.ParseVector(v); err == nil {
			return p.BaseScore(), true
		}
	case c.Type == "CVSS_V2":
		if p, err := cvss2.ParseVector(v); err == nil {
			return p.BaseScore(), true
		}
	}
	return 0, false
}

// word is the severity that a database names.
func word(s string) sarif.Severity {
	if strings.HasPrefix(s, "CVSS:") {
		for _, prefix := range []string{"CVSS:4", "CVSS:3.1", "CVSS:3.0"} {
			if of, ok := rating(score{Score: s}, prefix); ok {
				return sarif.ByScore(of)
			}
		}
	}
	switch strings.ToLower(s) {
	case "critical":
		return sarif.Critical
	case "high", "important":
		return sarif.High
	case "moderate", "medium":
		return sarif.Medium
	case "low", "minor", "negligible":
		return sarif.Low
	}
	return ""
}
