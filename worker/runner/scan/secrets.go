package scan

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/google/osv-scalibr/veles"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/internal/sarif"
	"github.com/slipway-build/slipway/worker/runner/sources"
)

const (
	maxSecretFile = 1 << 20
	// allowMark on a line says that what looks like a secret there is none.
	allowMark = "slipway:allow-secret"
)

// secretRule is one kind of secret.
type secretRule struct {
	id       string
	what     string
	prefix   string // with which all of the kind begin, and which is no secret; empty: there is none
	severity sarif.Severity
	detector veles.Detector
}

// secrets looks for what only its owner should know. What is found is in no message and no log: they
// say what kind it is, and the prefix that all of the kind have.
func secrets(ctx context.Context, s *sources.Files) (found, error) {
	got := found{tool: "slipway-secrets"}
	rules := secretRules()
	var mu sync.Mutex
	var binary, large, allowed int
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, runtime.GOMAXPROCS(0)))
	for _, name := range s.Names() {
		if s.Size(name) > maxSecretFile {
			mu.Lock()
			large++
			mu.Unlock()
			continue
		}
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			data, err := s.Read(name, maxSecretFile)
			if err != nil {
				return err
			}
			isBinary := bytes.IndexByte(data[:min(len(data), 8000)], 0) >= 0
			var findings []sarif.Finding
			var hidden int
			if !isBinary {
				if findings, hidden, err = recovered(name, data, rules); err != nil {
					return err
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if isBinary {
				binary++
			}
			allowed += hidden
			got.findings = append(got.findings, findings...)
			return nil
		})
	}
	err := group.Wait()
	got.note("looked for %d kinds of secrets in %s", len(rules), count(len(s.Names())-binary-large, "file"))
	if binary+large > 0 {
		got.note("not looked at: %s, and %s of more than %s", count(binary, "binary file"), count(large, "file"), sources.Bytes(maxSecretFile))
	}
	if allowed > 0 {
		got.note("%s allowed by %s on the line", count(allowed, "finding"), allowMark)
	}
	return got, err
}

// recovered is secretsIn with a rule that panics as an error: nobody else would catch it, and the worker has other
// attempts.
func recovered(name string, data []byte, rules []secretRule) (out []sarif.Finding, allowed int, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a rule for secrets has a bug, and panicked on %s", name) // what it says may hold the secret
		}
	}()
	out, allowed = secretsIn(name, data, rules)
	return out, allowed, nil
}

// secretsIn are the findings of one file, one for each line and rule, and how many are allowed.
func secretsIn(name string, data []byte, rules []secretRule) (out []sarif.Finding, allowed int) {
	flush := unindented(data)
	taken := map[int]bool{} // by line: the first rule knows it best
	for _, r := range rules {
		text := data
		if r.id == privateKey {
			text = flush // a key within YAML is indented
		}
		secrets, at := r.detector.Detect(text)
		var lines []int
		for i, secret := range secrets {
			if i >= len(at) || at[i] < 0 || at[i] > len(text) {
				continue
			}
			begins := r.prefix != "" && bytes.HasPrefix(text[at[i]:], []byte(r.prefix))
			line := bytes.Count(text[:at[i]], []byte("\n")) + 1
			if taken[line] || begins && within(text, at[i]) {
				continue
			}
			lines = append(lines, line)
			if strings.Contains(sources.LineOf(data, line), allowMark) {
				allowed++
				continue
			}
			kind := r.what
			if begins {
				kind += " (" + r.prefix[:min(len(r.prefix), 4)] + "…)"
			}
			out = append(out, sarif.Finding{
				Rule: r.id, Severity: r.severity, Path: name, Line: line, Message: kind + ": revoke it, as the history of the repository keeps it; if it is none, write " + allowMark + " on the line",
				Fingerprint: sarif.Fingerprint(r.id, name, fmt.Sprintf("%+v", secret)),
			})
		}
		for _, l := range lines {
			taken[l] = true
		}
	}
	return out, allowed
}

// within says whether what begins at a position is the middle of a longer word, as of one in base64.
func within(text []byte, at int) bool {
	if at == 0 {
		return false
	}
	before := text[at-1]
	letter := before >= 'a' && before <= 'z' || before >= 'A' && before <= 'Z'
	if letter && at > 1 && text[at-2] == '\\' { // "\n" in a string
		return false
	}
	return letter || before >= '0' && before <= '9' || before == '+'
}

// unindented is data without the blanks at the beginning of lines, of which there are as many.
func unindented(data []byte) []byte {
	if !bytes.Contains(data, []byte("PRIVATE KEY-----")) {
		return data
	}
	lines := bytes.Split(data, []byte("\n"))
	for i := range lines {
		lines[i] = bytes.Trim(lines[i], " \t\r")
	}
	return bytes.Join(lines, []byte("\n"))
}

// pattern detects what veles does not.
type pattern struct{ *regexp.Regexp }

func (pattern) MaxSecretLen() uint32 { return 1 << 10 }

func (p pattern) Detect(data []byte) (out []veles.Secret, at []int) {
	for _, m := range p.FindAllIndex(data, -1) {
		out, at = append(out, string(data[m[0]:m[1]])), append(at, m[0])
	}
	return out, at
}

// only keeps of what a detector finds that which begins with one of these.
type only struct {
	veles.Detector
	prefixes []string
}

func (o only) Detect(data []byte) (out []veles.Secret, at []int) {
	secrets, all := o.Detector.Detect(data)
	for i, s := range secrets {
		if i < len(all) && slices.ContainsFunc(o.prefixes, func(p string) bool { return bytes.HasPrefix(data[min(all[i], len(data)):], []byte(p)) }) {
			out, at = append(out, s), append(at, all[i])
		}
	}
	return out, at
}
