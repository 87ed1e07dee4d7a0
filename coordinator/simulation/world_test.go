package simulation_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/slipway-build/slipway/coordinator/journal/journaltest"
	"github.com/slipway-build/slipway/coordinator/logstore"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/snapshot/snapshottest"
)

const ttl = 4 * time.Second

var errGone = errors.New("nobody answers")

// world is everything around the engine. One goroutine at a time is awake in it, for
// nothing in it happens at the same nanosecond as something else; mu is for the race
// detector, and for the engine's own goroutines.
type world struct {
	mu       sync.Mutex
	rng      *rand.Rand
	faults   bool   // the network, the disk and the workers may fail
	cut      string // cluster that does not answer; empty: all do
	began    time.Time
	disk     *journaltest.Memory
	blobs    *snapshottest.Blobs
	every    uint64 // records until a snapshot is taken
	plans    plans
	queue    map[string]map[string]bool // capability → hints
	now      *coordinator               // that requests reach; nil: none
	all      []*coordinator
	workers  []*worker
	sink     map[string]run.Fence  // what changed an object last
	undone   []context.CancelFunc  // timers
	unlogged map[logstore.Key]bool // logs that were purged

	accepted                  map[string]string         // runs that were acknowledged, by id → project
	keys                      map[string]string         // "project key" → run
	done                      map[run.Fence]run.Outcome // completions that were acknowledged
	refused                   map[run.Fence]bool        // completions that were aborted
	given                     map[string][]*job         // by token
	newest                    run.Fence                 // that was ever given
	ended                     map[string]run.State      // runs, as they were shown or answered
	tasks                     map[string]run.TaskState  // "run task", as shown
	wrong                     []string
	trace                     hashed
	told                      bool // the story is over
	grants, restarts, doubled int
	archived                  int    // runs, at the end
	moved                     int    // runs whose logs are archived, at the end
	purged                    uint64 // records
}

// plans has a lock of its own: the partition asks for them inside a command.
type plans struct {
	mu    sync.Mutex
	known map[string]*plan.Plan
}

func (p *plans) find(hash string) (*plan.Plan, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known[hash], nil
}

func (p *plans) store(hash string, one *plan.Plan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[hash] = one
}

// hashed is the story of a seed: equal stories have equal sums.
type hashed struct {
	sum  uint64
	last []string
}

func newWorld(seed uint64) *world {
	w := &world{
		rng: rand.New(rand.NewPCG(seed, 14)), faults: true, began: time.Now(), disk: &journaltest.Memory{}, blobs: &snapshottest.Blobs{}, plans: plans{known: map[string]*plan.Plan{}},
		queue: map[string]map[string]bool{}, sink: map[string]run.Fence{}, accepted: map[string]string{}, keys: map[string]string{}, unlogged: map[logstore.Key]bool{},
		done: map[run.Fence]run.Outcome{}, refused: map[run.Fence]bool{}, given: map[string][]*job{}, ended: map[string]run.State{}, tasks: map[string]run.TaskState{},
	}
	w.disk.Fault = w.disturb
	w.every = 10 + w.rng.Uint64N(60)
	w.cut = []string{"", "", "", "b"}[w.rng.IntN(4)]
	for i := range 3 {
		w.workers = append(w.workers, newWorker(w, fmt.Sprint("w", i)))
	}
	return w
}

// say adds a line to the story.
func (w *world) say(format string, args ...any) {
	if w.told {
		return
	}
	line := fmt.Sprintf("%12s ", time.Since(w.began)) + fmt.Sprintf(format, args...)
	h := fnv.New64a()
	_, _ = io.WriteString(h, fmt.Sprint(w.trace.sum, line))
	w.trace.sum = h.Sum64()
	w.trace.last = append(w.trace.last, line)
}

func (w *world) bad(format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
	w.say("WRONG: "+format, args...)
}

// chance is true in n of 100 cases.
func (w *world) chance(n int) bool { return w.rng.IntN(100) < n }

// between is a time that nothing else has.
func (w *world) between(a, b time.Duration) time.Duration {
	return a + time.Duration(w.rng.Int64N(int64(b-a))) | 1
}

// later runs f with the world locked.
func (w *world) later(d time.Duration, f func()) {
	t := time.AfterFunc(d, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		f()
	})
	w.undone = append(w.undone, func() { t.Stop() })
}

// send is the network: late, lost, doubled and out of order while there are faults.
func (w *world) send(f func()) {
	if !w.faults {
		w.later(w.between(50*time.Microsecond, time.Millisecond), f)
		return
	}
	if w.chance(4) {
		return
	}
	d := w.between(100*time.Microsecond, 20*time.Millisecond)
	if w.chance(5) {
		d = w.between(time.Millisecond, 2*ttl)
	}
	w.later(d, f)
	if w.chance(3) {
		w.doubled++
		w.later(w.between(time.Millisecond, ttl), f)
	}
}

// disturb says what becomes of a call of the journal.
func (w *world) disturb(call string) journaltest.Fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := journaltest.Fault{Request: w.between(20*time.Microsecond, time.Millisecond), Answer: w.between(20*time.Microsecond, time.Millisecond)}
	if !w.faults {
		return f
	}
	switch n := w.rng.IntN(100); {
	case n < 3:
		f.LostBefore = true
	case n < 7:
		f.LostAfter = true
	case n < 9:
		f.Broken = true
	case n < 12:
		f.Answer = w.between(10*time.Millisecond, 6*time.Second)
	case n < 15:
		f.Request = w.between(10*time.Millisecond, 6*time.Second)
	}
	return f
}

// ask runs a command on the coordinator that serves, and answers over the network. A
// coordinator that was replaced does nothing more: its time as owner is over.
func (w *world) ask(do func(*partition.Tx) error, reply func(error)) {
	w.send(func() {
		c := w.now
		if c == nil {
			return
		}
		w.command(c, do, reply)
	})
}

func (w *world) command(c *coordinator, do func(*partition.Tx) error, reply func(error)) {
	guarded := func(tx *partition.Tx) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if c.replaced {
			return errGone
		}
		return do(tx)
	}
	go func() { // Go may wait for the partition, and the world must not
		err := c.part.Go(c.ctx, guarded, func(err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			reply(err)
		})
		_ = err // the request is lost, as the answer would be
	}()
}

// pass lets time go by.
func (w *world) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// close stops what still waits.
func (w *world) close() {
	w.mu.Lock()
	w.faults, w.told, w.now = false, true, nil
	for _, stop := range w.undone {
		stop()
	}
	all := slices.Clone(w.all)
	w.mu.Unlock()
	for _, c := range all {
		c.cancel()
	}
	for _, c := range all {
		<-c.done
	}
}
