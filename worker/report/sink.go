package report

import (
	"io"
	"sync"
	"time"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/worker/runner"
)

// calm is how long states of steps that go on are gathered before they are sent.
const calm = 200 * time.Millisecond

// Lease is where an attempt's log and progress go.
type Lease interface {
	io.Writer
	Progress(started bool, steps ...*pb.ProgressStep)
}

// Sink is the runner.Report of one attempt. Log goes through at once; states of steps
// that go on are gathered, since only the last one counts.
type Sink struct {
	lease Lease
	now   func() time.Time

	mu      sync.Mutex
	begun   time.Time
	sent    time.Time
	order   []string
	waiting map[string]runner.Progress
}

// NewSink reports to l.
func NewSink(l Lease, now func() time.Time) *Sink {
	return &Sink{lease: l, now: now, waiting: map[string]runner.Progress{}}
}

// Write appends to the log.
func (s *Sink) Write(p []byte) (int, error) { return s.lease.Write(p) }

// Started says that the work itself begins.
func (s *Sink) Started() {
	s.mu.Lock()
	first := s.begun.IsZero()
	if first {
		s.begun = s.now()
	}
	s.mu.Unlock()
	if first {
		s.lease.Progress(true)
	}
}

// Begun is when Started was called first; zero if it was not.
func (s *Sink) Begun() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun
}

// Progress takes states of steps.
func (s *Sink) Progress(steps ...runner.Progress) {
	s.mu.Lock()
	urgent := false
	for _, p := range steps {
		if _, ok := s.waiting[p.ID]; !ok {
			s.order = append(s.order, p.ID)
		}
		s.waiting[p.ID] = p
		urgent = urgent || !p.Finished.IsZero()
	}
	due := urgent || s.now().Sub(s.sent) >= calm
	s.mu.Unlock()
	if due {
		s.Flush()
	}
}

// Flush sends what waits.
func (s *Sink) Flush() {
	s.mu.Lock()
	out := make([]*pb.ProgressStep, 0, len(s.order))
	for _, id := range s.order {
		out = append(out, progress(s.waiting[id]))
	}
	s.order = nil
	clear(s.waiting)
	s.sent = s.now()
	started := !s.begun.IsZero()
	s.mu.Unlock()
	if len(out) > 0 {
		s.lease.Progress(started, out...)
	}
}
