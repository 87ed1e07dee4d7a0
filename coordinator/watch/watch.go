// Package watch shows committed changes of runs to those who follow them. A follower
// that is too slow is cut off, and never slows a partition.
package watch

import (
	"sync"

	"github.com/slipway-build/slipway/coordinator/run"
)

// depth is how many changes may wait for a follower.
const depth = 4096

// Step is what an attempt is doing now.
type Step[P any] struct {
	Task    string
	Attempt int
	Steps   P
}

// Change is one change of a run: its head with the tasks that changed, or progress.
type Change[P any] struct {
	Run      *run.Run
	Tasks    []*run.Task
	Progress *Step[P]
}

// Hub knows who follows which run. P is the form of progress, which it only hands on.
type Hub[P any] struct {
	mu        sync.Mutex
	followers map[string]map[*Follower[P]]bool
	next      func(*run.Run, []*run.Task)
}

// New makes a hub. next, if not nil, is shown every committed change as well.
func New[P any](next func(*run.Run, []*run.Task)) *Hub[P] {
	return &Hub[P]{followers: map[string]map[*Follower[P]]bool{}, next: next}
}

// Follower receives the changes of one run.
type Follower[P any] struct {
	// C is closed when the follower was too slow, or was closed.
	C   chan Change[P]
	hub *Hub[P]
	run string
	off bool // guarded by hub.mu
}

// Follow begins to follow a run. Called inside a command of the run's partition, nothing
// that is committed after the command is missed.
func (h *Hub[P]) Follow(runID string) *Follower[P] {
	f := &Follower[P]{C: make(chan Change[P], depth), hub: h, run: runID}
	h.mu.Lock()
	defer h.mu.Unlock()
	set, ok := h.followers[runID]
	if !ok {
		set = map[*Follower[P]]bool{}
		h.followers[runID] = set
	}
	set[f] = true
	return f
}

// Close ends following.
func (f *Follower[P]) Close() {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	f.end()
}

func (f *Follower[P]) end() {
	if f.off {
		return
	}
	f.off = true
	close(f.C)
	set := f.hub.followers[f.run]
	delete(set, f)
	if len(set) == 0 {
		delete(f.hub.followers, f.run)
	}
}

// Changed implements partition.Listener.
func (h *Hub[P]) Changed(r *run.Run, tasks []*run.Task) {
	h.send(r.ID, Change[P]{Run: r, Tasks: tasks})
	if h.next != nil {
		h.next(r, tasks)
	}
}

// Progress shows what an attempt is doing.
func (h *Hub[P]) Progress(runID string, s Step[P]) {
	h.send(runID, Change[P]{Progress: &s})
}

func (h *Hub[P]) send(runID string, c Change[P]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for f := range h.followers[runID] {
		select {
		case f.C <- c:
		default:
			f.end()
		}
	}
}
