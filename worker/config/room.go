package config

import (
	"fmt"

	"github.com/slipway-build/slipway/internal/strictyaml"
	"github.com/slipway-build/slipway/worker/room"
)

// Auto is a number of slots: as many as the machine has room for.
const Auto = -1

const maxSlots = 10_000

// Slots are how many tasks are carried out at once, by capability.
type Slots map[string]int

// ReadYAML reads auto, or numbers and auto by capability.
func (s *Slots) ReadYAML(n strictyaml.Node) {
	if n.IsScalar() {
		n.Enum("auto")
		*s = Slots{CapabilityBuild: Auto, CapabilityRender: Auto}
		return
	}
	*s = Slots{}
	n.Entries("slots", func(key strictyaml.Key, v strictyaml.Node) {
		if v.IsScalar() && !v.IsNull() && v.Text() == "auto" {
			(*s)[key.Text] = Auto
			return
		}
		(*s)[key.Text] = v.Int(0, maxSlots)
	})
}

// For a machine: without capabilities that are switched off.
func (s Slots) For(size room.Size) map[string]int {
	out := map[string]int{}
	for c, n := range s {
		switch {
		case n == Auto && c == CapabilityBuild:
			n = size.Builds()
		case n == Auto:
			n = size.Renders()
		}
		if n > 0 {
			out[c] = n
		}
	}
	return out
}

// Pressure is when the machine is given no new task. 0: never for that reason; the zero value:
// it is not looked at.
type Pressure struct {
	Memory      int `yaml:"memory_percent"` // that must be free
	Disk        int `yaml:"disk_percent"`   // of the state folder's, that must be free,
	DiskMiB     int `yaml:"disk_mib"`       // where it has less than so many MiB left
	MemoryStall int `yaml:"memory_stall_percent"`
	CPUStall    int `yaml:"cpu_stall_percent"`
}

// DefaultPressure lets a machine that is busy take tasks, and one that is about to fail none.
func DefaultPressure() Pressure {
	return Pressure{Memory: 5, Disk: 5, DiskMiB: 2048, MemoryStall: 50}
}

// Limits as they are decided with.
func (p Pressure) Limits() room.Limits {
	return room.Limits{
		Memory: float64(p.Memory), Disk: float64(p.Disk), DiskBytes: int64(p.DiskMiB) << 20, MemoryStall: float64(p.MemoryStall), CPUStall: float64(p.CPUStall),
	}
}

func (p Pressure) validate() (problems []error) {
	for _, v := range []struct {
		key     string
		n, most int
	}{
		{"memory_percent", p.Memory, 90}, {"disk_percent", p.Disk, 90}, {"disk_mib", p.DiskMiB, 1 << 30},
		{"memory_stall_percent", p.MemoryStall, 99}, {"cpu_stall_percent", p.CPUStall, 99},
	} {
		if v.n < 0 || v.n > v.most {
			problems = append(problems, fmt.Errorf("pressure.%s: %d is not between 0 and %d; 0: never for that reason", v.key, v.n, v.most))
		}
	}
	return problems
}
