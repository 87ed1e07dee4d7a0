// Package machine measures what a worker may use and what is left of it: memory and CPUs of
// its cgroup (version 2) or of the machine, how long tasks wait for them (PSI), and the disk
// of a folder. What cannot be measured is unknown, and no error: not every kernel says it, and
// other systems than Linux say little of it. What follows from it is for room to decide.
package machine

import (
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/slipway-build/slipway/worker/room"
)

// Machine is where to measure.
type Machine struct {
	Root   string // of the file system with /proc and /sys
	Folder string // on the disk that is measured
	CPUs   int    // that the process sees
}

// Size is how much the worker may use.
func (m Machine) Size() room.Size {
	s := room.Size{CPUs: float64(m.CPUs), Memory: m.table("proc/meminfo")["MemTotal"]}
	for _, dir := range m.groups() {
		if limit, ok := m.number(dir, "memory.max"); ok && (s.Memory == 0 || limit < s.Memory) {
			s.Memory = limit
		}
		f := strings.Fields(m.read(dir, "cpu.max")) // quota and period, or max and period
		if len(f) != 2 {
			continue
		}
		quota, err := strconv.ParseFloat(f[0], 64)
		period, err2 := strconv.ParseFloat(f[1], 64)
		if err == nil && err2 == nil && period > 0 {
			s.CPUs = min(s.CPUs, quota/period)
		}
	}
	return s
}

// Measure is what is left now.
func (m Machine) Measure() room.Measured {
	out := room.Measured{Memory: m.memory(), Disk: m.disk(), MemoryStall: stalled(m.read("proc/pressure/memory"), "full"), CPUStall: stalled(m.read("proc/pressure/cpu"), "some")}
	if groups := m.groups(); len(groups) > 0 { // its own says more of what the worker does, the machine's of what happens beside it
		out.MemoryStall = max(out.MemoryStall, stalled(m.read(groups[0], "memory.pressure"), "full"))
		out.CPUStall = max(out.CPUStall, stalled(m.read(groups[0], "cpu.pressure"), "some"))
	}
	return out
}

// memory that is left where least is: on the machine, in the cgroup, or in one around it.
// Files that are in memory can make room.
func (m Machine) memory() room.Free {
	info := m.table("proc/meminfo")
	least := room.Free{Bytes: info["MemAvailable"], Of: info["MemTotal"]}
	if _, ok := info["MemAvailable"]; !ok {
		least = room.Free{}
	}
	for _, dir := range m.groups() {
		limit, ok := m.number(dir, "memory.max")
		used, ok2 := m.number(dir, "memory.current")
		if !ok || !ok2 || limit <= 0 {
			continue
		}
		stat := m.table(dir, "memory.stat")
		used -= stat["inactive_file"] + stat["active_file"] + stat["slab_reclaimable"]
		free := room.Free{Bytes: min(max(limit-used, 0), limit), Of: limit}
		if least.Of == 0 || share(free) < share(least) {
			least = free
		}
	}
	return least
}

func share(f room.Free) float64 { return float64(f.Bytes) / float64(f.Of) }

func (m Machine) disk() room.Free {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(m.Folder, &fs); err != nil {
		return room.Free{}
	}
	size := int64(fs.Bsize)                                                       //nolint:unconvert // the types differ between systems
	return room.Free{Bytes: int64(fs.Bavail) * size, Of: int64(fs.Blocks) * size} //nolint:gosec // no disk is that large
}

// groups are the folders of the worker's cgroup and those around it, its own first. None:
// there are no cgroups of version 2.
func (m Machine) groups() []string {
	const root = "sys/fs/cgroup"
	if m.read(root, "cgroup.controllers") == "" {
		return nil
	}
	for line := range strings.Lines(m.read("proc/self/cgroup")) {
		own, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		var out []string
		for own = path.Clean("/" + own); ; own = path.Dir(own) {
			out = append(out, root+own)
			if own == "/" {
				return out
			}
		}
	}
	return nil
}

// stalled is the percentage of the last ten seconds in a line of PSI: "full avg10=1.50 …".
func stalled(text, which string) float64 {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != which {
			continue
		}
		if value, ok := strings.CutPrefix(f[1], "avg10="); ok {
			if percent, err := strconv.ParseFloat(value, 64); err == nil {
				return percent
			}
		}
	}
	return -1
}

// table reads "MemTotal:  24684096 kB" or "inactive_file 4096", in bytes.
func (m Machine) table(name ...string) map[string]int64 {
	out := map[string]int64{}
	for line := range strings.Lines(m.read(name...)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			continue
		}
		if len(f) > 2 && f[2] == "kB" {
			n <<= 10
		}
		out[strings.TrimSuffix(f[0], ":")] = n
	}
	return out
}

// number in a file; not ok: there is none, or "max".
func (m Machine) number(name ...string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(m.read(name...)), 10, 64)
	return n, err == nil
}

// read a small file; empty: it cannot be.
func (m Machine) read(name ...string) string {
	data, err := os.ReadFile(filepath.Join(append([]string{m.Root}, name...)...))
	if err != nil {
		return ""
	}
	return string(data)
}
