package runner

import (
	"context"
	"sort"
	"strings"
	"sync"

	"github.com/slipway-build/slipway/worker/runner/testreport"
)

const (
	mask = "*****"
	// Shorter values would mask half of every log and protect nothing.
	minSecret = 4
)

// Redact masks the given values wherever an attempt can show them: in its log, also
// where a value is split over two writes, in progress, steps and message.
func Redact(values []string) Decorator {
	secrets := maskable(values)
	return func(next Runner) Runner {
		if len(secrets) == 0 {
			return next
		}
		return Func(func(ctx context.Context, t Task, r Report) Outcome {
			m := &masked{next: r, secrets: secrets}
			o := next.Run(ctx, t, m)
			m.flush()
			return m.outcome(o)
		})
	}
}

func maskable(values []string) []string {
	var out []string
	for _, v := range values {
		if len(v) >= minSecret {
			out = append(out, v)
		}
	}
	// Longest first: a value that contains another one is masked whole.
	sort.Slice(out, func(i, j int) bool { return len(out[i]) > len(out[j]) })
	return out
}

type masked struct {
	next    Report
	secrets []string

	mu   sync.Mutex
	held string // the end of the log so far that may be the beginning of a secret
}

func (m *masked) Started() { m.next.Started() }

func (m *masked) Progress(steps ...Progress) {
	out := make([]Progress, len(steps))
	for i, s := range steps {
		s.Name, s.Error, s.Detail = m.text(s.Name), m.text(s.Error), m.text(s.Detail)
		out[i] = s
	}
	m.next.Progress(out...)
}

func (m *masked) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out, rest := m.scan(m.held + string(p))
	m.held = rest
	if out != "" {
		_, _ = m.next.Write([]byte(out))
	}
	return len(p), nil
}

func (m *masked) flush() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held != "" {
		_, _ = m.next.Write([]byte(m.text(m.held)))
		m.held = ""
	}
}

// scan masks s and keeps back the end that may go on as a secret.
func (m *masked) scan(s string) (out, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); {
		full, partial := m.match(s[i:])
		switch {
		case partial:
			return b.String(), s[i:]
		case full > 0:
			b.WriteString(mask)
			i += full
		default:
			b.WriteByte(s[i])
			i++
		}
	}
	return b.String(), ""
}

// match says how long a secret at the beginning of s is, or that s may become a
// longer one.
func (m *masked) match(s string) (full int, partial bool) {
	for _, secret := range m.secrets {
		if strings.HasPrefix(s, secret) {
			return len(secret), false
		}
		if len(s) < len(secret) && strings.HasPrefix(secret, s) {
			return 0, true
		}
	}
	return 0, false
}

func (m *masked) text(s string) string {
	for _, secret := range m.secrets {
		s = strings.ReplaceAll(s, secret, mask)
	}
	return s
}

func (m *masked) outcome(o Outcome) Outcome {
	o.Message = m.text(o.Message)
	steps := make([]Step, len(o.Steps))
	for i, s := range o.Steps {
		s.Name, s.Error = m.text(s.Name), m.text(s.Error)
		steps[i] = s
	}
	o.Steps = steps
	if o.Result.Tests != nil {
		tests := *o.Result.Tests
		tests.Failures = make([]testreport.Case, len(o.Result.Tests.Failures))
		for i, c := range o.Result.Tests.Failures {
			c.Output = m.text(c.Output)
			tests.Failures[i] = c
		}
		o.Result.Tests = &tests
	}
	return o
}
