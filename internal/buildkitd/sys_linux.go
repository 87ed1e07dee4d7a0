package buildkitd

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

func supported() error {
	if os.Geteuid() != 0 {
		return errors.New("buildkitd needs root here, to mount layers and start build steps: run Slipway as root, " +
			"or start a BuildKit of your own and give its address")
	}
	return nil
}

// attributes puts the child into a process group of its own, so that an interrupt typed at a terminal reaches Slipway
// alone, which then stops things in order; and has it told to stop should Slipway be killed.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// holdThread keeps the goroutine on its thread: Pdeathsig fires when the thread that started the child ends.
func holdThread() func() {
	runtime.LockOSThread()
	return runtime.UnlockOSThread
}

func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// clean ends the build steps that a killed daemon left running and unmounts what it left mounted below the root. After
// an orderly stop there is nothing to do.
func (d *Daemon) clean() error {
	if pid := d.PID(); pid != 0 {
		return fmt.Errorf("buildkitd %d still runs", pid)
	}
	if running, err := held(filepath.Join(d.cfg.Root, "buildkitd.lock")); err != nil || running {
		// Another daemon uses the root: ours will say so and end, and its steps are not ours to kill.
		return err
	}
	if err := killSteps(cgroup(d.cfg.Root)); err != nil {
		return err
	}
	return unmountBelow(d.cfg.Root)
}

// held tells whether a live process has the lock file locked.
func held(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("buildkitd lock: %w", err)
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	return errors.Is(err, unix.EWOULDBLOCK), nil
}

// killSteps kills every process in the cgroups of the daemon's build steps, in whichever hierarchy they are, and
// removes the cgroups.
func killSteps(parent string) error {
	dirs, err := filepath.Glob(filepath.Join(cgroupRoot, "*", parent))
	if err != nil {
		return fmt.Errorf("cgroups of build steps: %w", err)
	}
	dirs = append(dirs, filepath.Join(cgroupRoot, parent))
	// The kernel gives no signal when a killed process has left its cgroup, hence the ticker.
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(5 * time.Second)
	for _, dir := range dirs {
		for {
			left, err := killAndRemove(dir)
			if err != nil {
				return fmt.Errorf("end build steps left in %s: %w", dir, err)
			}
			if left == 0 {
				break
			}
			select {
			case <-again.C:
			case <-deadline:
				return fmt.Errorf("%d processes of build steps in %s do not end", left, dir)
			}
		}
	}
	return nil
}

// killAndRemove makes one pass over a cgroup and its children, innermost first, and counts the processes it met.
func killAndRemove(dir string) (int, error) {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // Gone in the meantime, which is what is wanted.
		}
		if err == nil && e.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	met := 0
	slices.Reverse(dirs)
	for _, d := range dirs {
		procs, err := os.ReadFile(filepath.Join(d, "cgroup.procs"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return met, err
		}
		for field := range strings.FieldsSeq(string(procs)) {
			pid, err := strconv.Atoi(field)
			if err != nil || pid <= 1 {
				continue
			}
			met++
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return met, err
			}
		}
		if met == 0 {
			if err := unix.Rmdir(d); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EBUSY) {
				return met, err
			}
		}
	}
	return met, nil
}

// unmountBelow unmounts everything below root, innermost first.
func unmountBelow(root string) error {
	points, err := mountsBelow(root)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range slices.Backward(points) {
		if err := unix.Unmount(p, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

// mountsBelow lists the mount points below root in the order in which they were mounted.
func mountsBelow(root string) ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer f.Close()
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var points []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		if point := unescape.Replace(fields[4]); strings.HasPrefix(point, root+"/") {
			points = append(points, point)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	return points, nil
}
