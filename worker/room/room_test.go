package room_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/worker/room"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

func TestSlotsByTheSizeOfTheMachine(t *testing.T) {
	for name, c := range map[string]struct {
		size            room.Size
		builds, renders int
	}{
		"a laptop":             {room.Size{CPUs: 8, Memory: 16 * gib}, 4, 16},
		"two CPUs":             {room.Size{CPUs: 2, Memory: 4 * gib}, 1, 4},
		"a small share":        {room.Size{CPUs: 0.5, Memory: 256 * mib}, 1, 1},
		"little memory":        {room.Size{CPUs: 64, Memory: 8 * gib}, 4, 16},
		"little CPU":           {room.Size{CPUs: 3.9, Memory: 64 * gib}, 1, 7},
		"a large one":          {room.Size{CPUs: 96, Memory: 384 * gib}, 48, 192},
		"memory is unknown":    {room.Size{CPUs: 8}, 4, 16},
		"nothing is known":     {room.Size{}, 1, 1},
		"more than there is":   {room.Size{CPUs: 1e9, Memory: 1 << 60}, 1000, 1000},
		"what makes no sense":  {room.Size{CPUs: -1, Memory: -1}, 1, 1},
		"exactly one of a CPU": {room.Size{CPUs: 1, Memory: gib}, 1, 2},
	} {
		if b, r := c.size.Builds(), c.size.Renders(); b != c.builds || r != c.renders {
			t.Errorf("%s: %d builds and %d renders, want %d and %d", name, b, r, c.builds, c.renders)
		}
	}
}

var limits = room.Limits{Memory: 5, Disk: 5, DiskBytes: 2 * gib, MemoryStall: 50, CPUStall: 80}

func roomy() room.Measured {
	return room.Measured{Memory: room.Free{Bytes: 8 * gib, Of: 16 * gib}, Disk: room.Free{Bytes: 100 * gib, Of: 500 * gib}}
}

func TestWhenAMachineTakesNoTasks(t *testing.T) {
	memory := func(bytes int64) func(*room.Measured) {
		return func(m *room.Measured) { m.Memory = room.Free{Bytes: bytes, Of: 100 * gib} }
	}
	disk := func(bytes, of int64) func(*room.Measured) {
		return func(m *room.Measured) { m.Disk = room.Free{Bytes: bytes, Of: of} }
	}
	for name, c := range map[string]struct {
		now  func(*room.Measured)
		was  []room.Part
		want string // what the reason has; empty: it takes tasks
	}{
		"room":                        {func(*room.Measured) {}, nil, ""},
		"as much memory as must be":   {memory(5 * gib), nil, ""},
		"less":                        {memory(4 * gib), nil, "4.0 GiB of memory is free (4.0 %, wanted 5 %)"},
		"a little more again":         {memory(6 * gib), []room.Part{room.Memory}, "memory"},
		"enough again":                {memory(8 * gib), []room.Part{room.Memory}, ""},
		"memory is unknown":           {func(m *room.Measured) { m.Memory = room.Free{} }, []room.Part{room.Memory}, ""},
		"a small disk that is full":   {disk(300*mib, 10*gib), nil, "300 MiB of the disk of its state folder is free (2.9 %, wanted 5 %)"},
		"a large disk, almost full":   {disk(20*gib, 1000*gib), nil, ""},
		"a large disk that is full":   {disk(gib, 1000*gib), nil, "disk"},
		"which has a little more now": {disk(2*gib+100*mib, 1000*gib), []room.Part{room.Disk}, "disk"},
		"which has enough now":        {disk(4*gib, 1000*gib), []room.Part{room.Disk}, ""},
		"a small disk with room":      {disk(gib, 10*gib), nil, ""},
		"memory comes too late":       {func(m *room.Measured) { m.MemoryStall = 60 }, nil, "60 % of the time is waiting for memory (at most 50 %)"},
		"still":                       {func(m *room.Measured) { m.MemoryStall = 40 }, []room.Part{room.MemoryStall}, "memory"},
		"no longer":                   {func(m *room.Measured) { m.MemoryStall = 30 }, []room.Part{room.MemoryStall}, ""},
		"not measured":                {func(m *room.Measured) { m.MemoryStall, m.CPUStall = -1, -1 }, []room.Part{room.MemoryStall}, ""},
		"too many want a CPU":         {func(m *room.Measured) { m.CPUStall = 95 }, nil, "95 % of the time is waiting for a CPU (at most 80 %)"},
		"two at once":                 {func(m *room.Measured) { memory(gib)(m); m.CPUStall = 95 }, nil, "wanted 5 %); 95 %"},
	} {
		m, was := roomy(), room.State{}
		for _, p := range c.was {
			was.Short[p], was.Reason = true, "memory disk as before"
		}
		c.now(&m)
		got := room.Next(m, limits, was)
		if got.Pressed() != (c.want != "") || !strings.Contains(got.Reason, c.want) || c.want == "" && got.Reason != "" {
			t.Errorf("%s: %+v, want %q", name, got, c.want)
		}
	}
}

func measured(t *rapid.T) room.Measured {
	free := func(name string) room.Free {
		of := rapid.Int64Range(0, 1000*gib).Draw(t, name+" of")
		return room.Free{Bytes: rapid.Int64Range(0, of).Draw(t, name), Of: of}
	}
	return room.Measured{
		Memory: free("memory"), Disk: free("disk"), MemoryStall: rapid.Float64Range(-1, 100).Draw(t, "memory stall"), CPUStall: rapid.Float64Range(-1, 100).Draw(t, "CPU stall"),
	}
}

func drawn(t *rapid.T) room.Limits {
	percent := rapid.SampledFrom([]float64{0, 1, 5, 50, 90, 100})
	return room.Limits{
		Memory: percent.Draw(t, "memory limit"), Disk: percent.Draw(t, "disk limit"), DiskBytes: rapid.Int64Range(0, 10*gib).Draw(t, "disk bytes"),
		MemoryStall: percent.Draw(t, "memory stall limit"), CPUStall: percent.Draw(t, "CPU stall limit"),
	}
}

func TestPressureIsSane(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawn(t)
		s := room.State{}
		for range rapid.IntRange(1, 6).Draw(t, "measurements") {
			m := measured(t)
			next := room.Next(m, l, s)
			if next.Pressed() != (next.Reason != "") {
				t.Fatalf("pressed is %v, for the reason %q", next.Pressed(), next.Reason)
			}
			if again := room.Next(m, l, next); again != next {
				t.Fatalf("measured twice, it was %+v and is %+v", next, again)
			}
			fresh := room.Next(m, l, room.State{})
			for p := range room.Parts {
				// Before it is short no more, a part must be better than what makes it short.
				if fresh.Short[p] && !next.Short[p] {
					t.Fatalf("%s is short for one that was not, and not for one that was %v", p, s.Short[p])
				}
				if !s.Short[p] && next.Short[p] != fresh.Short[p] {
					t.Fatalf("%s depends on other parts", p)
				}
			}
			if room.Next(m, room.Limits{}, s).Pressed() {
				t.Fatal("pressed without limits")
			}
			best := room.Measured{Memory: room.Free{Bytes: gib, Of: gib}, Disk: room.Free{Bytes: gib, Of: gib}}
			if l.Memory < 100 && l.Disk < 100 && room.Next(best, l, next).Pressed() {
				t.Fatal("nothing is short, and it takes no tasks")
			}
			s = next
		}
	})
}
