package machine_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/slipway-build/slipway/worker/machine"
	"github.com/slipway-build/slipway/worker/room"
)

const (
	mib     = 1 << 20
	gib     = 1 << 30
	meminfo = "MemTotal:       16777216 kB\nMemFree:          524288 kB\nMemAvailable:    4194304 kB\nHugePages_Total:       0\n"
)

func TestWhatIsMeasured(t *testing.T) {
	plain := map[string]string{
		"proc/meminfo":         meminfo,
		"proc/pressure/memory": "some avg10=9.00 avg60=1.27 avg300=2.37 total=1\nfull avg10=2.50 avg60=0.21 avg300=0.21 total=3\n",
		"proc/pressure/cpu":    "some avg10=55.48 avg60=62.92 avg300=62.25 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
		"proc/self/cgroup":     "0::/pods/worker\n",
	}
	with := func(more map[string]string) map[string]string {
		out := map[string]string{"sys/fs/cgroup/cgroup.controllers": "cpu memory\n"}
		for _, in := range []map[string]string{plain, more} {
			for k, v := range in {
				out[k] = v
			}
		}
		return out
	}
	for name, c := range map[string]struct {
		files map[string]string
		size  room.Size
		want  room.Measured // but for the disk
	}{
		"a machine without cgroups": {plain, room.Size{CPUs: 8, Memory: 16 * gib}, room.Measured{Memory: room.Free{Bytes: 4 * gib, Of: 16 * gib}, MemoryStall: 2.5, CPUStall: 55.48}},
		"an old kernel": {map[string]string{"proc/meminfo": "MemTotal: 1048576 kB\nMemFree: 1024 kB\n"},
			room.Size{CPUs: 8, Memory: gib}, room.Measured{MemoryStall: -1, CPUStall: -1}},
		"nothing": {nil, room.Size{CPUs: 8}, room.Measured{MemoryStall: -1, CPUStall: -1}},
		"a cgroup without limits": {with(map[string]string{
			"sys/fs/cgroup/pods/worker/memory.max": "max\n", "sys/fs/cgroup/pods/worker/memory.current": "1048576\n", "sys/fs/cgroup/pods/worker/cpu.max": "max 100000\n",
		}), room.Size{CPUs: 8, Memory: 16 * gib}, room.Measured{Memory: room.Free{Bytes: 4 * gib, Of: 16 * gib}, MemoryStall: 2.5, CPUStall: 55.48}},
		"a cgroup with limits, where files are in memory": {with(map[string]string{
			"sys/fs/cgroup/pods/worker/memory.max": "2147483648\n", "sys/fs/cgroup/pods/worker/memory.current": "2147483648\n",
			"sys/fs/cgroup/pods/worker/memory.stat":     "anon 5\ninactive_file 104857600\nactive_file 104857600\nslab_reclaimable 0\n",
			"sys/fs/cgroup/pods/worker/cpu.max":         "150000 100000\n",
			"sys/fs/cgroup/pods/worker/memory.pressure": "some avg10=80.00 avg60=0 avg300=0 total=0\nfull avg10=60.00 avg60=0 avg300=0 total=0\n",
			"sys/fs/cgroup/pods/worker/cpu.pressure":    "some avg10=10.00 avg60=0 avg300=0 total=0\n",
		}), room.Size{CPUs: 1.5, Memory: 2 * gib}, room.Measured{Memory: room.Free{Bytes: 200 * mib, Of: 2 * gib}, MemoryStall: 60, CPUStall: 55.48}},
		"a limit around its own": {with(map[string]string{
			"sys/fs/cgroup/pods/memory.max": "4294967296\n", "sys/fs/cgroup/pods/memory.current": "4290772992\n", "sys/fs/cgroup/pods/cpu.max": "400000 100000\n",
			"sys/fs/cgroup/pods/worker/memory.max": "8589934592\n", "sys/fs/cgroup/pods/worker/memory.current": "0\n",
		}), room.Size{CPUs: 4, Memory: 4 * gib}, room.Measured{Memory: room.Free{Bytes: 4 * mib, Of: 4 * gib}, MemoryStall: 2.5, CPUStall: 55.48}},
		"a cgroup with room on a machine with little": {with(map[string]string{
			"sys/fs/cgroup/pods/worker/memory.max": "1073741824\n", "sys/fs/cgroup/pods/worker/memory.current": "0\n",
		}), room.Size{CPUs: 8, Memory: gib}, room.Measured{Memory: room.Free{Bytes: 4 * gib, Of: 16 * gib}, MemoryStall: 2.5, CPUStall: 55.48}},
		"files that say something else": {with(map[string]string{
			"proc/meminfo": "MemTotal\nMemAvailable: much kB\n", "proc/pressure/memory": "full\nfull avg10=?\n", "proc/pressure/cpu": "some avg60=1\n",
			"sys/fs/cgroup/pods/worker/cpu.max": "1 0\n", "sys/fs/cgroup/pods/worker/memory.max": "0\n", "sys/fs/cgroup/pods/worker/memory.current": "0\n",
			"proc/self/cgroup": "0::/../../pods/worker\n",
		}), room.Size{CPUs: 8}, room.Measured{MemoryStall: -1, CPUStall: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for file, text := range c.files {
				file = filepath.Join(root, file)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			m := machine.Machine{Root: root, Folder: root, CPUs: 8}
			if diff := cmp.Diff(c.size, m.Size()); diff != "" {
				t.Errorf("size (-want +got):\n%s", diff)
			}
			got := m.Measure()
			if diff := cmp.Diff(c.want, got, cmpopts.IgnoreFields(room.Measured{}, "Disk")); diff != "" {
				t.Errorf("measured (-want +got):\n%s", diff)
			}
			if got.Disk.Bytes <= 0 || got.Disk.Of < got.Disk.Bytes {
				t.Errorf("disk: %+v", got.Disk)
			}
		})
	}
}

func TestAFolderThatIsNotThere(t *testing.T) {
	if got := (machine.Machine{Root: t.TempDir(), Folder: filepath.Join(t.TempDir(), "none")}).Measure(); got.Disk != (room.Free{}) {
		t.Errorf("disk: %+v", got.Disk)
	}
}

// TestThisMachine is measured for true, as far as its kernel says something.
func TestThisMachine(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has /proc")
	}
	m := machine.Machine{Root: "/", Folder: t.TempDir(), CPUs: runtime.NumCPU()}
	size, got := m.Size(), m.Measure()
	if size.CPUs <= 0 || size.Memory < 64*mib || got.Memory.Bytes <= 0 || got.Memory.Bytes > got.Memory.Of || got.Disk.Bytes <= 0 {
		t.Errorf("size %+v, measured %+v", size, got)
	}
	t.Logf("size %+v, measured %+v", size, got)
}
