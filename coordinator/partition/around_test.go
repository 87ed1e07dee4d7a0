package partition_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/coordinator/findings"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

// fault is what happens to one append.
type fault int

const (
	none          fault = iota
	answerLost          // it is stored, and the answer is lost
	killedAfter         // it is stored, and the owner is killed before it knows
	killedBefore        // the owner is killed before it is stored
	foreignRecord       // somebody else's record is there first
)

var errLost = errors.New("the answer was lost")

// wires is the way to the real JetStream, where one append can go wrong.
type wires struct {
	jetstream.JetStream
	mu   sync.Mutex
	next fault
	skip int // appends before it
	kill func()
}

func (w *wires) arm(f fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next, w.skip = f, 0
}

// armAt lets some appends through first.
func (w *wires) armAt(skip int, f fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next, w.skip = f, skip
}

func (w *wires) Publish(ctx context.Context, subject string, data []byte, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	w.mu.Lock()
	f := none
	if w.skip--; w.skip < 0 {
		f, w.next = w.next, none
	}
	w.mu.Unlock()
	switch f {
	case killedBefore:
		w.kill()
		return nil, context.Canceled
	case foreignRecord:
		if _, err := w.JetStream.Publish(ctx, subject, []byte("somebody else's")); err != nil {
			return nil, err
		}
	case none, answerLost, killedAfter:
	}
	ack, err := w.JetStream.Publish(ctx, subject, data, opts...)
	switch {
	case err != nil || f == none || f == foreignRecord:
		return ack, err
	case f == killedAfter:
		w.kill()
	}
	return nil, errLost
}

// board stands for dispatch: which tasks were made known.
type board struct {
	mu    sync.Mutex
	ready map[string]string // token → capability
	said  map[string][]partition.Priority
	left  int
	// serves is how often it was said that all leases are known.
	serves int

	running map[string]int // by team
}

func (b *board) Ready(capability, token string, p partition.Priority) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ready[token] = capability
	if b.said == nil {
		b.said = map[string][]partition.Priority{}
	}
	b.said[token] = append(b.said[token], p)
}

func (b *board) Gone(_, token string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.ready, token)
}

func (b *board) Leased(int, partition.Load, int) {}

func (b *board) Room(_ int, team string, limit int) (partition.Room, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.running[team]
	return partition.Room{Running: n, Limit: limit, May: limit}, n < limit
}

func (b *board) Serves(int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.serves++
}

func (b *board) Running(_ int, team string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running == nil {
		b.running = map[string]int{}
	}
	b.running[team] = n
}

func (b *board) Left(int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left++
	clear(b.ready)
}

func (b *board) tokens() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.ready))
}

// effects are the mirror and the blobs. fail breaks the next pin.
type effects struct {
	mu   sync.Mutex
	fail bool
}

func (e *effects) Pin(context.Context, string, string, string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail {
		e.fail = false
		return errors.New("the mirror is broken")
	}
	return nil
}

func (e *effects) PutBlob(_ context.Context, _ string, data []byte) (string, error) {
	return plan.Sum(data), nil
}

// Judge blocks where the first report says so.
func (e *effects) Judge(_ context.Context, _ string, in findings.Input) (plan.FindingsSummary, string, error) {
	sum := plan.FindingsSummary{First: in.Base == "", Report: plan.Sum([]byte(fmt.Sprint(in.Scans)))}
	if len(in.Scans) > 0 && in.Scans[0].Report == "blocks" {
		sum.Fresh, sum.Blocking = 1, 1
	}
	return sum, fmt.Sprintf("%d scans, compared with %q", len(in.Scans), in.Base), nil
}

func (e *effects) Sign(_ context.Context, _, key string, built plan.Result) (string, error) {
	return "signed " + built.Image + " with " + key, nil
}

func (e *effects) broken(yes bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fail = yes
}

// shown is what followers see. Terminal is final, whoever owns the partition.
type shown struct {
	mu    sync.Mutex
	tasks map[string]run.TaskState // "run task"
	runs  map[string]run.State
	wrong []string
}

func (s *shown) Changed(r *run.Run, tasks []*run.Task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if was := s.runs[r.ID]; was.Ended() && was != r.State {
		s.wrong = append(s.wrong, fmt.Sprintf("run %s was shown as %s and then as %s", r.ID, was, r.State))
	}
	s.runs[r.ID] = r.State
	for _, t := range tasks {
		key := r.ID + " " + t.Spec.ID
		if was := s.tasks[key]; was.Ended() && was != t.State {
			s.wrong = append(s.wrong, fmt.Sprintf("task %s was shown as %s and then as %s", key, was, t.State))
		}
		s.tasks[key] = t.State
	}
}

func (s *shown) good(runID, task string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tasks[runID+" "+task].Good()
}
