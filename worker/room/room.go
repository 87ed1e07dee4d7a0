// Package room decides what a machine has room for: how many tasks at once, by its size, and
// whether it takes new ones now, by what it has left. It is pure: what machine measured in,
// decisions out. It knows no task, and ends none.
package room

import (
	"fmt"
	"strings"
)

const gib = 1 << 30

// Size of a machine, or of what a process may use of it.
type Size struct {
	CPUs   float64
	Memory int64 // bytes; 0: unknown
}

// Builds are how many builds and tests a machine carries out at once: each has two CPUs and
// 2 GiB of memory.
func (s Size) Builds() int { return s.each(2, 2*gib) }

// Renders are how many renders it carries out at once: each has half a CPU and 512 MiB.
func (s Size) Renders() int { return s.each(0.5, gib/2) }

// each is how many of a kind there is room for: at least one, or nothing would ever be done.
func (s Size) each(cpus float64, memory int64) int {
	const most = 1000
	n := int(min(max(s.CPUs, 0)/cpus, most))
	if s.Memory > 0 {
		n = min(n, int(min(s.Memory/memory, most)))
	}
	return max(n, 1)
}

// Part of a machine that can be short.
type Part int

// The parts.
const (
	Memory      Part = iota
	Disk             // of the state folder
	MemoryStall      // tasks wait for memory: it is there, but not at the time
	CPUStall         // tasks wait for a CPU
	Parts            // how many there are
)

// String is the part's name in metrics.
func (p Part) String() string {
	return [Parts]string{"memory", "disk", "memory_stall", "cpu_stall"}[p]
}

// Free is how much of something is left.
type Free struct {
	Bytes, Of int64 // Of 0: unknown
}

func (f Free) percent() float64 { return 100 * float64(f.Bytes) / float64(f.Of) }

// Measured is a machine at a moment.
type Measured struct {
	Memory, Disk Free
	// Percent of the last ten seconds in which everything that wanted memory, or something that
	// wanted a CPU, waited for it. Negative: unknown.
	MemoryStall, CPUStall float64
}

// Limits beyond which a machine takes no new task. 0: never for that reason.
type Limits struct {
	Memory float64 // percent that must be free
	// Disk is percent that must be free, of a disk that has less than DiskBytes left.
	Disk        float64
	DiskBytes   int64 // 0: however much that is
	MemoryStall float64
	CPUStall    float64
}

// State is whether a machine takes tasks, and why not. The zero value: it does.
type State struct {
	Short  [Parts]bool
	Reason string // for people, as of when Short changed; empty: it takes tasks
}

// Pressed: it takes no new task.
func (s State) Pressed() bool { return s.Short != [Parts]bool{} }

const (
	// more is how much more than its limit must be free again, and less how much of its limit a
	// stall must have fallen to, before a part is short no more: so that it does not flap.
	more = 1.5
	less = 0.75
)

// Next is the state after a measurement. A part that could not be measured is not short.
func Next(m Measured, l Limits, was State) State {
	next := State{Reason: was.Reason}
	next.Short[Memory] = scarce(m.Memory, l.Memory, 0, was.Short[Memory])
	next.Short[Disk] = scarce(m.Disk, l.Disk, l.DiskBytes, was.Short[Disk])
	next.Short[MemoryStall] = stalls(m.MemoryStall, l.MemoryStall, was.Short[MemoryStall])
	next.Short[CPUStall] = stalls(m.CPUStall, l.CPUStall, was.Short[CPUStall])
	if next.Short != was.Short {
		next.Reason = next.why(m, l)
	}
	return next
}

// scarce: less is free than must be; was: it was before, and a little more must be.
func scarce(f Free, percent float64, bytes int64, was bool) bool {
	if percent <= 0 || f.Of <= 0 {
		return false
	}
	if was {
		percent, bytes = min(percent*more, (100+percent)/2), int64(float64(bytes)*more)
	}
	return f.percent() < percent && (bytes <= 0 || f.Bytes < bytes)
}

func stalls(percent, limit float64, was bool) bool {
	if limit <= 0 || percent < 0 {
		return false
	}
	if was {
		limit *= less
	}
	return percent > limit
}

// why a machine takes no tasks.
func (s State) why(m Measured, l Limits) string {
	var out []string
	left := func(p Part, what string, f Free, percent float64) {
		if s.Short[p] {
			out = append(out, fmt.Sprintf("%s of %s is free (%.1f %%, wanted %g %%)", size(f.Bytes), what, f.percent(), percent))
		}
	}
	left(Memory, "memory", m.Memory, l.Memory)
	left(Disk, "the disk of its state folder", m.Disk, l.Disk)
	waits := func(p Part, what string, percent, limit float64) {
		if s.Short[p] {
			out = append(out, fmt.Sprintf("%.0f %% of the time is waiting for %s (at most %g %%)", percent, what, limit))
		}
	}
	waits(MemoryStall, "memory", m.MemoryStall, l.MemoryStall)
	waits(CPUStall, "a CPU", m.CPUStall, l.CPUStall)
	return strings.Join(out, "; ")
}

func size(bytes int64) string {
	if bytes < gib {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(bytes)/gib)
}
