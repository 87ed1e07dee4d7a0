package runner

import (
	"context"
	"sync"

	"github.com/slipway-build/slipway/worker/runner/mask"
	"github.com/slipway-build/slipway/worker/runner/testreport"
)

// Redact masks the given values, and those of the task's secrets, wherever an attempt
// can show them: in its log, also where a value is split over two writes, in progress,
// steps, tests and message. Runners find the Masker in the task, for what they cut
// before they show it: half a secret is not found here any more.
func Redact(values []string) Decorator {
	own := make([][]byte, len(values))
	for i, v := range values {
		own[i] = []byte(v)
	}
	always := mask.New(own...)
	return func(next Runner) Runner {
		return Func(func(ctx context.Context, t Task, r Report) Outcome {
			t.Mask = always
			if len(t.Secrets) > 0 {
				all := own[:len(own):len(own)]
				for _, v := range t.Secrets {
					all = append(all, v)
				}
				t.Mask = mask.New(all...)
			}
			if t.Mask == nil {
				return next.Run(ctx, t, r)
			}
			m := &masked{next: r, m: t.Mask, log: t.Mask.Stream(r)}
			o := next.Run(ctx, t, m)
			m.flush()
			return m.outcome(o)
		})
	}
}

type masked struct {
	next Report
	m    *mask.Masker

	mu  sync.Mutex
	log *mask.Stream
}

func (m *masked) Started() { m.next.Started() }

func (m *masked) Progress(steps ...Progress) {
	out := make([]Progress, len(steps))
	for i, s := range steps {
		s.Name, s.Error, s.Detail = m.m.Text(s.Name), m.m.Text(s.Error), m.m.Text(s.Detail)
		out[i] = s
	}
	m.next.Progress(out...)
}

func (m *masked) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.log.Write(p)
}

func (m *masked) flush() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log.Flush()
}

func (m *masked) outcome(o Outcome) Outcome {
	o.Message = m.m.Text(o.Message)
	steps := make([]Step, len(o.Steps))
	for i, s := range o.Steps {
		s.Name, s.Error = m.m.Text(s.Name), m.m.Text(s.Error)
		if s.Attributes != nil {
			attributes := make(map[string]string, len(s.Attributes))
			for k, v := range s.Attributes {
				attributes[k] = m.m.Text(v)
			}
			s.Attributes = attributes
		}
		steps[i] = s
	}
	o.Steps = steps
	if o.Result.Tests != nil {
		tests := *o.Result.Tests
		tests.Failures = make([]testreport.Case, len(o.Result.Tests.Failures))
		for i, c := range o.Result.Tests.Failures {
			c.Suite, c.Name, c.Output = m.m.Text(c.Suite), m.m.Text(c.Name), m.m.Text(c.Output)
			tests.Failures[i] = c
		}
		o.Result.Tests = &tests
	}
	return o
}
