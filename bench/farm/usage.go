package farm

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ticks is how many of the kernel's ticks a second has: 100 on every Linux that Go runs on.
const ticks = 100

// usage is what the kernel says about a process.
type usage struct {
	parent int
	own    float64 // seconds of its own
	waited float64 // seconds of children that it has waited for
}

// CPU is the seconds that processes have used so far.
func CPU(pids ...int) float64 {
	sum := 0.0
	for _, pid := range pids {
		u, _ := look(pid)
		sum += u.own
	}
	return sum
}

// Family is the seconds that a process, its children and theirs have used so far, those that
// are gone too.
func Family(pid int) float64 {
	all := map[int]usage{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			if u, ok := look(n); ok {
				all[n] = u
			}
		}
	}
	return family(all, pid)
}

func family(all map[int]usage, pid int) float64 {
	sum := all[pid].own + all[pid].waited
	for child, u := range all {
		if u.parent == pid && child != pid {
			sum += family(all, child)
		}
	}
	return sum
}

func look(pid int) (usage, bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, false
	}
	return parse(string(data))
}

// parse reads a line of /proc/<pid>/stat. The name, in brackets, may have anything in it.
func parse(stat string) (usage, bool) {
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(f) < 15 {
		return usage{}, false
	}
	n := func(i int) float64 {
		v, _ := strconv.ParseFloat(f[i], 64)
		return v
	}
	return usage{parent: int(n(1)), own: (n(11) + n(12)) / ticks, waited: (n(13) + n(14)) / ticks}, true
}

// Memory is the resident size of a process, in bytes: now, and at its peak.
func Memory(pid int) (now, peak int64, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(line, ":")
		n, perr := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch {
		case name == "VmRSS" && perr == nil:
			now = n << 10
		case name == "VmHWM" && perr == nil:
			peak = n << 10
		}
	}
	if now == 0 {
		err = errors.New("memory of a process is not told")
	}
	return now, peak, err
}

// Self is the seconds that this process has used so far.
func Self() float64 { return CPU(os.Getpid()) }
