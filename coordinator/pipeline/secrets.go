package pipeline

import (
	"regexp"
	"strings"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

// secretScanner recognizes literals that look like credentials. It is a guard
// against accidents, not against somebody who hides one.
type secretScanner struct {
	shapes []secretShape
	names  *regexp.Regexp
	assign *regexp.Regexp
}

type secretShape struct {
	what    string
	pattern *regexp.Regexp
}

func newSecretScanner() *secretScanner {
	shape := func(what, pattern string) secretShape { return secretShape{what, regexp.MustCompile(pattern)} }
	return &secretScanner{
		shapes: []secretShape{
			shape("an AWS access key", `\b(?:AKIA|ASIA)[0-9A-Z]{16}\b`),
			shape("a private key", `-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY`),
			shape("a GitHub token", `\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})`),
			shape("a GitLab token", `\bglpat-[A-Za-z0-9_-]{16,}`),
			shape("a Slack token", `\bxox[abeprs]-[A-Za-z0-9-]{10,}`),
			shape("an npm token", `\bnpm_[A-Za-z0-9]{30,}`),
			shape("a Stripe key", `\b[rs]k_live_[A-Za-z0-9]{10,}`),
			shape("a Google API key", `\bAIza[A-Za-z0-9_-]{30,}`),
			shape("a signed token", `\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}`),
			shape("a URL with a password", `[a-z][a-z0-9+.-]*://[^\s/:@$]*:[^\s/@$]+@`),
		},
		names:  regexp.MustCompile(`(?i)(?:^|[_-])(?:password|passwd|pwd|secret|token|credentials?|api_?key|access_?key|secret_?key|private_?key)$`),
		assign: regexp.MustCompile(`(?i)\b(?:password|passwd|secret|token|api_?key)=["']?[^\s"'$]{6,}`),
	}
}

// find says what a literal looks like; empty: like nothing secret.
func (s *secretScanner) find(name, value string) string {
	for _, shape := range s.shapes {
		if shape.pattern.MatchString(value) {
			return shape.what
		}
	}
	if s.assign.MatchString(value) {
		return "a password or token"
	}
	// PASSWORD_FILE=/run/x is a place; PASSWORD=$X and PASSWORD= hold nothing.
	if s.names.MatchString(name) && value != "" && !strings.HasPrefix(value, "/") && !strings.HasPrefix(value, "$") {
		return "the value of a " + strings.ToLower(strings.TrimLeft(s.names.FindString(name), "_-"))
	}
	return ""
}

// secretLiteral refuses a literal that looks like a secret, and keeps it out of the
// message. It says whether it did.
func (d *decoder) secretLiteral(n strictyaml.Node, name, value string) bool {
	what := d.secrets.find(name, value)
	if what == "" {
		return false
	}
	n.Hide()
	n.Problem("remove it from the file and its history, replace it where it is valid, and keep it outside the repository",
		"looks like %s; secrets do not belong in a file", what)
	return true
}
