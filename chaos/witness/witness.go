// Package witness is where the effects of tasks go: a sink that compares fences, as a
// cluster does, and writes down everything that it was asked, in order. It is in the
// experiment's own process, which nothing kills. Workers reach it over TCP.
package witness

import (
	"fmt"
	"sync"
)

// Fence of a lease.
type Fence struct {
	Epoch   uint64 `json:"epoch"`
	Counter uint64 `json:"counter"`
}

// Less orders fences.
func (f Fence) Less(o Fence) bool {
	return f.Epoch < o.Epoch || f.Epoch == o.Epoch && f.Counter < o.Counter
}

// Attempt is one try of a task, by the fence of its lease.
type Attempt struct {
	Run    string `json:"run"`
	Task   string `json:"task"`
	Number int32  `json:"number"`
	Fence  Fence  `json:"fence"`
}

// Object that an attempt changes: one of its own for each task.
func (a Attempt) Object() string { return a.Run + " " + a.Task }

// Line i of the log of an attempt.
func Line(a Attempt, i int) string {
	return fmt.Sprintf("%s %s %d.%d line %06d of what it has to say\n", a.Run, a.Task, a.Fence.Epoch, a.Fence.Counter, i)
}

// Kind of an entry.
type Kind string

// What a worker says.
const (
	Begin   Kind = "begin"   // it begins; the sink takes the fence from here on
	Effect  Kind = "effect"  // it changes the object
	Left    Kind = "left"    // it was told to stop, and has
	Taken   Kind = "taken"   // the coordinator says that the end of an attempt is durable
	Aborted Kind = "aborted" // the coordinator says that it does not use it: the fence is old
)

// Entry is one thing that was asked, and whether it was done.
type Entry struct {
	Kind    Kind    `json:"kind"`
	Attempt Attempt `json:"attempt"`
	Token   string  `json:"token,omitempty"` // of Taken and Aborted, whose Attempt has the fence alone
	Worker  string  `json:"worker,omitempty"`
	Process int     `json:"process,omitempty"`
	Call    int64   `json:"call,omitempty"` // ns of the machine's monotonic clock, when the worker asked
	Done    bool    `json:"done"`
	Return  int64   `json:"-"` // when it was written down, by the same clock
}

// Book is what a witness has seen.
type Book struct {
	// Gullible: fences are not compared. The control of an experiment has it.
	Gullible bool

	mu      sync.Mutex
	entries []Entry
	fences  map[string]Fence        // by object
	open    map[int]map[string]bool // by process: objects that it works at
	more    chan struct{}           // closed and made anew with each entry
}

// NewBook is an empty one.
func NewBook() *Book {
	return &Book{fences: map[string]Fence{}, open: map[int]map[string]bool{}, more: make(chan struct{})}
}

// take decides about one request.
func (b *Book) take(e Entry) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	object := e.Attempt.Object()
	last := b.fences[object]
	switch e.Kind {
	case Begin:
		e.Done = last.Less(e.Attempt.Fence) || b.Gullible
	case Effect:
		e.Done = last == e.Attempt.Fence || b.Gullible
	case Left, Taken, Aborted:
		e.Done = true
	}
	if e.Kind == Begin && last.Less(e.Attempt.Fence) {
		b.fences[object] = e.Attempt.Fence
	}
	if b.open[e.Process] == nil {
		b.open[e.Process] = map[string]bool{}
	}
	if e.Kind == Begin {
		b.open[e.Process][object] = true
	} else {
		delete(b.open[e.Process], object)
	}
	e.Return = Now()
	b.entries = append(b.entries, e)
	close(b.more)
	b.more = make(chan struct{})
	return e.Done
}

// Entries so far, in order.
func (b *Book) Entries() []Entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.entries[:len(b.entries):len(b.entries)]
}

// More is closed with the next entry.
func (b *Book) More() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.more
}

// Works answers the objects that a process works at now.
func (b *Book) Works(process int) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for o := range b.open[process] {
		out = append(out, o)
	}
	return out
}
